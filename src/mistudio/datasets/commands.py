"""`mistudio datasets …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy import select

from mistudio.console import open_console
from mistudio.datasets import library, tokenizations
from mistudio.datasets.schemas import (
    DatasetChange,
    DatasetCreate,
    DatasetSource,
    Documents,
    FileFormat,
    FolderSource,
    HubSource,
    TokenizationCreate,
    TokenizationSettings,
)
from mistudio.datasets.tables import Dataset
from mistudio.errors import StudioError
from mistudio.models.commands import carry_out
from mistudio.models.names import find_row
from mistudio.models.tables import Model

app = typer.Typer(
    no_args_is_help=True, help="Data sets and their tokenizations: add, list, look at, tokenize, delete."
)
tokenization_app = typer.Typer(no_args_is_help=True, help="Tokenizations of a data set: list, show, delete.")
app.add_typer(tokenization_app, name="tokenizations")

COLUMNS = ("id", "name", "source.kind", "rows", "bytes", "text_column", "tokenization_count", "job.state")
TOKENIZATION_COLUMNS = (
    "id",
    "dataset_name",
    "name",
    "model_name",
    "n_sequences",
    "n_tokens",
    "bytes",
    "job.state",
)
Key = Annotated[str, typer.Argument(help="Id or name.")]
Force = Annotated[bool, typer.Option("--force", help="Also delete what was made from it.")]


@app.command("add")
def add(
    source: Annotated[
        str, typer.Argument(help="A file, a folder of text files, or a hub id (organisation/name).")
    ],
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    format: Annotated[FileFormat | None, typer.Option(help="Default: by the file's ending.")] = None,
    text_column: Annotated[
        str | None, typer.Option(help="Default: `text`, or the only column of strings.")
    ] = None,
    documents: Annotated[
        Documents | None, typer.Option(help="Text files: what is one row. Default: paragraph.")
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(help="CSV files: what separates the columns. Default: the comma, or the tab for .tsv."),
    ] = None,
    pattern: Annotated[str, typer.Option(help="Folders: the names of the files to read.")] = "*.txt",
    name_pattern: Annotated[
        str | None, typer.Option(help="Folders: regular expression whose named groups become columns.")
    ] = None,
    config: Annotated[str | None, typer.Option(help="Hub: configuration (subset).")] = None,
    split: Annotated[str, typer.Option(help="Hub: split.")] = "train",
    revision: Annotated[str, typer.Option(help="Hub: branch, tag or commit.")] = "main",
    max_rows: Annotated[int | None, typer.Option(min=1, help="Import only the first rows.")] = None,
) -> None:
    """Add a data set from a file, a folder or the hub."""
    path = Path(source).expanduser()
    chosen: DatasetSource
    if path.is_dir():
        chosen = FolderSource(path=source, pattern=pattern, name_pattern=name_pattern, max_rows=max_rows)
    elif (
        path.exists()
        or format
        or path.suffix.lower() in library.FORMATS
        or source.startswith((".", "/", "~"))
    ):
        if not path.exists():
            raise StudioError(
                "path_not_found", f"There is nothing at “{source}”.", hint="Check the spelling."
            )
        chosen = library.file_source(
            source, format, documents=documents, delimiter=delimiter, max_rows=max_rows
        )
    else:
        chosen = HubSource(repo=source, config=config, split=split, revision=revision, max_rows=max_rows)
    wanted = DatasetCreate(name=name, source=chosen, text_column=text_column)
    with open_console() as console:
        with console.session() as session:
            dataset, job = library.add_dataset(session, console.settings, wanted, any_folder=True)
            dataset_id, job_id = dataset.id, job.id
        carry_out(
            console, job_id, lambda session: library.delete_dataset(session, console.settings, dataset_id)
        )
        with console.reading() as session:
            out = library.datasets_out(session, [library.get_dataset(session, dataset_id)])[0]
        console.emit(out, table=["id", "name", "rows", "bytes", "text_column", "columns"])


@app.command("list")
def list_datasets() -> None:
    """List the data sets."""
    with open_console() as console, console.reading() as session:
        found = session.scalars(select(Dataset).order_by(Dataset.created_at)).all()
        console.emit(library.datasets_out(session, found), table=COLUMNS, title="data sets")


@app.command("show")
def show(key: Key) -> None:
    """Show a data set."""
    with open_console() as console, console.reading() as session:
        console.emit(library.datasets_out(session, [find_row(session, Dataset, key, "dataset")])[0])


@app.command("rows")
def rows(
    key: Key,
    offset: Annotated[int, typer.Option(min=0, help="First row.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 10,
    q: Annotated[str | None, typer.Option("--search", "-q", help="Only rows whose text holds this.")] = None,
    characters: Annotated[int, typer.Option(min=20, help="Longer texts are cut to this.")] = 200,
) -> None:
    """Print rows."""
    from mistudio.datasets.rows import open_rows, page_of_rows

    with open_console() as console:
        with console.reading() as session:
            dataset = library.ready_dataset(session, find_row(session, Dataset, key, "dataset").id)
        page = page_of_rows(
            open_rows(console.settings, dataset),
            dataset.text_column or "",
            offset=offset,
            limit=limit,
            q=q,
            characters=characters,
        )
        columns = [f"values.{column['name']}" for column in dataset.columns]
        console.emit(page.items, table=["index", *columns], title="rows")


@app.command("rename")
def rename(key: Key, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a data set another name."""
    with open_console() as console:
        with console.session() as session:
            dataset = find_row(session, Dataset, key, "dataset")
            library.change_dataset(session, dataset.id, DatasetChange(name=name))
        console.emit({"id": dataset.id, "name": name})


