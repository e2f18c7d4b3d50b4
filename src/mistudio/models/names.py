"""Names that people give: unique within their kind, and good for finding a thing on the command line."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from mistudio.errors import Conflict, NotFound, said

Row = TypeVar("Row")


def choose_name(
    session: Session, column: InstrumentedAttribute[str], wanted: str | None, default: str, *where: Any
) -> str:
    """`wanted` if it is free, else the first free one of `default`, `default 2`, …

    `where` narrows the rows among which it must be unique. Raises Conflict `name_taken`.
    """
    if wanted is not None:
        if taken(session, column, wanted.strip(), *where):
            raise name_taken(wanted.strip())
        return wanted.strip()
    name, number = default[:190], 1
    while taken(session, column, name, *where):
        number += 1
        name = f"{default[:190]} {number}"
    return name


def taken(session: Session, column: InstrumentedAttribute[str], name: str, *where: Any) -> bool:
    """Whether a row has this name."""
    return session.scalar(select(column).where(column == name, *where).limit(1)) is not None


def name_taken(name: str) -> Conflict:
    """The refusal of a name that another one has."""
    return Conflict("name_taken", f"The name “{name}” is taken.", hint="Choose another name.")


def add_row(session: Session, row: Any) -> None:
    """Insert a row with a unique name; a race lost to another server is Conflict `name_taken` too."""
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise name_taken(row.name) from error


def find_row(session: Session, kind: type[Row], key: str, what: str) -> Row:
    """The row with this id or, failing that, this name. Raises NotFound; Conflict when several have the name."""
    row = session.get(kind, key)
    if row is not None:
        return row
    named = session.scalars(select(kind).where(kind.name == key).limit(2)).all()  # type: ignore[attr-defined]
    if len(named) > 1:
        raise Conflict(
            "name_ambiguous", f"Several {said(what)}s have the name “{key}”.", hint="Give the id instead."
        )
    if not named:
        raise NotFound(what, key)
    return named[0]
