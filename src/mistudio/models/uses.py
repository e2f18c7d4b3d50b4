"""The commands `… uses`: what was made from a thing, which is what deleting it would take with it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from mistudio.console import open_console
from mistudio.models.consequences import consequences


def show_uses(table: str, find: Callable[[Session], str], *, parts: frozenset[str] = frozenset()) -> None:
    """Print what deleting the row whose id `find` tells would take; rows of the tables `parts` are not named."""
    with open_console() as console:
        with console.reading() as session:
            found = consequences(session, console.settings, table, [find(session)], parts=parts)
        if console.as_json:
            console.emit(found)
            return
        console.emit(found.items, table=["kind", "id", "name", "bytes"], title="uses")
        console.say(f"Deleting it frees {found.bytes:,} bytes.")
