"""The job that trains: the engine's loop on a sweep's activations, shown live, and the SAEs registered at its end."""

from __future__ import annotations

import time
from array import array
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import SecretStr
from sqlalchemy import select

from mistudio.jobs import JobCancelled, JobContext, JobInterrupted
from mistudio.saes.library import register_sae
from mistudio.saes.tables import Sae
from mistudio.store import StoreError, delete_folder
from mistudio.training.asked import ChangesAsked
from mistudio.training.control import change_out
from mistudio.training.metrics import archive_curves, recorded_speeds
from mistudio.training.schemas import TrainingJob
from mistudio.training.tables import Sweep, Training
from mistudio.training.trackers import TrackedRun, Trackers
from mistudio.training.views import get_sweep, training_folder

if TYPE_CHECKING:
    from mistudio.engine import Progress, Run
    from mistudio.engine.changes import Change
    from mistudio.engine.trained import TrainedSAE


_NOTE_SECONDS = 5.0
_PRIVATE = ("data_dir", "import_folders", "database_url", "labels_base_url")


def run_sweep(context: JobContext, params: TrainingJob) -> dict[str, Any]:
    """Train to the end, to a stop, or until cancelled; goes on from the newest checkpoints if there are any.

    Raises the trainer's TrainingDiverged when no training's loss is finite any more: the last checkpoints stay.
    """
    from mistudio.engine import Run, train_runs
    from mistudio.engine.checkpoints import list_checkpoints
    from mistudio.engine.run_folder import order_begun
    from mistudio.sae import TrainerConfig
    from mistudio.training.batches import open_source

    with context.database.reading() as session:
        sweep = get_sweep(session, params.sweep_id)
        members = list(sweep.trainings)
    folders = [training_folder(context.settings, one.id) for one in members]
    for one, folder in zip(members, folders, strict=True):
        if checkpoints := list_checkpoints(folder):
            context.log(f"{one.name}: going on from the checkpoint of step {checkpoints[-1].step:,}.")
    # The row of a sweep that lost members before it noted its order knows that of the others alone.
    order = next((begun for folder in folders if (begun := order_begun(folder))), sweep.stream)
    watched = _Watched(context, sweep, members)
    try:
        trained = train_runs(
            open_source(context, params.sweep_id),
            [Run(one.hook, config=TrainerConfig.model_validate(one.config), name=one.id) for one in members],
            folders=folders,
            seed=order.get("seed"),
            batch_size=order.get("batch_size"),
            device=context.device,
            progress=watched.progress,
            on_points=watched.points,
            stop=lambda: context.stop_requested,
            changes=ChangesAsked(context),
            on_change=watched.change,
            saved_on=(JobInterrupted,),
            save_finished=False,
            surroundings=_surroundings(context),
        )
    except JobInterrupted:
        raise
    except Exception:
        _archive(context, members)
        raise
    finally:
        watched.close()
        _clear_deleted(context, members)
    return _registered(context, members, trained)


def _surroundings(context: JobContext) -> dict[str, Any]:
    """What the environment of this attempt says beside packages and hardware. Whoever may see the training may read
    it, so secrets, addresses (which may hold passwords) and folders stay out."""
    shown = {
        name: value
        for name, value in context.settings.model_dump(mode="json").items()
        if name not in _PRIVATE and not isinstance(getattr(context.settings, name), SecretStr)
    }
    return {"attempt": context.attempt, "job": context.job_id, "settings": shown}


def _registered(context: JobContext, members: list[Training], trained: list[TrainedSAE]) -> dict[str, Any]:
    """Register what was learned; what the job says of it."""
    made: dict[str, str] = {}
    for one, result in zip(members, trained, strict=True):
        _note(context, one.id, result)
        if result.error is not None:
            context.log(f"{one.name}: {result.error.message} {result.error.hint or ''}".strip(), "warning")
            continue
        if result.sae is None:
            continue
        if result.stopped:
            total = result.run.config.total_steps
            context.log(
                f"{one.name}: stopped at step {result.steps:,} of {total:,}; what was learned is kept."
            )
        if sae_id := _register(context, one.id, result):
            made[one.id] = sae_id
    _archive(context, members)
    errors = [result.error for result in trained if result.error is not None]
    if errors and len(errors) == len(trained):
        raise errors[0]
    for one in members:
        for channel in ("saes", "trainings", f"trainings/{one.id}"):
            context.publish(channel, "changed", {"id": one.id})
    said: dict[str, Any] = {
        "saes": made,
        "stopped": any(result.stopped for result in trained),
        "steps": max(result.steps for result in trained),
    }
    if len(trained) == 1 and made:
        said |= {"sae_id": next(iter(made.values())), **trained[0].metrics}
    return said


def _archive(context: JobContext, members: list[Training]) -> None:
    """Compress the curves, for which the training has no more use."""
    try:
        archive_curves(context.settings, [one.id for one in members])
    except StoreError as error:
        context.log(f"The curves stay uncompressed: {error.message}", "warning")


def _note(context: JobContext, training_id: str, result: TrainedSAE) -> None:
    """Put on the training's row how far it came, and why no further."""
    error = result.error
    with context.database.session() as session:
        if row := session.get(Training, training_id):
            row.tokens_trained = result.tokens
            row.error = error and {"code": error.code, "message": error.message, "hint": error.hint}


