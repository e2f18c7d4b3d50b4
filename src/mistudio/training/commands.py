"""`mistudio train …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from mistudio.console import open_console
from mistudio.engine.runs import KINDS
from mistudio.errors import StudioError
from mistudio.sae.config import TrainerConfig
from mistudio.training import control_commands, listing_commands, metric_commands, recording_commands, sweeps, views
from mistudio.training.admission import admit
from mistudio.training.forecast import forecast_sweep
from mistudio.training.schemas import SourceChoice, TrainingCreate

app = typer.Typer(no_args_is_help=True, help="Train sparse autoencoders.")
app.command("histograms")(recording_commands.histograms)
app.command("looks")(recording_commands.looks)
app.command("environment")(recording_commands.environment)
app.command("metrics")(metric_commands.metrics)
control_commands.register(app)
listing_commands.register(app)
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
    tokenization: Annotated[
        list[str],
        typer.Argument(help="Tokenizations to train on (tk_…), mixed in equal shares or as ID=WEIGHT."),
    ],
    hook: Annotated[
        list[str],
        typer.Option(help="Hook point, e.g. blocks.6.hook_resid_post; several train one SAE at each."),
    ],
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
    """Train SAEs in one pass over the activations, and wait for them."""
    request = request_from_options(
        set_ or [],
        config,
        sources=[_source(one) for one in tokenization],
        hooks=hook,
        cache_id=cache,
        name=name,
        held_out_tokens=held_out_tokens,
    )
    with open_console() as console:
        if forecast:
            with console.reading() as session:
                console.emit(forecast_sweep(session, console.settings, request))
            return
        with console.session() as session:
            needed = admit(session, console.settings, request)
            sweep_id = sweeps.create_sweep(session, request, memory_bytes=needed).id
        _follow(console, sweep_id)


def _source(text: str) -> dict[str, Any]:
    """`tk_…` or `tk_…=2.5`."""
    id, _, weight = text.partition("=")
    try:
        return SourceChoice(tokenization_id=id, weight=float(weight or 1)).model_dump()
    except ValueError as error:
        raise StudioError(
            "invalid_input",
            f"“{text}” is not a tokenization with a positive weight.",
            hint="Write tk_… or tk_…=2.5.",
        ) from error


@app.command("resume")
def resume(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Go on from the newest checkpoint, with all that is trained in the same pass, and wait for the end."""
    with open_console() as console:
        with console.session() as session:
            sweep = views.get_training(session, training).sweep
            sweeps.resume_sweep(session, sweep)
            sweep_id = sweep.id
        _follow(console, sweep_id)


def _follow(console: Any, sweep_id: str) -> None:
    with console.reading() as session:
        job = sweeps.sweep_job(session, sweep_id)
        assert job is not None
        job_id = job.id
    console.run(job_id)
    with console.reading() as session:
        made = views.sweep_out(session, views.get_sweep(session, sweep_id))
        if len(made.trainings) == 1:
            console.emit(views.detail(session, console.settings, made.trainings[0].id))
        else:
            console.emit(made.trainings, table=_COLUMNS, title="trainings")


@app.command("show")
def show(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Show one training."""
    with open_console() as console, console.reading() as session:
        console.emit(views.detail(session, console.settings, training))


@app.command("stop")
def stop(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Ask a running training to end now and keep what it learned."""
    with open_console() as console, console.session() as session:
        sweeps.stop_sweep(session, views.get_training(session, training).sweep)
        console.emit({"id": training, "asked": "stop"})


@app.command("delete")
def delete(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Delete a training with its points and checkpoints."""
    with open_console() as console, console.session() as session:
        sweeps.delete_trainings(session, console.settings, [training])
        console.emit({"deleted": training})
