"""What deleting something would take with it: everything that was made from it, and the space that frees."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.db import Base
from mistudio.models.deletion import doomed_rows, noun_of, owned_folders
from mistudio.settings import Settings
from mistudio.store import folder_bytes, owner_folder

SHOWN = 500


class TakenOut(BaseModel):
    """Something that would go as well."""

    table: str = Field(examples=["trainings"])
    kind: str = Field(examples=["training"])
    id: str
    name: str
    bytes: int = Field(description="Its size on disk.")


class ConsequencesOut(BaseModel):
    """What a deletion would take with it."""

    items: list[TakenOut] = Field(description=f"All but the thing itself; at most {SHOWN}.")
    count: int = Field(description="How many there are.")
    bytes: int = Field(description="Disk space freed in all, the thing itself among it.")


def consequences(
    session: Session,
    settings: Settings,
    table: str,
    ids: Iterable[str],
    *,
    parts: frozenset[str] = frozenset(),
) -> ConsequencesOut:
    """Everything that deleting these rows would take, by kind and name, largest first.

    Rows of the tables `parts` are counted as parts of the thing itself and not named.
    """
    own = set(ids)
    doomed = doomed_rows(session, table, own)
    sizes = {
        (name, id): sum(
            folder_bytes(owner_folder(settings.data_dir, kind, key))
            for kind, key in owned_folders({name: {id}})
        )
        for name, keys in doomed.items()
        for id in keys
    }
    items: list[TakenOut] = []
    for name, keys in doomed.items():
        if name in parts or Base.metadata.tables[name].info.get("part"):
            continue
        columns = Base.metadata.tables[name].c
        shown = columns.get("name", columns.get("title", columns.id))
        wanted = keys - own if name == table else keys
        for chunk in (sorted(wanted)[at : at + SHOWN] for at in range(0, len(wanted), SHOWN)):
            for id, title in session.execute(select(columns.id, shown).where(columns.id.in_(chunk))):
                items.append(
                    TakenOut(
                        table=name, kind=noun_of(name), id=id, name=str(title or id), bytes=sizes[name, id]
                    )
                )
    items.sort(key=lambda item: (item.table, -item.bytes, item.name))
    return ConsequencesOut(items=items[:SHOWN], count=len(items), bytes=sum(sizes.values()))
