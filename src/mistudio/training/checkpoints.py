"""The checkpoints of trainings as the app shows them: listed, deleted, opened as SAEs, held against each other."""

from __future__ import annotations

from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.engine.checkpoints import (
    Checkpoint,
    CheckpointMissing,
    best_of,
    delete_checkpoint,
    find_checkpoint,
    list_checkpoints,
)
from mistudio.engine.runs import stored_settings
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job
from mistudio.settings import Settings
from mistudio.training import sweeps
from mistudio.training.control_schemas import (
    CheckpointComparison,
    CheckpointComparisonOut,
    CheckpointSaeJob,
    CheckpointView,
)
from mistudio.training.tables import Training
from mistudio.training.views import get_training, training_folder

SAE_KIND = "training.checkpoint_sae"
COMPARE_KIND = "training.compare_checkpoints"


def view(checkpoint: Checkpoint, *, newest: bool, best: bool) -> CheckpointView:
    """A checkpoint as it is shown."""
    return CheckpointView(
        step=checkpoint.step,
        tokens=checkpoint.tokens,
        bytes=checkpoint.bytes,
        created_at=checkpoint.created_at,
        newest=newest,
        best=best,
        metrics=checkpoint.metrics,
    )


def views_of(settings: Settings, training: Training) -> list[CheckpointView]:
    """All checkpoints of a training, newest first. One that is being deleted meanwhile is left out."""
    found = list_checkpoints(training_folder(settings, training.id))
    best = best_of(found, stored_settings(training.config).best_checkpoint)
    shown: list[CheckpointView] = []
    for one in reversed(found):
        try:
            shown.append(view(one, newest=one is found[-1], best=one is best))
        except FileNotFoundError:
            continue
    return shown


def find(session: Session, settings: Settings, training_id: str, step: int) -> tuple[Training, Checkpoint]:
    """A training and its checkpoint of this step. Raises NotFound, StudioError `checkpoint_missing`."""
    training = get_training(session, training_id)
    try:
        return training, find_checkpoint(training_folder(settings, training_id), step)
    except CheckpointMissing as error:
        raise StudioError(
            error.code, f"“{training.name}”: {error.message}", hint=error.hint, status=404
        ) from error


def delete(session: Session, settings: Settings, training_id: str, step: int) -> None:
    """Delete one checkpoint. Raises Conflict for the newest one while the training may still go on from it."""
    training, checkpoint = find(session, settings, training_id, step)
    newest = list_checkpoints(training_folder(settings, training_id))[-1].step == step
    job = sweeps.sweep_job(session, training.sweep_id)
    if newest and job is not None and job.state in ("queued", "running", "cancelling", "paused"):
        raise Conflict(
            "checkpoint_in_use",
            f"“{training.name}” is {job.state} and would go on from its newest checkpoint, step {step:,}.",
            hint="Delete an older one, or wait for the training's end.",
        )
    delete_checkpoint(checkpoint)


def start_sae(session: Session, settings: Settings, training_id: str, step: int, name: str | None) -> Job:
    """Queue the making of an SAE out of a checkpoint. Raises NotFound, StudioError `checkpoint_missing`."""
    training, _ = find(session, settings, training_id, step)
    return jobs.submit(
        session,
        SAE_KIND,
        subject=f"trainings/{training_id}",
        title=f"SAE of “{training.name}” at step {step:,}",
        params=CheckpointSaeJob(training_id=training_id, step=step, name=name),
    )


def start_comparison(session: Session, settings: Settings, wanted: CheckpointComparison) -> Job:
    """Queue the comparison of two checkpoints, of one training or two. Raises as `find`, StudioError for itself."""
    if wanted.before == wanted.after:
        raise StudioError(
            "same_checkpoint", "A checkpoint was to be compared with itself.", hint="Choose two.", status=422
        )
    names = [
        find(session, settings, one.training_id, one.step)[0].name for one in (wanted.before, wanted.after)
    ]
    steps = f"steps {wanted.before.step:,} and {wanted.after.step:,}"
    title = f"“{names[0]}”, {steps}" if names[0] == names[1] else f"“{names[0]}” and “{names[1]}”, {steps}"
    return jobs.submit(
        session,
        COMPARE_KIND,
        subject=f"trainings/{wanted.after.training_id}",
        title=f"Compare {title}",
        params=wanted,
    )


def comparison(session: Session, job_id: str) -> CheckpointComparisonOut:
    """What a comparison found. Raises NotFound, and Conflict while it has not succeeded."""
    job = jobs.get_job(session, job_id)
    if job.kind != COMPARE_KIND:
        raise NotFound("comparison", job_id)
    if job.state != "succeeded":
        raise Conflict("comparison_not_done", f"The comparison is {job.state}.")
    return CheckpointComparisonOut.model_validate(job.result)
