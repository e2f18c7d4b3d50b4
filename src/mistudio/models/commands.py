"""`mistudio models …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.console import Console, open_console
from mistudio.models import library
from mistudio.models.carrying import again, carry_out
from mistudio.models.configuration import configuration
from mistudio.models.names import find_row
from mistudio.models.plain_errors import said_plainly
from mistudio.models.playground_commands import generate, lens
from mistudio.models.preview import preview_model
from mistudio.models.schemas import (
    FolderModelSource,
    GgufModelSource,
    HubModelSource,
    ModelChange,
    ModelConsent,
    ModelCreate,
    ModelLoading,
    ModelPreviewWanted,
)
from mistudio.models.tables import Model
from mistudio.models.uses import show_uses

app = typer.Typer(no_args_is_help=True, help="Language models: add, look at, ask, delete.")
app.command("generate")(generate)
app.command("lens")(lens)

Schema = TypeVar("Schema", bound=BaseModel)
_MEMORY = ("dtype", "weights", "activations", "kv_cache", "logits", "total", "available", "obstacle")
COLUMNS = ("id", "name", "architecture", "n_layers", "d_model", "parameters", "bytes", "job.state")
Key = Annotated[str, typer.Argument(help="Id or name.")]


Source = Annotated[
    str, typer.Argument(help="A hub id (organisation/name), a folder with safetensors, or a GGUF file.")
]
Revision = Annotated[str, typer.Option(help="For the hub: branch, tag or commit.")]
GgufFile = Annotated[
    str | None, typer.Option(help="For the hub: which file of a repository with several quantizations.")
]


@app.command("preview")
def preview(
    source: Source,
    revision: Revision = "main",
    gguf_file: GgufFile = None,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Texts at once.")] = 16,
    context_length: Annotated[int, typer.Option(min=1, max=1_000_000, help="Tokens in each.")] = 128,
    code: Annotated[bool, typer.Option("--code", help="Print the Python files that come with it.")] = False,
) -> None:
    """Look at a model before adding it: files, sizes, code, and the memory it takes in every precision."""
    wanted = ModelPreviewWanted(
        source=_source(source, revision, gguf_file), batch_size=batch_size, context_length=context_length
    )
    with open_console() as console, said_plainly():
        found = preview_model(console.settings, wanted, any_folder=True)
        if console.as_json:
            console.emit(found)
            return
        if code:
            for file in found.code.files if found.code else []:
                console.emit(f"# {file.name}\n{file.text}")
            return
        shown = found.model_dump(mode="json", exclude={"files", "memory", "code"})
        names = ", ".join(file.name for file in found.code.files) if found.code else None
        console.emit(shown | {"code": names, "code_digest": found.code.digest if found.code else None})
        console.emit(found.files, table=["name", "bytes", "needed"], title="files")
        console.emit(found.memory, table=_MEMORY, title="memory in bytes")


@app.command("add")
def add(
    source: Source,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    revision: Revision = "main",
    gguf_file: GgufFile = None,
    dtype: Annotated[
        str, typer.Option(help="Precision while it runs: float32, bfloat16, float16 or auto.")
    ] = "float32",
    quantization: Annotated[str, typer.Option(help="none, int8 or int4 (by bitsandbytes).")] = "none",
    device: Annotated[str, typer.Option(help="Where it runs: auto, cpu or cuda.")] = "auto",
    trust_code: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="Run the Python files that come with it, if they are those with this digest "
            "(mistudio models preview shows both). They can do whatever you can.",
        ),
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights that exist only as pickle files.")
    ] = False,
) -> None:
    """Add a model: download or copy it, verify it, find its hook points and test them."""
    wanted = ModelCreate.model_validate(
        {
            "name": name,
            "source": _source(source, revision, gguf_file),
            "loading": _loading(dtype, quantization, device),
            "consent": _valid(ModelConsent, code=trust_code, pickle=allow_pickle),
        }
    )
    with open_console() as console:
        with console.session() as session:
            model, job = library.add_model(session, console.settings, wanted, any_folder=True)
            model_id, job_id = model.id, job.id
        _add(console, model_id, job_id)


@app.command("retry")
def retry(key: Key) -> None:
    """Go on with a model whose download failed, was interrupted or paused: what has arrived is not fetched again."""
    with open_console() as console:
        with console.session() as session:
            model_id = find_row(session, Model, key, "model").id
            job_id = again(session, "models.add", f"models/{model_id}")
        _add(console, model_id, job_id)


def _add(console: Console, model_id: str, job_id: str) -> None:
    """See the adding of a model to its end and show what came of it."""

    def undo(session: Session) -> None:
        library.delete_model(session, console.settings, model_id)

    carry_out(console, job_id, undo, retry=f"models retry {model_id}")
    with console.reading() as session:
        out = library.models_out(session, [library.get_model(session, model_id)])[0]
    console.emit(out, table=[*COLUMNS[:-1], "dtype", "context_length", "hook_report.passed"])


@app.command("change")
def change(
    key: Key,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16 or auto.")] = None,
    quantization: Annotated[str | None, typer.Option(help="none, int8 or int4.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
) -> None:
    """Change a model's name, or how it is loaded from now on."""
    with open_console() as console, console.session() as session:
        model = find_row(session, Model, key, "model")
        now = library.loading_of(model)
        loading = _loading(dtype or now.dtype, quantization or now.quantization, device or now.device)
        library.change_model(
            session, console.settings, model.id, _valid(ModelChange, name=name, loading=loading)
        )
        console.emit(library.models_out(session, [model])[0], table=["id", "name", "loading"])


