"""`mistudio datasets tokenize`, `mistudio datasets tokenizations …`"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from mistudio import jobs
from mistudio.console import Console, open_console
from mistudio.datasets import library, tokenizations
from mistudio.datasets.tables import Dataset
from mistudio.datasets.tokenization_schemas import (
    RowFilterSettings,
    SequenceOut,
    TokenizationCreate,
    TokenizationSettings,
)
from mistudio.models.carrying import carry_out
from mistudio.models.library import ready_model
from mistudio.models.names import find_row
from mistudio.models.tables import Model
from mistudio.models.uses import show_uses

tokenization_app = typer.Typer(
    no_args_is_help=True,
    help="Tokenizations of a data set: preview, list, show, look at sequences and uses, cancel, retry, delete.",
)
COLUMNS = (
    "id",
    "dataset_name",
    "name",
    "model_name",
    "n_sequences",
    "n_tokens",
    "bytes",
    "job.state",
)
_SHOWN_CHARACTERS = 80
_NAMES = [
    *(name for name in TokenizationSettings.model_fields if name != "filters"),
    *(f"filters.{name}" for name in RowFilterSettings.model_fields),
]
DatasetKey = Annotated[str, typer.Argument(help="Id or name of the data set.")]
Key = Annotated[str, typer.Argument(help="Id or name of the tokenization, or of its model.")]
ModelKey = Annotated[str, typer.Option("--model", help="Id or name of the model whose tokenizer is used.")]
ContextLength = Annotated[int, typer.Option(help="Tokens in a sequence.")]
Packing = Annotated[str, typer.Option(help="concatenate, best_fit or one_per_row.")]
TextColumn = Annotated[str | None, typer.Option(help="Default: the data set's text column.")]
With = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME=VALUE", help=f"Any of {', '.join(_NAMES)}. Lists as JSON."),
]


def settings_of(context_length: int, packing: str, assignments: list[str] | None) -> TokenizationSettings:
    """The settings that options say. Raises typer.BadParameter."""
    values: dict[str, Any] = {"context_length": context_length, "packing": packing, "filters": {}}
    for assignment in assignments or []:
        name, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise typer.BadParameter(f"“{assignment}” is not NAME=VALUE.", param_hint="--with")
        group, dot, field = name.rpartition(".")
        if dot and group != "filters":
            raise typer.BadParameter(f"There is no setting {name}.", param_hint="--with")
        (values["filters"] if dot else values)[field] = _value(value)
    try:
        return TokenizationSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("bool", "literal['auto']"))
        raise typer.BadParameter(f"{where}: {first['msg']}".removeprefix(": ")) from error


def _value(text: str) -> Any:
    """A list as JSON, anything else as it is typed: the schema knows what it stands for."""
    if not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"“{text}” is no list in JSON.", param_hint="--with") from error


def tokenize(
    dataset: DatasetKey,
    model: ModelKey,
    name: Annotated[str | None, typer.Option(help="What to call the tokenization.")] = None,
    context_length: ContextLength = 128,
    packing: Packing = "concatenate",
    text_column: TextColumn = None,
    set_: With = None,
) -> None:
    """Cut a data set into sequences of a model's tokens."""
    chosen = settings_of(context_length, packing, set_)
    with open_console() as console:
        with console.session() as session:
            dataset_id = find_row(session, Dataset, dataset, "dataset").id
            wanted = TokenizationCreate(
                model_id=find_row(session, Model, model, "model").id,
                name=name,
                text_column=text_column,
                settings=chosen,
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
        console.emit(out, table=[*COLUMNS[:-1], *(f"statistics.{name}" for name in _FIGURES)])


_FIGURES = ("rows_used", "dropped", "vocabulary_used", "special_tokens", "unknown_tokens", "padding_tokens")


@tokenization_app.command("preview")
def preview(
    dataset: DatasetKey,
    model: ModelKey,
    context_length: ContextLength = 128,
    packing: Packing = "concatenate",
    text_column: TextColumn = None,
    set_: With = None,
    offset: Annotated[int, typer.Option(min=0, help="First row.")] = 0,
    rows: Annotated[int, typer.Option(min=1, max=100, help="Rows read.")] = 10,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Sequences shown.")] = 5,
) -> None:
    """What some rows would become, before any run."""
    chosen = settings_of(context_length, packing, set_)
    with open_console() as console:
        with console.reading() as session:
            found = library.ready_dataset(session, find_row(session, Dataset, dataset, "dataset").id)
            used = ready_model(session, find_row(session, Model, model, "model").id)
        shown = tokenizations.preview_tokenization(
            console.settings,
            found,
            used,
            TokenizationCreate(model_id=used.id, text_column=text_column, settings=chosen),
            offset=offset,
            rows=rows,
            limit=limit,
        )
        if console.as_json:
            console.emit(shown)
            return
        table = ["index", "characters", "tokens", "dropped", "text"]
        rows_out = [{**row.model_dump(), "text": row.text[:_SHOWN_CHARACTERS]} for row in shown.rows]
        console.emit(rows_out, table=table, title="rows")
        _emit_sequences(console, shown.items)


@tokenization_app.command("list")
def list_tokenizations(
    dataset: Annotated[str | None, typer.Argument(help="Only those of this data set (id or name).")] = None,
) -> None:
    """List tokenizations."""
    with open_console() as console, console.reading() as session:
        dataset_id = find_row(session, Dataset, dataset, "dataset").id if dataset else None
        found = session.scalars(tokenizations.list_query(dataset_id)).all()
        console.emit(tokenizations.tokenizations_out(session, found), table=COLUMNS, title="tokenizations")


@tokenization_app.command("show")
def show(dataset: DatasetKey, key: Key) -> None:
    """Show a tokenization with its statistics."""
    with open_console() as console, console.reading() as session:
        console.emit(tokenizations.tokenizations_out(session, [_find(session, dataset, key)])[0])


@tokenization_app.command("sequences")
def sequences(
    dataset: DatasetKey,
    key: Key,
    offset: Annotated[int, typer.Option(min=0, help="First sequence.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 5,
) -> None:
    """Print sequences as tokens."""
    with open_console() as console:
        with console.reading() as session:
            found = _find(session, dataset, key)
            if not found.ready:
                raise tokenizations.not_ready(found)
        page = tokenizations.page_of_sequences(console.settings, found, offset=offset, limit=limit)
        _emit_sequences(console, page.items)


@tokenization_app.command("uses")
def uses(dataset: DatasetKey, key: Key) -> None:
    """Show what was made from a tokenization, which is what deleting it would take with it."""
    show_uses("tokenizations", lambda session: _find(session, dataset, key).id)


@tokenization_app.command("cancel")
def cancel(dataset: DatasetKey, key: Key) -> None:
    """Stop a tokenization that waits or runs."""
    with open_console() as console, console.session() as session:
        found = _find(session, dataset, key)
        jobs.cancel(session, tokenizations.job_of(session, found).id)
        console.emit(tokenizations.tokenizations_out(session, [found])[0], table=COLUMNS)


@tokenization_app.command("retry")
def retry(dataset: DatasetKey, key: Key) -> None:
    """Queue one that failed or was cancelled again; the server, or a worker, runs it."""
    with open_console() as console, console.session() as session:
        found = _find(session, dataset, key)
        jobs.retry(session, tokenizations.job_of(session, found).id)
        console.emit(tokenizations.tokenizations_out(session, [found])[0], table=COLUMNS)


@tokenization_app.command("delete")
def delete(
    dataset: DatasetKey,
    key: Key,
    force: Annotated[bool, typer.Option("--force", help="Also delete what was made from it.")] = False,
) -> None:
    """Delete a tokenization."""
    with open_console() as console:
        with console.session() as session:
            gone = tokenizations.delete_tokenization(
                session, console.settings, _find(session, dataset, key), force=force
            )
        console.emit({"deleted": [id for _, id in gone]})


def _emit_sequences(console: Console, items: list[SequenceOut]) -> None:
    shown = [{**item.model_dump(), "text": "".join(token.text for token in item.tokens)} for item in items]
    console.emit(shown, table=["index", "row", "offset", "length", "text"], title="sequences")


def _find(session: Any, dataset: str, key: str) -> Any:
    return tokenizations.find_tokenization(session, find_row(session, Dataset, dataset, "dataset").id, key)
