"""`mistudio datasets …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from mistudio.console import open_console
from mistudio.datasets import change_commands, library, survey_commands
from mistudio.datasets.change_commands import Chat, ChatModel, Template, column_wanted
from mistudio.datasets.formats import format_of, is_packed
from mistudio.datasets.listing import DatasetFilter, filtered, matches_of
from mistudio.datasets.schemas import (
    DatasetChange,
    DatasetCreate,
    DatasetSource,
    Documents,
    FileFormat,
    FolderSource,
    HubSource,
)
from mistudio.datasets.tables import Dataset
from mistudio.datasets.tokenization_commands import tokenization_app, tokenize
from mistudio.errors import StudioError
from mistudio.models.commands import carry_out
from mistudio.models.names import find_row
from mistudio.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Data sets and their tokenizations: add, find, look at, compose, tokenize, delete.",
)
app.add_typer(tokenization_app, name="tokenizations")
app.command("tokenize")(tokenize)
app.command("change")(change_commands.change)
app.command("compose")(change_commands.compose)
app.command("uses")(change_commands.uses)
app.command("rows")(survey_commands.rows)
app.command("statistics")(survey_commands.statistics)
app.command("index")(survey_commands.index)

COLUMNS = ("id", "name", "source.kind", "rows", "bytes", "text_column", "tokenization_count", "job.state")
Key = Annotated[str, typer.Argument(help="Id or name.")]
Force = Annotated[bool, typer.Option("--force", help="Also delete what was made from it.")]


Source = Annotated[
    str,
    typer.Argument(
        help="A file (text, JSONL, CSV or Parquet; also .gz, .zst, .zip), a folder of such files, or a hub id "
        "(organisation/name)."
    ),
]
Format = Annotated[FileFormat | None, typer.Option(help="Default: by the file's ending.")]
Rows = Annotated[
    Documents | None,
    typer.Option(
        help="Text files: what is one row. Default: paragraph; the file in folders, the line on the hub."
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(help="CSV files: what separates the columns. Default: the comma, or the tab for .tsv."),
]
Pattern = Annotated[str, typer.Option(help="Folders: the names of the files to read, as **/*.jsonl.gz.")]
NamePattern = Annotated[
    str | None, typer.Option(help="Folders: regular expression whose named groups become columns.")
]
Config = Annotated[str | None, typer.Option(help="Hub: configuration (subset).")]
Split = Annotated[str, typer.Option(help="Hub: split.")]
Revision = Annotated[str, typer.Option(help="Hub: branch, tag or commit.")]


@app.command("add")
def add(
    source: Source,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    format: Format = None,
    text_column: Annotated[
        str | None, typer.Option(help="Default: `text`, or the only column of strings.")
    ] = None,
    template: Template = None,
    chat: Chat = None,
    model: ChatModel = None,
    documents: Rows = None,
    delimiter: Delimiter = None,
    pattern: Pattern = "*.txt",
    name_pattern: NamePattern = None,
    config: Config = None,
    split: Split = "train",
    revision: Revision = "main",
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Only the first rows; from the hub no more is fetched.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; may be repeated.")] = None,
) -> None:
    """Add a data set from a file, a folder or the hub."""
    with open_console() as console:
        chosen = _source(
            console.settings,
            source,
            format,
            documents,
            delimiter,
            pattern,
            name_pattern,
            config,
            split,
            revision,
        )
        wanted = DatasetCreate(
            name=name,
            source=chosen.model_copy(update={"max_rows": max_rows}),
            text_column=text_column,
            compose=column_wanted(None, template, chat, model),
            tags=tag or [],
        )
        with console.session() as session:
            dataset, job = library.add_dataset(session, console.settings, wanted, any_folder=True)
            dataset_id, job_id = dataset.id, job.id
        carry_out(
            console, job_id, lambda session: library.delete_dataset(session, console.settings, dataset_id)
        )
        with console.reading() as session:
            out = library.datasets_out(session, [library.get_dataset(session, dataset_id)])[0]
        console.emit(out, table=["id", "name", "rows", "bytes", "text_column", "columns"])


@app.command("preview")
def preview(
    source: Source,
    format: Format = None,
    documents: Rows = None,
    delimiter: Delimiter = None,
    pattern: Pattern = "*.txt",
    name_pattern: NamePattern = None,
    config: Config = None,
    split: Split = "train",
    revision: Revision = "main",
    rows: Annotated[int, typer.Option(min=1, max=100, help="Rows to show.")] = 5,
) -> None:
    """Look at a source before adding it: columns, first rows, sizes, license."""
    from mistudio.datasets.preview import preview_source

    with open_console() as console:
        chosen = _source(
            console.settings,
            source,
            format,
            documents,
            delimiter,
            pattern,
            name_pattern,
            config,
            split,
            revision,
        )
        located, path = library.located(console.settings, chosen, None, any_folder=True)
        found = preview_source(console.settings, located, path, rows=rows)
        if console.as_json:
            console.emit(found)
            return
        console.emit(found, table=["name", "config", "split", "text_column", "chat_columns", "columns"])
        console.emit(found.about)
        console.emit(found.rows, table=["index", *(f"values.{column.name}" for column in found.columns)])


def _source(
    settings: Settings,
    source: str,
    format: FileFormat | None,
    documents: Documents | None,
    delimiter: str | None,
    pattern: str,
    name_pattern: str | None,
    config: str | None,
    split: str,
    revision: str,
) -> DatasetSource:
    """The source that the options name. Raises StudioError `path_not_found`, `format_unknown`."""
    path = Path(source).expanduser()
    if path.is_dir():
        return FolderSource(
            path=source,
            pattern=pattern,
            format=format,
            documents=documents or "file",
            name_pattern=name_pattern,
        )
    looks_local = format or format_of(path.name) or is_packed(path.name) or source.startswith((".", "/", "~"))
    if path.exists():
        from mistudio.datasets.sources import archive_format

        kind = format or archive_format(settings, path)
        return library.file_source(source, kind, documents=documents, delimiter=delimiter)
    if looks_local:
        raise StudioError("path_not_found", f"There is nothing at “{source}”.", hint="Check the spelling.")
    return HubSource(
        repo=source, config=config, split=split, revision=revision, documents=documents or "line"
    )


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
