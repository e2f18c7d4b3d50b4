"""`mistudio train …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mistudio.console import Console, open_console
from mistudio.errors import StudioError
from mistudio.templates.schemas import TemplateOut
from mistudio.training import (
    control_commands,
    listing_commands,
    metric_commands,
    recording_commands,
    sweeps,
    views,
)
from mistudio.training.admission import start_sweep
from mistudio.training.archiving import archive_ended
from mistudio.training.forecast import forecast_sweep
from mistudio.training.keeping import keep_as_template
from mistudio.training.live_table import LiveTable
from mistudio.training.requests import request_of
from mistudio.training.trackers import NAMES


class _StartsByDefault(TyperGroup):
    """`mistudio train config.toml` and `mistudio train --template …` are `mistudio train start …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((one for one in args if one != "--json"), None)
        if first is not None and first not in self.commands and first != "--help":
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_StartsByDefault,
    no_args_is_help=True,
    help="Train sparse autoencoders: `mistudio train config.toml`, or what options say; "
    "`mistudio train start --help` lists them.",
)
app.command("histograms")(recording_commands.histograms)
app.command("looks")(recording_commands.looks)
app.command("environment")(recording_commands.environment)
app.command("metrics")(metric_commands.metrics)
control_commands.register(app)
listing_commands.register(app)
_COLUMNS = ["id", "name", "job.state", "tokens_trained", "last_metrics.fvu", "last_metrics.l0", "sae_id"]
_CAME_TO = [
    "id",
    "name",
    "hook",
    "job.state",
    "tokens_trained",
    "expected.l0",
    "expected.fvu",
    "expected.source",
    "sae_id",
]


@app.command("start")
def start(
    config: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="TOML or JSON file with the configuration.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Name or id of a template; what is said besides beats it.")
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID[=WEIGHT]", help="Tokenization to train on (tk_…); several are mixed by their weights."
        ),
    ] = None,
    hook: Annotated[
        list[str] | None,
        typer.Option(help="Hook point, e.g. blocks.6.hook_resid_post; several train SAEs at each."),
    ] = None,
    cache: Annotated[str | None, typer.Option(help="Activation cache to train from (ac_…).")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    held_out_tokens: Annotated[
        int | None,
        typer.Option(min=0, help="Tokens never trained on, for evaluation; fewer suit a small text."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter, e.g. d_sae=4096 or k=16."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,VALUE", help="Values to try, e.g. k=16,32: one SAE for each combination."
        ),
    ] = None,
    harvest: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Which activations count, e.g. skip_bos=false."),
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(metavar="|".join(NAMES), help="Send the curves to that package, too; may be repeated."),
    ] = None,
    tracker_project: Annotated[
        str | None, typer.Option(help="What Weights & Biases and trackio file the runs under.")
    ] = None,
    forecast: Annotated[bool, typer.Option(help="Only print what it would take.")] = False,
) -> None:
    """Train SAEs in one pass over the activations, with a live line for each; the word “start” may be left out.

    Ctrl-C saves them and says how to go on.
    """
    with open_console() as console:
        with console.reading() as session:
            request = request_of(
                session,
                config,
                template=template,
                sources=tokens or (),
                hooks=hook or (),
                settings=set_ or (),
                grid=grid or (),
                harvest=harvest or (),
                cache_id=cache,
                name=name,
                held_out_tokens=held_out_tokens,
                trackers=tracker or None,
                tracker_project=tracker_project,
            )
            if forecast:
                console.emit(forecast_sweep(session, console.settings, request))
                return
        with console.session() as session:
            sweep_id = start_sweep(session, console.settings, request).id
        _follow(console, sweep_id)


@app.command("resume")
def resume(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Go on from the newest checkpoint, with all that is trained in the same pass, and wait for the end."""
    with open_console() as console:
        with console.session() as session:
            sweep = views.get_training(session, training).sweep
            job = sweeps.sweep_job(session, sweep.id)
            if job is None or job.state != "queued":  # as it is when the process that ran it was killed
                sweeps.resume_sweep(session, sweep)
            sweep_id = sweep.id
        _follow(console, sweep_id)


def _follow(console: Console, sweep_id: str) -> None:
    """Show the sweep's job until it ends, and what came of it. Left by Ctrl-C it is paused: exit code 130."""
    with console.reading() as session:
        job = sweeps.sweep_job(session, sweep_id)
        members = list(views.get_sweep(session, sweep_id).trainings)
        assert job is not None
        job_id = job.id
    try:
        console.run(job_id, watch=LiveTable(console.settings, members), pauses=True)
    except StudioError as error:
        if error.code != "job_paused":
            raise
        console.say(f"Saved and paused. Go on with: mistudio train resume {members[0].id}")
        raise typer.Exit(130) from error
    finally:  # a job that was killed could not do so itself
        archive_ended(console.database, console.settings, sweep_id)
    with console.reading() as session:
        made = views.sweep_out(session, views.get_sweep(session, sweep_id))
        if len(made.trainings) == 1:
            console.emit(views.detail(session, console.settings, made.trainings[0].id), table=_CAME_TO)
        else:
            console.emit(made.trainings, table=_COLUMNS, title="trainings")


@app.command("show")
def show(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Show one training."""
    with open_console() as console, console.reading() as session:
        console.emit(views.detail(session, console.settings, training))


@app.command("keep")
def keep(
    training: Annotated[str, typer.Argument(help="Training (tr_…).")],
    name: Annotated[str, typer.Argument(help="What to call the template.")],
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Keep what its whole sweep was asked for, with the grid.")
    ] = False,
    description: Annotated[str, typer.Option(help="What it is good for.")] = "",
    favourite: Annotated[bool, typer.Option("--favourite", help="List it before the others.")] = False,
) -> None:
    """Save a run's settings as a template, from which `mistudio train --template` starts."""
    with open_console() as console:
        with console.session() as session:
            found = views.get_training(session, training)
            kept = keep_as_template(
                session,
                found,
                name,
                whole=sweep,
                expected=None if sweep else views.detail(session, console.settings, found.id).expected,
                description=description,
                favourite=favourite,
            )
            made = TemplateOut.model_validate(kept)
        console.emit(made)


@app.command("stop")
def stop(training: Annotated[str, typer.Argument(help="Training (tr_…).")]) -> None:
    """Ask a running training to end now and keep what it learned."""
    with open_console() as console, console.session() as session:
        sweeps.stop_sweep(session, views.get_training(session, training).sweep)
        console.emit({"id": training, "asked": "stop"})


@app.command("delete")
def delete(trainings: Annotated[list[str], typer.Argument(help="Trainings (tr_…).")]) -> None:
    """Delete trainings with their points and checkpoints: all or, where one is not found, none."""
    with open_console() as console, console.session() as session:
        sweeps.delete_trainings(session, console.settings, trainings)
        console.emit({"deleted": trainings})