def _loading(dtype: str, quantization: str, device: str) -> ModelLoading:
    return _valid(ModelLoading, dtype=dtype, quantization=quantization, device=device)


def _valid(schema: type[Schema], **values: Any) -> Schema:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(
            first["msg"].removeprefix("Value error, "), param_hint=".".join(map(str, first["loc"]))
        ) from error


def _source(
    source: str, revision: str, gguf_file: str | None
) -> HubModelSource | FolderModelSource | GgufModelSource:
    path = Path(source).expanduser()
    if path.is_dir():
        return FolderModelSource(path=source)
    if path.exists() or path.suffix.lower() == ".gguf":
        return GgufModelSource(path=source)
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        return FolderModelSource(path=source)  # which says that there is nothing there
    return _valid(HubModelSource, repo=source, revision=revision, gguf_file=gguf_file)


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
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16, int8 or int4. Default: all of them.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts at once.")] = 16,
    context_length: Annotated[int, typer.Option(min=1, help="Tokens in each.")] = 128,
) -> None:
    """Forecast the memory of a model, in bytes."""
    with open_console() as console:
        with console.reading() as session:
            model = library.ready_model(session, find_row(session, Model, key, "model").id)
        use = {"batch_size": batch_size, "context_length": context_length}
        if dtype is None:
            console.emit(library.forecast_all(console.settings, model, **use), table=_MEMORY)
            return
        try:
            forecast = library.forecast_memory(console.settings, model, dtype=dtype, **use)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--dtype") from error
        console.emit(forecast)


@app.command("modules")
def modules(key: Key) -> None:
    """Show a model's modules as a tree: shapes, parameters and hook points."""
    with open_console() as console:
        with console.reading() as session:
            tree = library.modules_of(session, find_row(session, Model, key, "model").id)
        if console.as_json:
            console.emit(tree)
            return
        rows: list[dict[str, Any]] = []
        _lines(tree, 0, rows)
        console.emit(rows, table=["module", "class", "parameters", "shapes", "hook points"], title="modules")


def _lines(node: dict[str, Any], depth: int, rows: list[dict[str, Any]]) -> None:
    name = node["name"] if node["last"] is None else f"{node['name']}-{node['last']}"
    rows.append(
        {
            "module": "  " * depth + (name or "model"),
            "class": node["kind"],
            "parameters": node["parameters"],
            "shapes": "; ".join(
                f"{key} {'×'.join(map(str, shape))}{' (tied)' if key in node['tied'] else ''}"
                for key, shape in node["shapes"].items()
            ),
            "hook points": ", ".join(site["kind"] for site in node["hooks"]),
        }
    )
    for child in node["children"]:
        _lines(child, depth + 1, rows)


@app.command("configuration")
def show_configuration(key: Key) -> None:
    """Show what a model's own files say: configuration, chat template, special tokens."""
    with open_console() as console:
        with console.reading() as session:
            model = library.ready_model(session, find_row(session, Model, key, "model").id)
        found = configuration(library.model_folder(console.settings, model.id))
        console.emit(found if console.as_json else found.config)


@app.command("verify")
def verify(key: Key) -> None:
    """Test a model's hook points: shapes, equality with the model's own hidden states, and writing."""
    with open_console() as console:
        with console.session() as session:
            model_id = find_row(session, Model, key, "model").id
            job_id = library.verify_model(session, model_id).id
        console.run(job_id)
        with console.reading() as session:
            report = library.get_model(session, model_id).hook_report or {}
        if console.as_json:
            console.emit(report)
            return
        console.emit(
            report["verdicts"],
            table=["kind", "verdict", "layers", "shape", "gap", "batch_gap", "writes", "check"],
        )


@app.command("uses")
def uses(key: Key) -> None:
    """Show what was made with a model, which is what deleting it would take with it."""
    show_uses("models", lambda session: find_row(session, Model, key, "model").id)


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
