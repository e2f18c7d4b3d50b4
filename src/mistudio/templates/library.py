"""The templates that are there: add, change, duplicate, use, delete. Routes and commands call these functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from mistudio.db import utc_now
from mistudio.errors import NotFound
from mistudio.models.names import choose_name, name_taken
from mistudio.templates.kinds import checked
from mistudio.templates.schemas import TemplateCreate, TemplateUpdate
from mistudio.templates.tables import Template


def list_query(kind: str | None = None, favourite: bool | None = None) -> Select[Any]:
    """Templates, of one kind or only favourites if asked."""
    query = select(Template)
    if kind is not None:
        query = query.where(Template.kind == kind)
    return query if favourite is None else query.where(Template.favourite == favourite)


def get_template(session: Session, template_id: str) -> Template:
    """The template of this id. Raises NotFound."""
    template = session.get(Template, template_id)
    if template is None:
        raise NotFound("template", template_id)
    return template


def add_template(session: Session, wanted: TemplateCreate) -> Template:
    """Keep settings. Raises StudioError `template_kind_unknown`, `template_invalid`; Conflict `name_taken`."""
    template = Template(
        kind=wanted.kind,
        name=free_name(session, wanted.kind, wanted.name),
        description=wanted.description,
        favourite=wanted.favourite,
        body=checked(wanted.kind, wanted.body),
        uses=0,
    )
    return insert(session, template)


def insert(session: Session, template: Template) -> Template:
    """Insert a row; a race lost to another server for its name is Conflict `name_taken` too."""
    try:
        with session.begin_nested():
            session.add(template)
    except IntegrityError as error:
        raise name_taken(template.name) from error
    return template


def free_name(
    session: Session, kind: str, wanted: str | None, default: str = "", but: str | None = None
) -> str:
    """`wanted` if no template of the kind (`but` this one) has it, else Conflict; without it one like `default`."""
    return choose_name(session, Template.name, wanted, default, Template.kind == kind, Template.id != but)


def change_template(session: Session, template_id: str, change: TemplateUpdate) -> Template:
    """Change what is given. Raises NotFound, StudioError `template_invalid`, Conflict `name_taken`."""
    template = get_template(session, template_id)
    if change.name is not None:
        template.name = free_name(session, template.kind, change.name, but=template.id)
    if change.description is not None:
        template.description = change.description
    if change.favourite is not None:
        template.favourite = change.favourite
    if change.body is not None:
        template.body = checked(template.kind, change.body)
    if change.name is not None or change.description is not None or change.body is not None:
        template.updated_at = utc_now()  # a star is no change of what it says
    session.flush()
    return template


def duplicate_template(session: Session, template_id: str) -> Template:
    """A copy under a free name."""
    template = get_template(session, template_id)
    return insert(
        session,
        Template(
            kind=template.kind,
            name=free_name(session, template.kind, None, f"{template.name} copy"),
            description=template.description,
            body=template.body,
            uses=0,
        ),
    )


def use_template(session: Session, template_id: str, kind: str) -> None:
    """Count that something was started from a template. Raises NotFound, also for one of another kind."""
    template = get_template(session, template_id)
    if template.kind != kind:
        raise NotFound(f"{kind}_template", template_id)
    template.uses += 1
    template.last_used_at = utc_now()
    session.flush()


def delete_template(session: Session, template_id: str) -> Template:
    """Delete a template; what was started from it stays. Returns what it was."""
    template = get_template(session, template_id)
    session.delete(template)
    session.flush()
    return template


def chosen(
    session: Session, ids: Sequence[str], kind: str | None = None, favourite: bool | None = None
) -> list[Template]:
    """The templates of these ids in that order, or without ids all (of a kind). Raises NotFound."""
    if ids:
        return [get_template(session, one) for one in ids]
    return list(session.scalars(list_query(kind, favourite).order_by(Template.kind, Template.name)).all())
