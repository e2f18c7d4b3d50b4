"""The commands of `mistudio train …` that act on a training that is there, and on its checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mistudio.console import Console, open_console
from mistudio.errors import StudioError
from mistudio.training import checkpoints, control, sweeps, views
from mistudio.training.admission import start_sweep
from mistudio.training.control_schemas import (
    ChangeRequest,
    CheckpointComparison,
    CheckpointRef,
    CloneRequest,
    ContinueRequest,
)
from mistudio.training.requests import assignments

TrainingId = Annotated[str, typer.Argument(metavar="TRAINING", help="Training (tr_…).")]
Step = Annotated[int, typer.Argument(min=0, metavar="STEP", help="The checkpoint's step.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A setting to change, e.g. learning_rate=1e-4; repeatable."
    ),
]
checkpoint_app = typer.Typer(no_args_is_help=True, help="List, delete, open and compare checkpoints.")
_COLUMNS = ["step", "tokens", "bytes", "created_at", "newest", "best", "metrics.fvu", "metrics.l0"]


def register(app: typer.Typer) -> None:
    """Add these commands to `mistudio train`."""
    for name, command in {
        "pause": pause,
        "cancel": cancel,
        "retry": retry,
        "continue": continue_,
        "clone": clone,
        "set": set_,
        "changes": changes,
    }.items():
        app.command(name)(command)
    app.add_typer(checkpoint_app, name="checkpoints")


def pause(training: TrainingId) -> None:
    """Write a checkpoint and free the machine; `resume` goes on from there."""
    with open_console() as console, console.session() as session:
        control.pause(session, training)
        console.emit({"id": training, "asked": "pause"})


def cancel(training: TrainingId) -> None:
    """End it without an SAE; its curves and checkpoints stay."""
    with open_console() as console, console.session() as session:
        control.cancel(session, training)
        console.emit({"id": training, "asked": "cancel"})


def retry(
    training: TrainingId,
    checkpoint: Annotated[
        int | None,
        typer.Option(min=0, help="Go back to the checkpoint of this step; what came later is forgotten."),
    ] = None,
) -> None:
    """Go on from the newest checkpoint or an earlier one, and wait for the end."""
    with open_console() as console:
        with console.session() as session:
            control.retry(session, console.settings, training, checkpoint)
        _wait(console, training)


def continue_(
    training: TrainingId,
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens it is to have seen in the end.")],
    checkpoint: Annotated[
        int | None, typer.Option(min=0, help="Go back to the checkpoint of this step first.")
    ] = None,
    whole_sweep: Annotated[
        bool, typer.Option("--whole-sweep", help="Make all that are trained in the same pass this long.")
    ] = False,
) -> None:
    """Train longer, under the schedule of a training of that length, and wait for the end."""
    with open_console() as console:
        with console.session() as session:
            request = ContinueRequest(total_tokens=tokens, checkpoint=checkpoint, whole_sweep=whole_sweep)
            control.continue_longer(session, console.settings, training, request)
        _wait(console, training)


def clone(
    training: TrainingId,
    changed: SetOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the new training.")] = None,
) -> None:
    """Start a training on the same activations with some settings changed, and wait for it."""
    with open_console() as console:
        with console.session() as session:
            request = CloneRequest(name=name, set=assignments(changed or []))
            wanted = control.clone_request(session, training, request)
            new = start_sweep(session, console.settings, wanted).trainings[0].id
        _wait(console, new)


def set_(
    training: TrainingId,
    assignment: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE", help="learning_rate=1e-4, k=64, target_l0=32, …")
    ],
) -> None:
    """Change settings of a training that runs, waits or is paused, from its next step on."""
    with open_console() as console:
        with console.session() as session:
            for name, value in assignments(assignment).items():
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise StudioError("invalid_input", f"{name} needs a number, not “{value}”.")
                request = ChangeRequest(name=name, value=value)
                control.change(session, console.settings, training, request)
        _emit_changes(console, training)


def changes(training: TrainingId) -> None:
    """Show what was changed while it ran, and what may be."""
    with open_console() as console:
        _emit_changes(console, training)


def _emit_changes(console: Console, training: str) -> None:
    with console.reading() as session:
        found = control.changes_of(session, console.settings, training)
    if console.as_json:
        console.emit(found)
        return
    if found.changes:
        console.emit(found.changes, table=["step", "name", "before", "after"], title="changes")
    console.emit(found.live, table=["name", "value", "title"], title="may change while it runs")


@checkpoint_app.command("list")
def list_checkpoints(training: TrainingId) -> None:
    """List a training's checkpoints, newest first."""
    with open_console() as console, console.reading() as session:
        found = checkpoints.views_of(console.settings, views.get_training(session, training))
        console.emit(found, table=_COLUMNS, title="checkpoints")


@checkpoint_app.command("delete")
def delete_checkpoint(training: TrainingId, step: Step) -> None:
    """Delete one checkpoint."""
    with open_console() as console, console.session() as session:
        checkpoints.delete(session, console.settings, training, step)
        console.emit({"training": training, "deleted": step})


@checkpoint_app.command("sae")
def make_sae(
    training: TrainingId,
    step: Step,
    name: Annotated[str | None, typer.Option(help="Name of the SAE.")] = None,
) -> None:
    """Make an SAE of a checkpoint."""
    with open_console() as console:
        with console.session() as session:
            job_id = checkpoints.start_sae(session, console.settings, training, step, name).id
        console.emit(console.run(job_id))


@checkpoint_app.command("compare")
def compare_checkpoints(
    training: TrainingId,
    before: Annotated[int, typer.Argument(min=0, metavar="BEFORE", help="Step of the earlier checkpoint.")],
    after: Annotated[int, typer.Argument(min=0, metavar="AFTER", help="Step of the later one.")],
    other: Annotated[
        str | None, typer.Option("--with", metavar="TRAINING", help="The later one is this training's.")
    ] = None,
) -> None:
    """Hold two checkpoints against each other: figures, settings, how far decoder directions have turned."""
    with open_console() as console:
        with console.session() as session:
            wanted = CheckpointComparison(
                before=CheckpointRef(training_id=training, step=before),
                after=CheckpointRef(training_id=other or training, step=after),
            )
            job_id = checkpoints.start_comparison(session, console.settings, wanted).id
        found = console.run(job_id)
    if console.as_json:
        console.emit(found)
        return
    rows = [{"metric": name, "before": a, "after": b} for name, (a, b) in found["metrics"].items()]
    console.emit(rows, table=["metric", "before", "after"], title=f"steps {before:,} and {after:,}")
    if found["settings"]:
        console.emit(found["settings"], table=["name", "before", "after"], title="settings")
    said: dict[str, Any] = {
        "latents matched": found["compared"],
        "median best cosine": found["matched"]["median"],
    }
    if found["same"]:
        said |= {"median cosine with itself": found["same"]["median"], "moved": found["moved"]}
    console.emit(said)


def _wait(console: Console, training: str) -> None:
    with console.reading() as session:
        job = sweeps.sweep_job(session, views.get_training(session, training).sweep_id)
        assert job is not None
        job_id = job.id
    console.run(job_id)
    with console.reading() as session:
        console.emit(views.detail(session, console.settings, training))
