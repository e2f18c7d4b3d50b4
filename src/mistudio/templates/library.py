"""The templates that are there: add, change, duplicate, use, delete. Routes and commands call these functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from mistudio.db import utc_now
from mistudio.errors import Conflict, NotFound
from mistudio.models.names import choose_name, name_taken
from mistudio.templates.kinds import architecture_of, checked
from mistudio.templates.schemas import TemplateCreate, TemplateRestore, TemplateUpdate
from mistudio.templates.tables import Template


def list_query(
    kind: str | None = None,
    favourite: bool | None = None,
    *,
    architecture: str | None = None,
    builtin: bool | None = None,
) -> Select[Any]:
    """Templates: of one kind or architecture, only favourites, only (or without) those that come with miStudio."""
    query = select(Template)
    if kind is not None:
        query = query.where(Template.kind == kind)
    if architecture is not None:
        query = query.where(Template.architecture == architecture)
    if builtin is not None:
        query = query.where(Template.builtin.is_not(None) if builtin else Template.builtin.is_(None))
    return query if favourite is None else query.where(Template.favourite == favourite)


def matches_of(q: str) -> Any:
    """Templates whose name or description holds `q`, whatever its case."""
    pattern = "%" + q.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    return or_(Template.name.ilike(pattern, escape="\\"), Template.description.ilike(pattern, escape="\\"))


def architectures(session: Session) -> dict[str, list[str]]:
    """The architectures of the templates there are, by kind."""
    found: dict[str, list[str]] = {}
    query = select(Template.kind, Template.architecture).where(Template.architecture.is_not(None)).distinct()
    for kind, architecture in session.execute(query.order_by(Template.kind, Template.architecture)):
        found.setdefault(kind, []).append(str(architecture))
    return found


def get_template(session: Session, template_id: str) -> Template:
    """The template of this id. Raises NotFound."""
    template = session.get(Template, template_id)
    if template is None:
        raise NotFound("template", template_id)
    return template


def add_template(session: Session, wanted: TemplateCreate) -> Template:
    """Keep settings. Raises StudioError `template_kind_unknown`, `template_invalid`; Conflict `name_taken`."""
    return insert(session, _made(session, wanted))


def restore_template(session: Session, template_id: str, wanted: TemplateRestore) -> Template:
    """Put back a template that was deleted, under its own id. Raises Conflict `template_there`; as `add_template`."""
    if session.get(Template, template_id) is not None:
        raise Conflict("template_there", f"The template “{wanted.name}” is there.", hint="Reload the list.")
    template = _made(session, wanted)
    template.id, template.uses = template_id, wanted.uses
    template.last_used_at, template.created_at = wanted.last_used_at, wanted.created_at
    return insert(session, template)


def _made(session: Session, wanted: TemplateCreate) -> Template:
    body = checked(wanted.kind, wanted.body)
    return Template(
        kind=wanted.kind,
        name=free_name(session, wanted.kind, wanted.name),
        description=wanted.description,
        favourite=wanted.favourite,
        body=body,
        architecture=architecture_of(wanted.kind, body),
        expected=wanted.expected.model_dump(mode="json") if wanted.expected else None,
        uses=0,
    )


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
    """Change what is given.

    Raises NotFound, StudioError `template_invalid`, Conflict `name_taken`, `template_builtin`.
    """
    template = get_template(session, template_id)
    if change.name is not None or change.description is not None or change.body is not None:
        refuse_builtin(template)
    if change.name is not None:
        template.name = free_name(session, template.kind, change.name, but=template.id)
    if change.description is not None:
        template.description = change.description
    if change.favourite is not None:
        template.favourite = change.favourite
    if change.body is not None:
        body = checked(template.kind, change.body)
        if body != template.body:
            template.expected = None  # which was of the settings before
        template.body, template.architecture = body, architecture_of(template.kind, body)
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
            architecture=template.architecture,
            expected=template.expected,
            uses=0,
        ),
    )


def refuse_builtin(template: Template) -> None:
    """Raises Conflict `template_builtin` for one that comes with miStudio."""
    if template.builtin is not None:
        raise Conflict(
            "template_builtin",
            f"The template “{template.name}” comes with miStudio and stays as it is.",
            hint="Duplicate it, and change the copy.",
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
    """Delete a template; what was started from it stays. Returns what it was. Raises Conflict `template_builtin`."""
    template = get_template(session, template_id)
    refuse_builtin(template)
    session.delete(template)
    session.flush()
    return template


def chosen(
    session: Session, ids: Sequence[str], kind: str | None = None, favourite: bool | None = None
) -> list[Template]:
    """The templates of these ids in that order, or without ids all (of a kind) that people made. Raises NotFound."""
    if ids:
        return [get_template(session, one) for one in dict.fromkeys(ids)]
    query = list_query(kind, favourite, builtin=False)
    return list(session.scalars(query.order_by(Template.kind, Template.name)).all())
