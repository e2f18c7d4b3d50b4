"""`mistudio train …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from sqlalchemy import select

from mistudio.console import open_console
from mistudio.engine.runs import KINDS
from mistudio.errors import StudioError
from mistudio.jobs import latest_jobs
from mistudio.sae.config import TrainerConfig
from mistudio.training import runs
from mistudio.training.schemas import TrainingCreate
from mistudio.training.tables import Training

app = typer.Typer(no_args_is_help=True, help="Train sparse autoencoders.")
_COLUMNS = ["id", "name", "job.state", "tokens_trained", "last_metrics.fvu", "last_metrics.l0", "sae_id"]


def request_from_options(assignments: list[str], config: Path | None, **fixed: Any) -> TrainingCreate:
    """A validated request from a JSON file and `a.b=value` options, which beat it.

    Raises StudioError `invalid_input` with one sentence per field.
    """
    body: dict[str, Any] = {}
    if config is not None:
        try:
            body = json.loads(config.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StudioError(
                "config_unreadable", f"The file {config.name} is not readable JSON: {error}."
            ) from error
    body |= {name: value for name, value in fixed.items() if value is not None}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise StudioError("invalid_input", f"“{assignment}” is not NAME=VALUE.")
        at: dict[str, Any] = body.setdefault("config", {})
        *parents, last = path.split(".")
        for parent in parents:
            if isinstance(at.get(parent), str):  # architecture=jump_relu before architecture.target_l0=20
                at[parent] = {"kind": at[parent]}
            at = at.setdefault(parent, {})
        try:
            at[last] = json.loads(text)
        except ValueError:
            at[last] = text
    config_body: Any = body.get("config", {})
    for name in KINDS if isinstance(config_body, dict) else ():
        chosen: Any = config_body.get(name)
        if isinstance(chosen, str):
            config_body[name] = {"kind": chosen}
        elif isinstance(chosen, dict):
            config_body[name] = {"kind": TrainerConfig.model_fields[name].default.kind, **chosen}
    try:
        return TrainingCreate.model_validate(body)
    except ValidationError as error:
        fields = {
            ".".join(str(part) for part in item["loc"]): item["msg"].removeprefix("Value error, ")
            for item in error.errors()
        }
        raise StudioError("invalid_input", "The training's settings are not valid.", fields=fields) from error


@app.command("start")
def start(
    tokenization: Annotated[str, typer.Argument(help="Tokenization to train on (tk_…).")],
    hook: Annotated[str, typer.Option(help="Hook point, e.g. blocks.6.hook_resid_post.")],
    cache: Annotated[str | None, typer.Option(help="Activation cache to train from (ac_…).")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    held_out_tokens: Annotated[
        int | None,
        typer.Option(min=0, help="Tokens never trained on, for evaluation; fewer suit a small text."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with the request, as the API takes it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A hyperparameter, e.g. d_sae=4096 or architecture.k=16."
        ),
    ] = None,
    forecast: Annotated[bool, typer.Option(help="Only print what it would take.")] = False,
) -> None:
    """Train an SAE and wait for it."""
    request = request_from_options(
        set_ or [],
        config,
        tokenization_id=tokenization,
        hook=hook,
        cache_id=cache,
        name=name,
        held_out_tokens=held_out_tokens,
    )
    with open_console() as console:
        if forecast:
            with console.reading() as session:
                console.emit(runs.forecast_training(session, console.settings, request))
            return
        with console.session() as session:
            training_id = runs.create_training(session, request).id
        _follow(console, training_id)


@app.command("resume")
def resume(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Go on from the newest checkpoint and wait for the end."""
    with open_console() as console:
        with console.session() as session:
            runs.resume_training(session, training)
        _follow(console, training)


def _follow(console: Any, training_id: str) -> None:
    subject = f"{runs.TABLE}/{training_id}"
    with console.reading() as session:
        job_id = latest_jobs(session, [subject])[subject].id
    console.run(job_id)
    with console.reading() as session:
        console.emit(runs.detail(session, console.settings, training_id))


@app.command("list")
def list_() -> None:
    """List trainings, newest first."""
    with open_console() as console, console.reading() as session:
        found = session.scalars(select(Training).order_by(Training.created_at.desc())).all()
        console.emit(runs.out_many(session, found), table=_COLUMNS, title="trainings")


@app.command("show")
def show(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Show one training."""
    with open_console() as console, console.reading() as session:
        console.emit(runs.detail(session, console.settings, training))


@app.command("stop")
def stop(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Ask a running training to end now and keep what it learned."""
    with open_console() as console, console.session() as session:
        runs.stop_training(session, training)
        console.emit({"id": training, "asked": "stop"})


@app.command("delete")
def delete(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Delete a training with its points and checkpoints."""
    with open_console() as console, console.session() as session:
        runs.delete_training(session, console.settings, training)
        console.emit({"deleted": training})