@app.command("delete")
def delete(key: Key, force: Force = False) -> None:
    """Delete a data set with its tokenizations."""
    with open_console() as console:
        with console.session() as session:
            dataset = find_row(session, Dataset, key, "dataset")
            gone = library.delete_dataset(session, console.settings, dataset.id, force=force)
        console.emit({"deleted": [id for _, id in gone]})


@app.command("tokenize")
def tokenize(
    key: Key,
    model: Annotated[str, typer.Option(help="Id or name of the model whose tokenizer is used.")],
    name: Annotated[str | None, typer.Option(help="What to call the tokenization.")] = None,
    context_length: Annotated[int, typer.Option(help="Tokens in a sequence.")] = 128,
    packing: Annotated[str, typer.Option(help="concatenate or one_per_row.")] = "concatenate",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="NAME=VALUE", help=f"Any of {', '.join(TokenizationSettings.model_fields)}."
        ),
    ] = None,
) -> None:
    """Cut a data set into sequences of a model's tokens."""
    values: dict[str, str | int] = {"context_length": context_length, "packing": packing}
    for assignment in set_ or []:
        field, equals, value = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"“{assignment}” is not NAME=VALUE.", param_hint="--with")
        values[field.strip()] = value.strip()
    try:
        settings = TokenizationSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("bool", "literal['auto']"))
        raise typer.BadParameter(f"{where}: {first['msg']}".removeprefix(": ")) from error
    with open_console() as console:
        with console.session() as session:
            dataset_id = find_row(session, Dataset, key, "dataset").id
            wanted = TokenizationCreate(
                model_id=find_row(session, Model, model, "model").id, name=name, settings=settings
            )
            made, job = tokenizations.add_tokenization(session, console.settings, dataset_id, wanted)
            made_id, job_id = made.id, job.id
        carry_out(
            console,
            job_id,
            lambda session: tokenizations.delete_tokenization(
                session, console.settings, tokenizations.get_tokenization(session, made_id)
            ),
        )
        with console.reading() as session:
            out = tokenizations.tokenizations_out(
                session, [tokenizations.get_tokenization(session, made_id)]
            )[0]
        console.emit(out, table=[*TOKENIZATION_COLUMNS[:-1], "statistics"])


@tokenization_app.command("list")
def list_tokenizations(
    dataset: Annotated[str | None, typer.Argument(help="Only those of this data set (id or name).")] = None,
) -> None:
    """List tokenizations."""
    with open_console() as console, console.reading() as session:
        dataset_id = find_row(session, Dataset, dataset, "dataset").id if dataset else None
        found = session.scalars(tokenizations.list_query(dataset_id)).all()
        console.emit(
            tokenizations.tokenizations_out(session, found), table=TOKENIZATION_COLUMNS, title="tokenizations"
        )


@tokenization_app.command("show")
def show_tokenization(
    dataset: Annotated[str, typer.Argument(help="Id or name of the data set.")],
    key: Annotated[str, typer.Argument(help="Id or name of the tokenization, or of its model.")],
) -> None:
    """Show a tokenization with its statistics."""
    with open_console() as console, console.reading() as session:
        found = tokenizations.find_tokenization(
            session, find_row(session, Dataset, dataset, "dataset").id, key
        )
        console.emit(tokenizations.tokenizations_out(session, [found])[0])


@tokenization_app.command("delete")
def delete_tokenization(
    dataset: Annotated[str, typer.Argument(help="Id or name of the data set.")],
    key: Annotated[str, typer.Argument(help="Id or name of the tokenization, or of its model.")],
    force: Force = False,
) -> None:
    """Delete a tokenization."""
    with open_console() as console:
        with console.session() as session:
            found = tokenizations.find_tokenization(
                session, find_row(session, Dataset, dataset, "dataset").id, key
            )
            gone = tokenizations.delete_tokenization(session, console.settings, found, force=force)
        console.emit({"deleted": [id for _, id in gone]})
