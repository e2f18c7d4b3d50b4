"""`mistudio datasets …`"""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from sqlalchemy.orm import Session

from mistudio.console import Console, open_console
from mistudio.datasets import change_commands, library, survey_commands
from mistudio.datasets.change_commands import Chat, ChatModel, Template, column_wanted
from mistudio.datasets.listing import DatasetFilter, filtered, matches_of
from mistudio.datasets.schemas import DatasetChange, DatasetCreate
from mistudio.datasets.source_options import SourceOptions, with_source
from mistudio.datasets.tables import Dataset
from mistudio.datasets.tokenization_commands import tokenization_app, tokenize
from mistudio.models.carrying import again, carry_out
from mistudio.models.names import find_row

app = typer.Typer(
    no_args_is_help=True,
    help="Data sets and their tokenizations: add, find, look at, compose, tokenize, delete.",
)
app.add_typer(tokenization_app, name="tokenizations")
app.command("tokenize")(tokenize)
app.command("change")(change_commands.change)
app.command("compose")(change_commands.compose)
app.command("columns")(change_commands.columns)
app.command("uses")(change_commands.uses)
app.command("rows")(survey_commands.rows)
app.command("statistics")(survey_commands.statistics)
app.command("index")(survey_commands.index)

COLUMNS = ("id", "name", "source.kind", "rows", "bytes", "text_column", "tokenization_count", "job.state")
Key = Annotated[str, typer.Argument(help="Id or name.")]
Force = Annotated[bool, typer.Option("--force", help="Also delete what was made from it.")]


@app.command("add")
@with_source
def add(
    source: SourceOptions,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Default: `text`, or the only column of strings.")
    ] = None,
    template: Template = None,
    chat: Chat = None,
    model: ChatModel = None,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Only the first rows; from the hub no more is fetched.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; may be repeated.")] = None,
) -> None:
    """Add a data set from a file, a folder or the hub."""
    with open_console() as console:
        wanted = DatasetCreate(
            name=name,
            source=source.chosen(console.settings).model_copy(update={"max_rows": max_rows}),
            text_column=text_column,
            compose=column_wanted(None, template, chat, model),
            tags=tag or [],
        )
        with console.session() as session:
            dataset, job = library.add_dataset(session, console.settings, wanted, any_folder=True)
            dataset_id, job_id = dataset.id, job.id
        _import(console, dataset_id, job_id)


@app.command("retry")
def retry(key: Key) -> None:
    """Go on with a data set whose import failed, was interrupted or paused: what has arrived is not fetched again."""
    with open_console() as console:
        with console.session() as session:
            dataset_id = find_row(session, Dataset, key, "dataset").id
            job_id = again(session, "datasets.import", f"datasets/{dataset_id}")
        _import(console, dataset_id, job_id)


def _import(console: Console, dataset_id: str, job_id: str) -> None:
    """See an import to its end and show what came of it."""

    def undo(session: Session) -> None:
        library.delete_dataset(session, console.settings, dataset_id)

    carry_out(console, job_id, undo, retry=f"datasets retry {dataset_id}")
    with console.reading() as session:
        out = library.datasets_out(session, [library.get_dataset(session, dataset_id)])[0]
    console.emit(out, table=["id", "name", "rows", "bytes", "text_column", "columns"])


@app.command("preview")
@with_source
def preview(
    source: SourceOptions,
    rows: Annotated[int, typer.Option(min=1, max=100, help="Rows to show.")] = 5,
) -> None:
    """Look at a source before adding it: columns, first rows, sizes, license."""
    from mistudio.datasets.preview import preview_source

    with open_console() as console:
        located, path = library.located(
            console.settings, source.chosen(console.settings), None, any_folder=True
        )
        found = preview_source(console.settings, located, path, rows=rows)
        if console.as_json:
            console.emit(found)
            return
        console.emit(found, table=["name", "config", "split", "text_column", "chat_columns", "columns"])
        console.emit(found.about)
        console.emit(found.rows, table=["index", *(f"values.{column.name}" for column in found.columns)])


@app.command("list")
def list_datasets(
    search: Annotated[str | None, typer.Option("--search", "-q", help="In names, hub ids and tags.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Where it came from: hub, upload, file or folder; may be repeated."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="ready, queued, running, failed or cancelled; may be repeated."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag that it must have; may be repeated.")] = None,
    favourite: Annotated[bool, typer.Option("--favourite", help="Only those with a star.")] = False,
    sort: Annotated[
        Literal["created_at", "name", "rows", "bytes"], typer.Option(help="In which order.")
    ] = "created_at",
) -> None:
    """List the data sets."""
    try:
        wanted = DatasetFilter.model_validate(
            {"kind": kind or [], "status": status or [], "tag": tag or [], "favourite": favourite or None}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(first["msg"], param_hint=f"--{first['loc'][0]}") from error
    query = filtered(wanted).order_by(getattr(Dataset, sort))
    if search:
        query = query.where(matches_of(search))
    with open_console() as console, console.reading() as session:
        found = session.scalars(query).all()
        console.emit(library.datasets_out(session, found), table=COLUMNS, title="data sets")


@app.command("show")
def show(key: Key) -> None:
    """Show a data set."""
    with open_console() as console, console.reading() as session:
        console.emit(library.datasets_out(session, [find_row(session, Dataset, key, "dataset")])[0])


@app.command("rename")
def rename(key: Key, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a data set another name."""
    with open_console() as console:
        with console.session() as session:
            dataset = find_row(session, Dataset, key, "dataset")
            library.change_dataset(session, dataset.id, DatasetChange(name=name))
        console.emit({"id": dataset.id, "name": name})


@app.command("delete")
def delete(keys: Annotated[list[str], typer.Argument(help="Ids or names.")], force: Force = False) -> None:
    """Delete data sets with their tokenizations: all that are named or, when one is refused, none."""
    with open_console() as console:
        with console.session() as session:
            gone: list[tuple[str, str]] = []
            for key in keys:
                dataset = find_row(session, Dataset, key, "dataset")
                gone += library.delete_dataset(session, console.settings, dataset.id, force=force)
        console.emit({"deleted": [id for _, id in gone]})
