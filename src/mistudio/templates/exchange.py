"""Templates as files: export some, look at what a file would bring, import it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.db import utc_now
from mistudio.errors import StudioError
from mistudio.templates.kinds import architecture_of, checked, problems_of
from mistudio.templates.library import free_name, insert
from mistudio.templates.schemas import (
    ExportedTemplate,
    ImportReport,
    ImportRequest,
    ImportRow,
    TemplateExport,
)
from mistudio.templates.tables import Template

VERSION = 1
MOST = 10_000
"""Rows in one file."""


def export_templates(templates: Sequence[Template]) -> TemplateExport:
    """The content of a file with these templates."""
    return TemplateExport(
        exported_at=utc_now(), templates=[ExportedTemplate.model_validate(one) for one in templates]
    )


def import_templates(
    session: Session, request: ImportRequest, *, dry_run: bool = False
) -> tuple[ImportReport, list[Template]]:
    """Import a file's valid rows; returns what became of each row and the templates that were written.

    `dry_run` only says what would become of them. Raises StudioError `templates_file_unknown` for what is no file of
    templates, `templates_file_newer` for one of a later version.
    """
    rows: list[ImportRow] = []
    written: list[Template] = []
    for number, entry in enumerate(_entries(request.document), 1):
        row, parsed = _look(session, number, entry, written if dry_run else [])
        rows.append(row)
        if parsed is None:
            continue
        there = _named(session, parsed.kind, parsed.name)
        choice = request.choices.get(number, request.on_conflict)
        if choice == "replace" and there is not None and there.builtin is not None:
            choice = "rename"  # what comes with miStudio stays as it is
        row.action = "add" if row.state == "new" else "skip" if row.state == "same" else choice
        if row.action == "skip":
            continue
        if row.action == "replace" and there is not None:
            row.imported_as = there.name
            if not dry_run:
                there.description, there.body, there.updated_at = (
                    parsed.description,
                    parsed.body,
                    utc_now(),
                )
                there.architecture = architecture_of(parsed.kind, parsed.body)
                there.expected = parsed.expected.model_dump(mode="json") if parsed.expected else None
                written.append(there)
            continue
        architecture = architecture_of(parsed.kind, parsed.body)
        template = Template(**parsed.model_dump(mode="json"), architecture=architecture, uses=0)
        if row.action == "rename":
            template.name = free_name(session, parsed.kind, None, parsed.name)
        row.imported_as = template.name
        written.append(template if dry_run else insert(session, template))
    session.flush()
    imported = sum(row.action in ("add", "rename", "replace") for row in rows)
    return ImportReport(rows=rows, imported=imported), [] if dry_run else written


def _entries(document: dict[str, Any]) -> list[Any]:
    if document.get("format") != "mistudio-templates" or not isinstance(document.get("templates"), list):
        raise StudioError(
            "templates_file_unknown",
            "This is no file of templates: it lacks “format”: “mistudio-templates” or its list “templates”.",
            hint="Choose a file that was exported here.",
            status=422,
            fields={"document": "no file of templates"},
        )
    version = document.get("version")
    if not isinstance(version, int) or version < 1 or version > VERSION:
        raise StudioError(
            "templates_file_newer",
            f"The file has version {version!r:.40} and this miStudio reads versions up to {VERSION}.",
            hint="Import it with the miStudio that wrote it, or a newer one.",
            status=422,
            fields={"document": "unknown version"},
        )
    entries: list[Any] = document["templates"]
    if len(entries) > MOST:
        raise StudioError(
            "templates_file_long",
            f"The file holds {len(entries):,} templates, more than {MOST:,}.",
            hint="Split it.",
            status=422,
            fields={"document": "too many templates"},
        )
    return entries


def _look(
    session: Session, number: int, entry: Any, planned: Sequence[Template]
) -> tuple[ImportRow, ExportedTemplate | None]:
    """What a row is, and its template with the settings checked where it is valid."""
    shown: dict[str, Any] = entry if isinstance(entry, dict) else {}
    row = ImportRow(
        row=number,
        kind=str(shown.get("kind", ""))[:40],
        name=str(shown.get("name", ""))[:200],
        state="invalid",
        errors={},
        action="refuse",
    )
    try:
        parsed = ExportedTemplate.model_validate(entry)
        parsed.body = checked(parsed.kind, parsed.body)
    except ValidationError as error:
        row.errors = problems_of(error, entry)
        return row, None
    except StudioError as error:
        row.errors = error.fields
        return row, None
    there = _named(session, parsed.kind, parsed.name) or next(
        (one for one in planned if (one.kind, one.name) == (parsed.kind, parsed.name)), None
    )
    if there is None:
        row.state = "new"
    elif there.body == parsed.body and there.description == parsed.description:
        row.state = "same"
    else:
        row.state = "taken"
        row.changes = _differences(there.body, parsed.body)
        if there.description != parsed.description:
            row.changes.insert(0, "description")
    return row, parsed


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Paths at which two settings differ."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [path]
    first, second = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
    return [
        where
        for name in dict.fromkeys([*first, *second])
        for where in _differences(first.get(name), second.get(name), f"{path}.{name}" if path else name)
    ]


def _named(session: Session, kind: str, name: str) -> Template | None:
    return session.scalars(select(Template).where(Template.kind == kind, Template.name == name)).one_or_none()
