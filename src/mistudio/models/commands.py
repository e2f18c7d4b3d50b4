"""`mistudio models …`"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.console import Console, open_console
from mistudio.errors import StudioError
from mistudio.models import library
from mistudio.models.names import find_row
from mistudio.models.schemas import FolderModelSource, GgufModelSource, HubModelSource, ModelCreate
from mistudio.models.tables import Model

app = typer.Typer(no_args_is_help=True, help="Language models: add, list, look at, delete.")

COLUMNS = ("id", "name", "architecture", "n_layers", "d_model", "parameters", "bytes", "job.state")
Key = Annotated[str, typer.Argument(help="Id or name.")]


def carry_out(console: Console, job_id: str, undo: Callable[[Session], Any]) -> dict[str, Any]:
    """Run a job to its end. When it fails, what it was making is removed, since its error is on the screen."""
    try:
        return console.run(job_id)
    except StudioError:
        with console.session() as session:
            undo(session)
        raise


@app.command("add")
def add(
    source: Annotated[
        str, typer.Argument(help="A hub id (organisation/name), a folder with safetensors, or a GGUF file.")
    ],
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    revision: Annotated[str, typer.Option(help="For the hub: branch, tag or commit.")] = "main",
) -> None:
    """Add a model: download or copy it, verify it, find its hook points."""
    wanted = ModelCreate(name=name, source=_source(source, revision))
    with open_console() as console:
        with console.session() as session:
            model, job = library.add_model(session, console.settings, wanted, any_folder=True)
            model_id, job_id = model.id, job.id
        carry_out(console, job_id, lambda session: library.delete_model(session, console.settings, model_id))
        with console.reading() as session:
            out = library.models_out(session, [library.get_model(session, model_id)])[0]
        console.emit(out, table=[*COLUMNS[:-1], "dtype", "context_length"])


def _source(source: str, revision: str) -> HubModelSource | FolderModelSource | GgufModelSource:
    path = Path(source).expanduser()
    if path.is_dir():
        return FolderModelSource(path=source)
    if path.exists() or path.suffix.lower() == ".gguf":
        return GgufModelSource(path=source)
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        return FolderModelSource(path=source)  # which says that there is nothing there
    return HubModelSource(repo=source, revision=revision)


@app.command("list")
def list_models() -> None:
    """List the models."""
    with open_console() as console, console.reading() as session:
        models = session.scalars(select(Model).order_by(Model.created_at)).all()
        console.emit(library.models_out(session, models), table=COLUMNS, title="models")


@app.command("show")
def show(key: Key) -> None:
    """Show a model and its hook points."""
    with open_console() as console, console.reading() as session:
        console.emit(library.models_out(session, [find_row(session, Model, key, "model")])[0])


@app.command("tokenize")
def tokenize(key: Key, text: Annotated[str, typer.Argument(help="The text.")]) -> None:
    """Cut a text into the model's tokens."""
    with open_console() as console:
        with console.reading() as session:
            model = library.ready_model(session, find_row(session, Model, key, "model").id)
        tokens = library.open_tokenizer(console.settings, model).tokenize(text)
        console.emit(tokens, table=["id", "piece", "start", "end"], title="tokens")


@app.command("memory")
def memory(
    key: Key,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, int8 or int4.")] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at once.")] = 16,
    context_length: Annotated[int, typer.Option(min=1, help="Tokens in each.")] = 128,
) -> None:
    """Forecast the memory of a model, in bytes."""
    with open_console() as console:
        with console.reading() as session:
            model = library.ready_model(session, find_row(session, Model, key, "model").id)
        try:
            forecast = library.forecast_memory(
                console.settings, model, dtype=dtype, batch_size=batch_size, context_length=context_length
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--dtype") from error
        console.emit(forecast)


@app.command("delete")
def delete(
    key: Key,
    force: Annotated[bool, typer.Option("--force", help="Also delete what was made with it.")] = False,
) -> None:
    """Delete a model and its files."""
    with open_console() as console:
        with console.session() as session:
            model = find_row(session, Model, key, "model")
            gone = library.delete_model(session, console.settings, model.id, force=force)
        console.emit({"deleted": [id for _, id in gone]})
