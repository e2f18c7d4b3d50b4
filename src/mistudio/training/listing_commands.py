"""`mistudio train list | fields | compare | report | tag | views`: what the list of runs and comparisons show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from mistudio.console import Console, open_console
from mistudio.engine.runs import sentence
from mistudio.errors import StudioError
from mistudio.store import atomic_file
from mistudio.training import bulk, saved_views
from mistudio.training.comparison import Comparison, chosen_ids, compare
from mistudio.training.fields import all_fields
from mistudio.training.listing import USUAL_COLUMNS, ListRequest, group_trainings, ids_of, list_trainings
from mistudio.training.listing_schemas import BulkChange, ViewCreate, ViewOut
from mistudio.training.report import REPORTED, make_report, measured, words
from mistudio.training.report_pages import report_html, report_zip
from mistudio.training.schemas import TrainingUpdate
from mistudio.training.sweeps import update_training

Filter = Annotated[
    str,
    typer.Option(
        "--filter", help="Conditions such as 'd_sae>=8192 layer:6 -tag:bad name~\"a b\"', OR, parentheses."
    ),
]
Trainings = Annotated[list[str] | None, typer.Argument(help="Trainings (tr_…).")]
SweepId = Annotated[
    str | None, typer.Option("--sweep", help="A sweep (sw_…), all of whose trainings are meant.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to `mistudio train`."""
    app.command("list")(list_)
    app.command("fields")(fields)
    app.command("compare")(compare_)
    app.command("report")(report)
    app.command("tag")(tag)
    app.command("edit")(edit)
    app.command("views")(views)
    app.command("save-view")(save_view)
    app.command("forget-view")(forget_view)