def _register(context: JobContext, training_id: str, result: TrainedSAE) -> str | None:
    """The SAE's id; None when its training was deleted meanwhile. A job that was killed here registers none twice."""
    assert result.sae is not None
    with context.database.session() as session:
        row = session.get(Training, training_id)
        if row is None:
            return None
        state = _state(result)
        for known in session.scalars(select(Sae).where(Sae.training_id == training_id)):
            if known.origin.get("tokens") == result.tokens and known.origin.get("state", state) == state:
                return known.id
        made = register_sae(
            session,
            context.settings,
            result.sae,
            name=row.name,
            training_id=row.id,
            model_id=row.sweep.model_id,
            hook=row.hook,
            metrics=result.metrics,
            origin={
                "kind": "trained",
                "tokens": result.tokens,
                "held_out_tokens": result.held_out_tokens,
                "state": state,
            },
        )
        return made.id


def _state(result: TrainedSAE) -> str:
    """What tells the end of this run from another that saw as many tokens: the checksum of its last checkpoint."""
    from mistudio.engine.checkpoints import list_checkpoints

    found = list_checkpoints(result.folder) if result.folder is not None else []
    return str(found[-1].said.get("sha256", "")) if found else ""


def _clear_deleted(context: JobContext, members: list[Training]) -> None:
    """Remove what was written for trainings after they had been deleted."""
    with context.database.reading() as session:
        gone: list[Path] = [
            training_folder(context.settings, one.id) for one in members if not session.get(Training, one.id)
        ]
    for folder in gone:
        delete_folder(context.data_dir, folder)
    if len(gone) == len(members):
        raise JobCancelled


class _Watched:
    """A sweep on its way to whoever watches it, and to the rows of its trainings."""

    def __init__(self, context: JobContext, sweep: Sweep, members: list[Training]) -> None:
        self._context = context
        self._noted = time.monotonic()
        self._trackers = Trackers(
            [chosen["kind"] for chosen in sweep.trackers],
            [
                TrackedRun(
                    one.id,
                    one.name,
                    sweep.name,
                    {"hook": one.hook, **one.config},
                    training_folder(context.settings, one.id),
                )
                for one in members
            ],
            project=next((chosen["project"] for chosen in sweep.trackers), ""),
            data_dir=context.data_dir,
            say=context.log,
        )
        self._tokens = {one.id: one.tokens_trained for one in members}
        self._totals = {one.id: int(one.config["total_tokens"]) for one in members}
        self._last: dict[str, dict[str, float]] = {}
        self._speeds = {one.id: array("d", recorded_speeds(context.settings, one.id)) for one in members}
        self._names = {one.id: one.name for one in members}
        self._tenths: dict[str, int] = {}

    def progress(self, report: Progress) -> None:
        """Pass on how far it is. Raises JobCancelled or JobInterrupted when the job was asked to leave."""
        if report.stage == "Train":
            self._tokens = {id: min(int(report.done), total) for id, total in self._totals.items()}
        self._context.progress(
            report.done, report.total, report.unit, report.stage, report.doing, report.rate
        )

    def points(self, run: Run, points: list[dict[str, float]]) -> None:
        """Announce points, which can be read back by now; ten of them, over the whole training, are logged."""
        newest = points[-1]
        last = self._last.setdefault(run.name, {})
        for point in points:  # what is measured now and then keeps its last value
            last.update({name: value for name, value in point.items() if value == value})
            self._speeds[run.name].append(point["tokens_per_second"])
        tenth = int(10 * newest["tokens"] / self._totals[run.name])
        if tenth > self._tenths.get(run.name, -1):
            self._tenths[run.name] = tenth
            speed = newest["tokens_per_second"]  # unknown of the first step
            self._context.log(
                f"{self._names[run.name]}, step {newest['step']:,.0f}: loss {newest['loss']:.4g}, FVU "
                f"{newest['fvu']:.4f}, L0 {newest['l0']:.1f}, {newest['dead_latents']:,.0f} dead latents"
                + (f", {speed:,.0f} tokens/s" if speed == speed else "")
            )
        for point in points:
            if (score := point.get("ce_loss_score", nan)) == score:
                self._context.log(
                    f"{self._names[run.name]}, step {point['step']:,.0f}: spliced into the model, CE recovered "
                    f"{score:.4f}, CE {point['ce_loss_with_sae']:.4f} nats"
                )
        columns = {name: [_number(point[name]) for point in points] for name in points[0]}
        self._context.publish(f"trainings/{run.name}", "metrics", {"columns": columns})
        self._trackers.points(run.name, points)
        if time.monotonic() - self._noted > _NOTE_SECONDS:
            self._note()

    def change(self, run: Run, change: Change) -> None:
        """Announce that a setting was changed."""
        self._context.log(
            f"{change.name} is {change.after:g} from step {change.step + 1:,} on; it was {change.before:g}."
        )
        data = change_out(change).model_dump()
        self._context.publish(f"trainings/{run.name}", "change", data)

    def close(self) -> None:
        """Put the newest values on the trainings' rows, and let the trackers end."""
        self._note()
        self._trackers.close()

    def _note(self) -> None:
        """Put the newest values on the trainings' rows: lists are filtered and sorted by them while runs go on."""
        self._noted = time.monotonic()
        with self._context.database.session() as session:
            for id, tokens in self._tokens.items():
                row = session.get(Training, id)
                if row is None:
                    continue
                row.tokens_trained = tokens
                if last := self._last.get(id):
                    values = {k: v for k, v in last.items() if k not in ("step", "tokens", "time")}
                    speeds = np.array(self._speeds[id])
                    if (known := speeds[speeds == speeds]).size:
                        values["tokens_per_second"] = float(np.median(known))
                    row.last_metrics = {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
