"""`mistudio templates …`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from sqlalchemy.orm import Session

from mistudio.console import open_console
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.templates import exchange, library
from mistudio.templates.schemas import (
    ImportRequest,
    TemplateCreate,
    TemplateOut,
    TemplateUpdate,
)
from mistudio.templates.tables import Template

app = typer.Typer(
    no_args_is_help=True,
    help="Templates: settings kept under a name. Add, list, change, export, import, delete.",
)

COLUMNS = ("id", "kind", "name", "architecture", "builtin", "favourite", "uses")
Key = Annotated[str, typer.Argument(help="Id or name.")]
Kind = Annotated[str | None, typer.Option(help="Only those of this kind, e.g. extraction.")]


@app.command("list")
def list_templates(
    kind: Kind = None,
    favourites: Annotated[bool, typer.Option("--favourites", help="Only favourites.")] = False,
    architecture: Annotated[
        str | None, typer.Option(help="Only those whose settings name this architecture, e.g. topk.")
    ] = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="In names and descriptions.")] = None,
    builtin: Annotated[
        bool | None,
        typer.Option("--builtin/--own", help="Only those that come with miStudio, or only the others."),
    ] = None,
    sort: Annotated[
        Literal["name", "uses", "last_used_at", "created_at", "updated_at"],
        typer.Option(help="In which order, within each kind; uses and times newest first."),
    ] = "name",
) -> None:
    """List templates."""
    with open_console() as console, console.reading() as session:
        query = library.list_query(
            kind, True if favourites else None, architecture=architecture, builtin=builtin
        )
        if search:
            query = query.where(library.matches_of(search))
        column = getattr(Template, sort)
        order = column if sort == "name" else column.desc().nulls_last()
        found = session.scalars(query.order_by(Template.kind, order, Template.name)).all()
        console.emit([TemplateOut.model_validate(one) for one in found], table=COLUMNS, title="templates")


@app.command("show")
def show(key: Key, kind: Kind = None) -> None:
    """Show a template with its settings."""
    with open_console() as console, console.reading() as session:
        console.emit(TemplateOut.model_validate(find_template(session, key, kind)))


@app.command("add")
def add(
    kind: Annotated[str, typer.Argument(help="What it is a template of, e.g. extraction.")],
    name: Annotated[str, typer.Argument(help="What to call it.")],
    file: Annotated[
        Path, typer.Option("--from", help="JSON file with the settings.", exists=True, dir_okay=False)
    ],
    description: Annotated[str, typer.Option(help="What it is good for.")] = "",
    favourite: Annotated[bool, typer.Option("--favourite", help="List it before the others.")] = False,
) -> None:
    """Keep the settings of a JSON file as a template."""
    wanted = TemplateCreate(
        kind=kind, name=name, description=description, favourite=favourite, body=_read(file)
    )
    with open_console() as console:
        with console.session() as session:
            made = TemplateOut.model_validate(library.add_template(session, wanted))
        console.emit(made)


@app.command("change")
def change(
    key: Key,
    kind: Kind = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    description: Annotated[str | None, typer.Option(help="Another description.")] = None,
    favourite: Annotated[
        bool | None,
        typer.Option("--favourite/--no-favourite", help="Whether it is listed before the others."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--from", help="JSON file with other settings.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Rename a template, describe it, star it, or change its settings."""
    body = _read(file) if file else None
    wanted = TemplateUpdate(name=name, description=description, favourite=favourite, body=body)
    with open_console() as console:
        with console.session() as session:
            found = find_template(session, key, kind)
            changed = TemplateOut.model_validate(library.change_template(session, found.id, wanted))
        console.emit(changed)


@app.command("duplicate")
def duplicate(key: Key, kind: Kind = None) -> None:
    """Copy a template under a free name."""
    with open_console() as console:
        with console.session() as session:
            found = find_template(session, key, kind)
            made = TemplateOut.model_validate(library.duplicate_template(session, found.id))
        console.emit(made)


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="The JSON file to write.", dir_okay=False)],
    keys: Annotated[
        list[str] | None, typer.Argument(help="Ids or names. Default: all that do not come with miStudio.")
    ] = None,
    kind: Kind = None,
) -> None:
    """Write templates into a JSON file."""
    from mistudio.store.atomic import atomic_file

    with open_console() as console:
        with console.reading() as session:
            ids = [find_template(session, key, kind).id for key in keys or []]
            document = exchange.export_templates(library.chosen(session, ids, kind))
        with atomic_file(file) as out:
            out.write(document.model_dump_json(indent=2).encode() + b"\n")
        console.emit({"file": str(file), "templates": len(document.templates)})


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A JSON file that was exported.", exists=True, dir_okay=False)],
    on_conflict: Annotated[
        str, typer.Option(help="Where a name is taken: rename, replace or skip.")
    ] = "rename",
    dry_run: Annotated[bool, typer.Option("--preview", help="Only say what would become of each.")] = False,
) -> None:
    """Import templates from a JSON file; rows that do not fit are named."""
    if on_conflict not in ("rename", "replace", "skip"):
        raise typer.BadParameter("It is rename, replace or skip.", param_hint="--on-conflict")
    request = ImportRequest(document=_read(file), on_conflict=on_conflict)
    with open_console() as console:
        with console.session() as session:
            report, _ = exchange.import_templates(session, request, dry_run=dry_run)
        console.emit(
            report if console.as_json else [row.model_dump() for row in report.rows],
            table=("row", "kind", "name", "state", "action", "imported_as", "changes", "errors"),
            title="templates",
        )


@app.command("delete")
def delete(keys: Annotated[list[str], typer.Argument(help="Ids or names.")], kind: Kind = None) -> None:
    """Delete templates, all that are named or, when one is refused, none; what was started from them stays."""
    with open_console() as console:
        with console.session() as session:
            ids = [find_template(session, key, kind).id for key in keys]
            for one in dict.fromkeys(ids):
                library.delete_template(session, one)
        console.emit({"deleted": ids})


def find_template(session: Session, key: str, kind: str | None = None) -> Template:
    """The template of this id or name. Raises NotFound; Conflict when several kinds have the name."""
    if (found := session.get(Template, key)) is not None:
        return found
    named = session.scalars(library.list_query(kind).where(Template.name == key)).all()
    if len(named) > 1:
        kinds = ", ".join(sorted(one.kind for one in named))
        raise Conflict(
            "name_ambiguous",
            f"Templates of the kinds {kinds} have the name “{key}”.",
            hint="Say which with --kind, or give the id.",
        )
    if not named:
        raise NotFound("template", key)
    return named[0]


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StudioError("file_not_json", f"{file.name} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise StudioError("file_not_json", f"{file.name} does not hold a JSON object.")
    return cast("dict[str, Any]", content)
