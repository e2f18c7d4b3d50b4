"""The job that trains: the engine's loop on this training's activations, shown live, and the SAE registered at its
end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mistudio.jobs import JobContext, JobInterrupted
from mistudio.saes.library import register_sae
from mistudio.training.runs import get_training, training_folder
from mistudio.training.schemas import TrainingJob
from mistudio.training.tables import Training

if TYPE_CHECKING:
    from mistudio.engine import Progress, Run


def run_training(context: JobContext, params: TrainingJob) -> dict[str, Any]:
    """Train to the end, to a stop, or until cancelled; goes on from the newest checkpoint if there is one.

    Raises the trainer's TrainingDiverged when the loss is no longer finite: the last checkpoint stays.
    """
    from mistudio.engine import Run, train_runs
    from mistudio.engine.run_folder import drop_checkpoints, list_checkpoints
    from mistudio.sae import TrainerConfig
    from mistudio.training.batches import open_source

    with context.database.reading() as session:
        training = get_training(session, params.training_id)
    config = TrainerConfig.model_validate(training.config)
    folder = training_folder(context.settings, training.id)
    if checkpoints := list_checkpoints(folder):
        context.log(f"Going on from the checkpoint of step {checkpoints[-1].step:,}.")
    watched = _Watched(context, training)
    try:
        (trained,) = train_runs(
            open_source(context, training),
            [Run(training.hook, config=config, name=training.id)],
            folders=[folder],
            device=context.device,
            progress=watched.progress,
            on_points=watched.points,
            stop=lambda: context.stop_requested,
            saved_on=(JobInterrupted,),
            save_finished=False,
        )
    finally:
        watched.close()
    if trained.error is not None:
        raise trained.error
    if trained.sae is None:
        return {"stopped": True, "steps": 0}
    if trained.stopped:
        context.log(f"Stopped at step {trained.steps:,} of {config.total_steps:,}; what was learned is kept.")
    with context.database.session() as session:
        fresh = get_training(session, training.id)
        row = register_sae(
            session,
            context.settings,
            trained.sae,
            name=fresh.name,
            training_id=fresh.id,
            model_id=fresh.model_id,
            hook=fresh.hook,
            metrics=trained.metrics,
            origin={
                "kind": "trained",
                "tokens": trained.tokens,
                "held_out_tokens": trained.held_out_tokens,
            },
        )
        sae_id = row.id
    drop_checkpoints(folder, keep=1)
    for channel in ("saes", "trainings", f"trainings/{training.id}"):
        context.publish(channel, "changed", {"id": training.id})
    return {"sae_id": sae_id, "steps": trained.steps, "stopped": trained.stopped, **trained.metrics}


class _Watched:
    """A training on its way to whoever watches it, and to its row."""

    def __init__(self, context: JobContext, training: Training) -> None:
        self._context, self._id = context, training.id
        self._tokens = training.tokens_trained
        self._last: dict[str, float] = {}

    def progress(self, report: Progress) -> None:
        """Pass on how far it is. Raises JobCancelled or JobInterrupted when the job was asked to leave."""
        if report.stage == "Train":
            self._tokens = report.done
        self._context.progress(report.done, report.total, report.unit, stage=report.stage)

    def points(self, _run: Run, points: list[dict[str, float]]) -> None:
        """Announce points, which can be read back by now."""
        self._last = points[-1]
        columns = {name: [_number(point[name]) for point in points] for name in points[0]}
        self._context.publish(f"trainings/{self._id}", "metrics", {"columns": columns})

    def close(self) -> None:
        """Put the newest values on the training's row."""
        with self._context.database.session() as session:
            row = session.get(Training, self._id)
            if row is not None:
                row.tokens_trained = self._tokens
                if self._last:
                    values = {k: v for k, v in self._last.items() if k not in ("step", "tokens", "time")}
                    row.last_metrics = {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
