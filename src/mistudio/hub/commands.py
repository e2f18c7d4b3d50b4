"""`mistudio hub …`"""

from __future__ import annotations

import typer

from mistudio.console import open_console
from mistudio.hub import token

app = typer.Typer(no_args_is_help=True, help="The Hugging Face hub: how it is reached, and the access token.")
token_app = typer.Typer(no_args_is_help=True, help="The access token for gated repositories: set, forget.")
app.add_typer(token_app, name="token")


@app.command("show")
def show() -> None:
    """Show how the hub is reached, and where the token comes from."""
    from mistudio.hub.routes import describe_hub

    with open_console() as console:
        console.emit(describe_hub(console.settings))


@token_app.command("set")
def set_token() -> None:
    """Store a token, encrypted. It is asked for, or read from a pipe, so that no history keeps it."""
    with open_console() as console:
        given = typer.prompt("Token", hide_input=True, err=True)
        token.store_token(console.settings, given)
        console.emit({"token": token.token_source(console.settings)})


@token_app.command("forget")
def forget() -> None:
    """Remove the stored token."""
    with open_console() as console:
        console.emit({"forgotten": token.forget_token(console.settings)})
