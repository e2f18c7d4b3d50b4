"""The job that trains: opens the activations, steps the trainer, records points, checkpoints, registers the SAE."""

from __future__ import annotations

import time
from typing import Any

from mistudio.jobs import JobContext, JobInterrupted
from mistudio.saes.library import register_sae
from mistudio.store import MetricLog
from mistudio.training.checkpoints import drop_checkpoints, list_checkpoints, write_checkpoint
from mistudio.training.runs import METRICS_FILE, get_training, training_folder
from mistudio.training.schemas import TrainingJob
from mistudio.training.tables import Training

_PUBLISH_SECONDS = 0.25


def run_training(context: JobContext, params: TrainingJob) -> dict[str, Any]:
    """Train to the end, to a stop, or until cancelled; goes on from the newest checkpoint if there is one.

    Raises the trainer's TrainingDiverged when the loss is no longer finite: the last checkpoint stays.
    """
    from mistudio.sae import Trainer, TrainerConfig
    from mistudio.training.batches import open_batches

    with context.database.reading() as session:
        training = get_training(session, params.training_id)
    config = TrainerConfig.model_validate(training.config)
    folder = training_folder(context.settings, training.id)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, training.d_in, context.device)
    position: dict[str, Any] = {}
    if checkpoints := list_checkpoints(folder):
        position = trainer.load_checkpoint(checkpoints[-1].path)["position"]
        context.log(f"Going on from the checkpoint of step {trainer.steps_done:,}.")

    batches = open_batches(context, training, config, position)
    held_out = batches.held_out(context)
    points = _Points(context, training, folder / METRICS_FILE, trainer.steps_done)
    stage = "Train"
    context.progress(trainer.tokens_seen, config.total_tokens, "tokens", stage=stage)
    try:
        for x, position in batches.stream(context):
            left = config.total_tokens - trainer.tokens_seen
            metrics = trainer.step(x[:left].to(context.device))
            context.progress(trainer.tokens_seen, config.total_tokens, "tokens", stage=stage)
            if trainer.log_due:
                points.record(metrics.row())
            if trainer.checkpoint_due:
                points.sync()
                write_checkpoint(folder, trainer, position)
            if trainer.done or context.stop_requested:
                break
    except JobInterrupted:
        if trainer.steps_done:
            points.sync()
            write_checkpoint(folder, trainer, position)
        raise
    finally:
        points.close(trainer.tokens_seen)

    if trainer.steps_done == 0:
        return {"stopped": True, "steps": 0}
    write_checkpoint(folder, trainer, position)
    if not trainer.done:
        context.log(
            f"Stopped at step {trainer.steps_done:,} of {config.total_steps:,}; what was learned is kept."
        )
    context.progress(0, None, "tokens", stage="Measure on held-out tokens")
    sae = trainer.finish(batches.sae_metadata())
    measured = _measure(sae, held_out, config.batch_size) if held_out is not None else points.last
    with context.database.session() as session:
        fresh = get_training(session, training.id)
        row = register_sae(
            session,
            context.settings,
            sae,
            name=fresh.name,
            training_id=fresh.id,
            model_id=fresh.model_id,
            hook=fresh.hook,
            metrics=measured,
            origin={
                "kind": "trained",
                "tokens": trainer.tokens_seen,
                "held_out_tokens": 0 if held_out is None else len(held_out),
            },
        )
        sae_id = row.id
    drop_checkpoints(folder, keep=1)
    for channel in ("saes", "trainings", f"trainings/{training.id}"):
        context.publish(channel, "changed", {"id": training.id})
    return {"sae_id": sae_id, "steps": trainer.steps_done, "stopped": not trainer.done, **measured}


def _measure(sae: Any, held_out: Any, batch_size: int) -> dict[str, float]:
    from mistudio.sae import Evaluation

    evaluation = Evaluation()
    for start in range(0, len(held_out), batch_size):
        evaluation.update(held_out[start : start + batch_size].to(sae.device), sae)
    return {name: float(value) for name, value in evaluation.result().as_dict().items()}


class _Points:
    """Metric points on their way to the log, to the row and to whoever watches."""

    def __init__(self, context: JobContext, training: Training, path: Any, steps_done: int) -> None:
        self._context = context
        self._channel = f"trainings/{training.id}"
        self._id = training.id
        self._path = path
        self._resumed_at = steps_done
        self._log: MetricLog | None = None
        self._pending: list[dict[str, float]] = []
        self._published = 0.0
        self._previous: tuple[float, float] | None = None
        self.last: dict[str, float] = {}

    def record(self, row: dict[str, float | int]) -> None:
        """Append one point; `tokens_per_second` is measured between two points."""
        now = time.monotonic()
        tokens = float(row["tokens"])
        rate = float("nan")
        if self._previous is not None:
            then, tokens_then = self._previous
            rate = (tokens - tokens_then) / max(now - then, 1e-9)
        self._previous = (now, tokens)
        values = {name: float(value) for name, value in row.items() if name not in ("step", "tokens")}
        values["tokens_per_second"] = rate
        if self._log is None:
            self._log = MetricLog(self._path, list(values))
            self._log.truncate_after(self._resumed_at)
        at = time.time()
        self._log.append(int(row["step"]), int(row["tokens"]), values, at)
        self.last = values
        self._pending.append({"step": float(row["step"]), "tokens": tokens, "time": at, **values})
        if now - self._published >= _PUBLISH_SECONDS:
            self._publish(now)

    def _publish(self, now: float) -> None:
        if self._pending:
            if self._log is not None:
                self._log.flush()  # what is announced can be read back
            names = list(self._pending[0])
            columns = {name: [_number(point[name]) for point in self._pending] for name in names}
            self._context.publish(self._channel, "metrics", {"columns": columns})
            self._pending.clear()
        self._published = now

    def sync(self) -> None:
        """Make the points so far as durable as the checkpoint that follows."""
        if self._log is not None:
            self._log.sync()

    def close(self, tokens_trained: int) -> None:
        """Flush everything and put the newest values on the training's row."""
        self._publish(time.monotonic())
        if self._log is not None:
            self._log.close()
        with self._context.database.session() as session:
            row = session.get(Training, self._id)
            if row is not None:
                row.tokens_trained = tokens_trained
                if self.last:
                    row.last_metrics = {name: _number(value) for name, value in self.last.items()}


def _number(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
