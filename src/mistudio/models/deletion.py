"""Deleting what has a folder and what others may use: models, data sets, tokenizations, caches and the rest.

Who uses what is read from the foreign keys of all tables, so that a domain added later is counted without a word
said here. A table's rows own the folders `data_dir/<folder>/<id>`, where the folders are the table's name or what it
declares as `info={"folders": (...)}`. A table that links two others may say which of them is nothing without the link,
`info={"takes": "<column>"}`: that row is then deleted with what the link points at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from mistudio.db import Base
from mistudio.errors import Conflict, said
from mistudio.jobs import Job, cancel_subject
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.models.announce import after_commit
from mistudio.models.schemas import UserOut
from mistudio.settings import Settings
from mistudio.store import delete_folder, owner_folder

_IN_ONE_QUERY = 500


def users_of(
    session: Session, table: str, ids: Iterable[str], parts: frozenset[str] = frozenset()
) -> list[UserOut]:
    """What refers to these rows, by kind and name.

    Rows of the tables `parts`, and of those that say of themselves that they are `info={"part": True}` of what refers
    to them, are no users: theirs are counted.
    """
    found: list[UserOut] = []
    for child, column, _ in _references(table):
        takes = child.info.get("takes")
        if takes and takes != column:
            owner = _target(child, takes)
            owners = _ids(session, child, column, ids, takes)
            found += users_of(session, owner.name, owners, parts) if owner.info.get("part") else []
        elif child.name in parts or child.info.get("part"):
            found += users_of(session, child.name, _ids(session, child, column, ids), parts)
        elif "id" in child.c:
            shown = child.c.get("name", child.c.get("title", child.c.id))
            for chunk in _chunks(ids):
                rows = session.execute(select(child.c.id, shown).where(child.c[column].in_(chunk)))
                found += [UserOut(kind=noun_of(child.name), id=str(id), name=str(name)) for id, name in rows]
    return list({(user.kind, user.id): user for user in found}.values())


def delete_owner(
    session: Session,
    settings: Settings,
    table: str,
    id: str,
    *,
    name: str,
    force: bool = False,
    parts: frozenset[str] = frozenset(),
) -> list[tuple[str, str]]:
    """Delete a row with everything below it, stop its jobs, and (after the commit) remove its folders.

    Returns (table, id) of every row with an id that went. Raises Conflict `in_use`, naming the users, unless `force`.
    """
    users = users_of(session, table, [id], parts)
    if users and not force:
        shown = ", ".join(f"{user.kind} “{user.name}”" for user in users[:5])
        more = f" and {len(users) - 5} more" if len(users) > 5 else ""
        raise Conflict(
            "in_use",
            f"The {noun_of(table)} “{name}” is in use by {shown}{more}.",
            hint="Delete those first, or force the deletion, which deletes them too.",
        )
    doomed: dict[str, set[str]] = {}
    _collect(session, table, {id}, doomed)
    gone = [(name, key) for name, keys in doomed.items() for key in sorted(keys)]

    subjects = {f"{name}/{key}" for name, key in gone}
    active = session.scalars(select(Job.subject).where(Job.state.not_in(FINAL_STATES)).distinct())
    for subject in subjects.intersection(active):
        cancel_subject(session, subject)

    for child in reversed(Base.metadata.sorted_tables):
        for chunk in _chunks(sorted(doomed.get(child.name, ()))):
            session.execute(child.delete().where(child.c.id.in_(chunk)))
    for row in list(session):
        # The jobs just cancelled are announced after the commit, when nothing can be read any more.
        if not isinstance(row, Job):
            session.expire(row)

    folders = [owner_folder(settings.data_dir, kind, key) for kind, key in owned_folders(doomed)]

    def remove() -> None:
        for folder in folders:
            delete_folder(settings.data_dir, folder)

    after_commit(session, remove)
    return gone


def doomed_rows(session: Session, table: str, ids: Iterable[str]) -> dict[str, set[str]]:
    """Ids by table of all rows that deleting these would take with them, themselves among them."""
    doomed: dict[str, set[str]] = {}
    _collect(session, table, set(ids), doomed)
    return {name: keys for name, keys in doomed.items() if keys}


def owned_folders(rows: dict[str, set[str]]) -> Iterator[tuple[str, str]]:
    """(kind, id) of each folder that may belong to these rows."""
    for table, ids in rows.items():
        for kind in Base.metadata.tables[table].info.get("folders", (table,)):
            yield from ((kind, id) for id in sorted(ids))


def _collect(session: Session, table: str, ids: set[str], doomed: dict[str, set[str]]) -> None:
    new = ids - doomed.setdefault(table, set())
    doomed[table] |= new
    if not new:
        return
    for child, column, rule in _references(table):
        takes = child.info.get("takes")
        if takes and takes != column:
            _collect(
                session, _target(child, takes).name, set(_ids(session, child, column, new, takes)), doomed
            )
        # Rows without an id of their own are many and small: the database's own cascade takes them.
        if rule != "SET NULL" and "id" in child.c:
            _collect(session, child.name, set(_ids(session, child, column, new)), doomed)


def _ids(
    session: Session, child: Table, column: str, parents: Iterable[str], wanted: str = "id"
) -> list[str]:
    return [
        id
        for chunk in _chunks(parents)
        for id in session.scalars(select(child.c[wanted]).where(child.c[column].in_(chunk)))
    ]


def _target(child: Table, column: str) -> Table:
    """The table that a foreign key points at."""
    return next(iter(child.c[column].foreign_keys)).column.table


def _references(table: str) -> Iterator[tuple[Table, str, Any]]:
    """(child table, its column, delete rule) of each foreign key that points at this table's id."""
    for child in Base.metadata.sorted_tables:
        for key in child.foreign_keys:
            if key.column.table.name == table and key.column.name == "id" and child.name != table:
                yield child, key.parent.name, key.ondelete


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, _IN_ONE_QUERY)):
        yield chunk


def noun_of(table: str) -> str:
    """What one row of a table is called."""
    return said(table.removesuffix("s"))
