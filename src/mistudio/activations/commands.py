"""`mistudio activations …`"""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from mistudio.activations import caches
from mistudio.activations.schemas import CacheCreate, HarvestSettings
from mistudio.activations.tables import ActivationCache
from mistudio.console import open_console
from mistudio.datasets.tables import Tokenization
from mistudio.models.commands import carry_out
from mistudio.models.names import find_row

app = typer.Typer(no_args_is_help=True, help="Activation caches: forecast, harvest, list, delete.")

COLUMNS = ("id", "name", "model_name", "dataset_name", "hooks", "dtype", "n_tokens", "bytes", "job.state")
Key = Annotated[str, typer.Argument(help="Id or name.")]
TokenizationKey = Annotated[str, typer.Argument(help="Id or name of the tokenization.")]
Hooks = Annotated[
    list[str], typer.Option("--hook", help="Hook point, e.g. blocks.6.hook_resid_post; may be repeated.")
]


@app.command("harvest")
def harvest(
    tokenization: TokenizationKey,
    hook: Hooks,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16, float32 or int8.")] = "float16",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="NAME=VALUE", help=f"Any of {', '.join(HarvestSettings.model_fields)}."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--forecast", help="Only say what it would take.")] = False,
) -> None:
    """Keep what a model computes at some hook points on a tokenization's tokens."""
    values: dict[str, str] = {}
    for assignment in set_ or []:
        field, equals, value = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"“{assignment}” is not NAME=VALUE.", param_hint="--with")
        values[field.strip()] = value.strip()
    with open_console() as console:
        with console.session() as session:
            tokenization_id = find_row(session, Tokenization, tokenization, "tokenization").id
            try:
                wanted = CacheCreate.model_validate(
                    {
                        "tokenization_id": tokenization_id,
                        "hooks": hook,
                        "name": name,
                        "dtype": dtype,
                        "settings": values,
                    }
                )
            except ValidationError as error:
                first = error.errors()[0]
                raise typer.BadParameter(f"{first['loc'][-1]}: {first['msg']}") from error
            if dry_run:
                console.emit(caches.forecast_cache(session, console.settings, wanted))
                return
            cache, job = caches.add_cache(session, console.settings, wanted)
            cache_id, job_id = cache.id, job.id
        carry_out(console, job_id, lambda session: caches.delete_cache(session, console.settings, cache_id))
        with console.reading() as session:
            out = caches.caches_out(session, [caches.get_cache(session, cache_id)])[0]
        console.emit(out, table=[*COLUMNS[:-1], "statistics"])


@app.command("list")
def list_caches() -> None:
    """List activation caches."""
    with open_console() as console, console.reading() as session:
        found = session.scalars(caches.list_query().order_by(ActivationCache.created_at)).all()
        console.emit(caches.caches_out(session, found), table=COLUMNS, title="activation caches")


@app.command("show")
def show(key: Key) -> None:
    """Show a cache with its conventions and statistics."""
    with open_console() as console, console.reading() as session:
        cache = find_row(session, ActivationCache, key, "activation_cache")
        console.emit(caches.caches_out(session, [caches.get_cache(session, cache.id)])[0])


@app.command("delete")
def delete(
    key: Key,
    force: Annotated[bool, typer.Option("--force", help="Even while trainings refer to it.")] = False,
) -> None:
    """Delete a cache and free its disk space."""
    with open_console() as console:
        with console.session() as session:
            cache = find_row(session, ActivationCache, key, "activation_cache")
            gone = caches.delete_cache(session, console.settings, cache.id, force=force)
        console.emit({"deleted": [id for _, id in gone]})