def list_(
    filter: Filter = "",
    columns: Annotated[
        str, typer.Option(help="Fields with commas between; `mistudio train fields` lists them.")
    ] = "",
    sort: Annotated[str, typer.Option(help="Fields, - before one for descending.")] = "-created",
    group: Annotated[str, typer.Option(help="Only count runs by the values of this field.")] = "",
    view: Annotated[str, typer.Option(help="A saved view, by its name or id; other options beat it.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
) -> None:
    """List runs: filtered, sorted, with the columns that are asked for."""
    with open_console() as console, console.reading() as session:
        names = [name.strip() for name in columns.split(",") if name.strip()]
        if view:
            kept = ViewOut.model_validate(_view(session, view)).settings
            filter, group = filter or kept.filter, group or kept.group
            names, sort = names or kept.columns, kept.sort if sort == "-created" else sort
        if group:
            found = group_trainings(session, console.settings, group, filter)
            if console.as_json:
                console.emit(found)
                return
            rows = [
                {
                    group: words(one.value),
                    "runs": one.count,
                    "under way": one.running,
                    "best FVU": one.best.get("fvu"),
                }
                for one in found.groups
            ]
            console.emit(rows, table=[group, "runs", "under way", "best FVU"], title="groups")
            return
        wanted = ListRequest(filter=filter, sort=sort, columns=names, limit=limit)
        page = list_trainings(session, console.settings, wanted)
        if console.as_json:
            console.emit(page.items)
            return
        shown = names or list(USUAL_COLUMNS)
        _table(
            console,
            ["id", "name", *(name for name in shown if name not in ("id", "name"))],
            [{"id": one.id, "name": one.name, **one.values} for one in page.items],
            "trainings",
        )
        if page.total > len(page.items):
            console.say(f"{len(page.items):,} of {page.total:,}; --limit shows more.")


def fields() -> None:
    """What runs can be listed, sorted, grouped and filtered by."""
    with open_console() as console:
        console.emit(
            [
                {"name": one.name, "kind": one.kind, "unit": one.unit, "title": one.title, "group": one.group}
                for one in all_fields()
            ],
            table=["name", "kind", "unit", "title", "group"],
            title="fields",
        )


def compare_(trainings: Trainings = None, sweep: SweepId = None) -> None:
    """Runs side by side: where their settings differ, and what came out; a star marks the best."""
    with open_console() as console, console.reading() as session:
        data = compare(session, console.settings, chosen_ids(session, trainings or [], sweep))
        if console.as_json:
            console.emit(data)
        else:
            _print_comparison(console, data)


def _print_comparison(console: Console, data: Comparison) -> None:
    chosen = [one for name in REPORTED if (one := measured(data, name)) is not None]
    rows: list[dict[str, Any]] = []
    for place, run in enumerate(data.trainings):
        row: dict[str, Any] = {"id": run.id}
        row |= {one.name: words(one.values[place]) for one in data.settings}
        for one in chosen:
            value = one.values[place]
            row[one.name.removeprefix("held_out.")] = (
                f"{'–' if value is None else f'{value:.4g}'}{' ★' if place in one.best else ''}"
            )
        rows.append(row)
    _table(console, list(rows[0]), rows, "runs compared")


def report(
    trainings: Trainings = None,
    sweep: SweepId = None,
    format: Annotated[
        Literal["html", "markdown"], typer.Option(help="One page, or Markdown with its figures in a zip.")
    ] = "html",
    title: Annotated[str | None, typer.Option(help="Title of the report.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write it.")] = None,
) -> None:
    """Write a one-page report about runs: settings, curves, fronts, figures, environment."""
    path = out or Path("report.html" if format == "html" else "report.zip")
    with open_console() as console:
        with console.reading() as session:
            ids = chosen_ids(session, trainings or [], sweep)
            made = make_report(session, console.settings, ids, title)
        content = report_html(made).encode() if format == "html" else report_zip(made)
        try:
            with atomic_file(path) as file:
                file.write(content)
        except OSError as error:
            raise StudioError(
                "report_not_written", f"The report could not be written to {path}: {error.strerror}."
            ) from error
        console.emit({"path": str(path), "bytes": len(content), "runs": len(ids)})


def tag(
    trainings: Trainings = None,
    filter: Filter = "",
    add: Annotated[list[str] | None, typer.Option(help="A tag to add; may be given several times.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A tag to take away.")] = None,
    star: Annotated[bool | None, typer.Option("--star/--no-star", help="Set or take the star.")] = None,
) -> None:
    """Tag or star many runs: those named, and those that a filter finds."""
    with open_console() as console, console.session() as session:
        ids = list(trainings or [])
        if filter:
            ids += ids_of(session, console.settings, filter, 10_000)
        if not ids:
            raise StudioError("nothing_to_tag", "No runs were named, or the filter finds none.")
        change = BulkChange(ids=ids, add_tags=add or [], remove_tags=remove or [], favourite=star)
        console.emit({"changed": bulk.change_many(session, change)})


def edit(
    training: Annotated[str, typer.Argument(metavar="TRAINING", help="Training (tr_…).")],
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    notes: Annotated[str | None, typer.Option(help="Its notes, in place of those there are.")] = None,
) -> None:
    """Rename a run, or write its notes."""
    try:
        wanted = TrainingUpdate(name=name, notes=notes)
    except ValidationError as error:
        raise StudioError("invalid_input", sentence(error)) from error
    with open_console() as console, console.session() as session:
        found = update_training(session, training, wanted)
        console.emit({"id": found.id, "name": found.name, "notes": found.notes})


def views() -> None:
    """List the saved views."""
    with open_console() as console, console.reading() as session:
        found = [ViewOut.model_validate(one) for one in saved_views.list_views(session)]
        console.emit(
            found, table=["id", "name", "settings.filter", "settings.sort", "settings.group"], title="views"
        )


def save_view(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    filter: Filter = "",
    columns: Annotated[str, typer.Option(help="Fields with commas between.")] = "",
    sort: Annotated[str, typer.Option(help="Fields, - before one for descending.")] = "-created",
    group: Annotated[str, typer.Option(help="Field by whose values runs are grouped.")] = "",
) -> None:
    """Keep a way of looking at the list under a name; it appears in the app too."""
    names = [one.strip() for one in columns.split(",") if one.strip()]
    with open_console() as console, console.session() as session:
        wanted = ViewCreate(name=name, filter=filter, columns=names, sort=sort, group=group)
        console.emit(ViewOut.model_validate(saved_views.add_view(session, wanted)))


def forget_view(view: Annotated[str, typer.Argument(help="Its name or id.")]) -> None:
    """Forget a saved view; runs are not touched."""
    with open_console() as console, console.session() as session:
        found = _view(session, view)
        saved_views.delete_view(session, found.id)
        console.emit({"forgotten": found.name})


def _view(session: Any, wanted: str) -> Any:
    named = [one for one in saved_views.list_views(session) if one.name.lower() == wanted.lower()]
    return named[0] if named else saved_views.get_view(session, wanted)


def _table(console: Console, columns: list[str], rows: list[dict[str, Any]], title: str) -> None:
    """Rows under names that may have dots in them, which the console would take for paths."""
    plain = {name: name.replace(".", " ") for name in columns}
    shown = [{plain[name]: _shown(row.get(name)) for name in columns} for row in rows]
    console.emit(shown, table=list(plain.values()), title=title)


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return value
