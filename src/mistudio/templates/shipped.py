"""Templates that come with the code: files of the domains, in the format of an export, kept as rows to be found by.

Each has a key, unique within its kind. Its row's `builtin` is kind, key and a digest of what it says, so that whether
anything is to be done takes one query; stars and uses stay when the text of a later version differs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from mistudio.db import Database, utc_now
from mistudio.models.names import choose_name
from mistudio.templates.kinds import architecture_of, checked, template_kinds
from mistudio.templates.schemas import Expected
from mistudio.templates.tables import Template

logger = logging.getLogger(__name__)


class ShippedTemplate(BaseModel):
    """A template in a domain's file."""

    model_config = ConfigDict(extra="forbid")

    key: str
    name: str
    description: str
    expected: Expected | None = None
    body: dict[str, Any]


class _Shipped(NamedTuple):
    kind: str
    mark: str
    entry: dict[str, Any]


def ship_templates(database: Database) -> None:
    """Bring the rows of shipped templates up to what this version ships; one that is shipped no more goes."""
    shipped = {one.mark: one for kind in template_kinds() for one in _read(kind.name, kind.shipped)}
    with database.reading() as session:
        if _rows(session).keys() == shipped.keys():
            return
    try:
        with database.session() as session:
            _ship(session, shipped)
    except IntegrityError:
        logger.info("Shipped templates were written by another process.")


def _rows(session: Session) -> dict[str, Template]:
    """The rows of shipped templates, of the kinds that are known, by their marks."""
    kinds = [kind.name for kind in template_kinds()]
    query = select(Template).where(Template.builtin.is_not(None), Template.kind.in_(kinds))
    return {str(row.builtin): row for row in session.scalars(query)}


def _ship(session: Session, shipped: Mapping[str, _Shipped]) -> None:
    there = _rows(session)
    by_key = {_key(mark): row for mark, row in there.items()}
    wanted = {_key(mark) for mark in shipped}
    for key, row in by_key.items():
        if key not in wanted:
            session.delete(row)
    session.flush()
    for mark, one in shipped.items():
        if mark not in there:
            _write(session, by_key.get(_key(mark)), one)


def _write(session: Session, row: Template | None, one: _Shipped) -> None:
    entry = ShippedTemplate.model_validate(one.entry)
    body = checked(one.kind, entry.body)
    own = row.id if row is not None else ""
    # A person's template of that name keeps it.
    name = choose_name(
        session, Template.name, None, entry.name, Template.kind == one.kind, Template.id != own
    )
    row = row or Template(kind=one.kind, uses=0, favourite=False)
    row.name, row.description, row.body, row.builtin = name, entry.description, body, one.mark
    row.architecture = architecture_of(one.kind, body)
    row.expected = entry.expected.model_dump(mode="json") if entry.expected else None
    row.updated_at = utc_now()
    session.add(row)
    session.flush()


def _key(mark: str) -> str:
    return mark.rpartition("@")[0]


@cache
def _read(kind: str, place: str | None) -> tuple[_Shipped, ...]:
    if place is None:
        return ()
    package, _, file = place.partition(":")
    document = json.loads(resources.files(package).joinpath(file).read_text("utf-8"))
    found: list[_Shipped] = []
    for entry in document["templates"]:
        if entry["kind"] == kind:
            rest = {name: value for name, value in entry.items() if name != "kind"}
            digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12]
            found.append(_Shipped(kind, f"{kind}/{entry['key']}@{digest}", rest))
    return tuple(found)
