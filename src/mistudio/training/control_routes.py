"""What the web may ask of a training that is there: its changes and checkpoints, and what may be done with it."""

from __future__ import annotations

from fastapi import APIRouter, Response

from mistudio.jobs import JobOut
from mistudio.models.announce import announce
from mistudio.training import checkpoints, control, views
from mistudio.training.admission import start_sweep
from mistudio.training.control_schemas import (
    ChangeRequest,
    ChangesOut,
    CheckpointComparison,
    CheckpointComparisonOut,
    CheckpointSaeRequest,
    CheckpointView,
    CloneRequest,
    ContinueRequest,
    RetryRequest,
)
from mistudio.training.schemas import SweepOut, TrainingOut
from mistudio.web import ReadingDep, SessionDep, SettingsDep, StudioDep, problems

router = APIRouter(prefix="/trainings", tags=["trainings"])


@router.post(
    "/{training_id}/pause",
    status_code=202,
    response_model=TrainingOut,
    summary="Pause",
    responses=problems(404, 409),
)
def pause_training(session: SessionDep, training_id: str) -> TrainingOut:
    """Write a checkpoint and free the machine; acts on the whole sweep."""
    return views.out_many(session, [control.pause(session, training_id)])[0]


@router.post(
    "/{training_id}/cancel",
    status_code=202,
    response_model=TrainingOut,
    summary="Cancel",
    responses=problems(404, 409),
)
def cancel_training(session: SessionDep, training_id: str) -> TrainingOut:
    """End it without an SAE; its curves and checkpoints stay. Acts on the whole sweep."""
    return views.out_many(session, [control.cancel(session, training_id)])[0]


@router.post(
    "/{training_id}/retry",
    status_code=202,
    response_model=TrainingOut,
    summary="Go on from a checkpoint",
    responses=problems(404, 409, 422),
)
def retry_training(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, training_id: str, request: RetryRequest
) -> TrainingOut:
    """Queue it again from its newest checkpoint, or from an earlier one: what came later is then forgotten."""
    training = control.retry(session, settings, training_id, request.checkpoint)
    announce(session, studio.events, views.TABLE, training_id, "changed")
    return views.out_many(session, [training])[0]


@router.post(
    "/{training_id}/continue",
    status_code=202,
    response_model=TrainingOut,
    summary="Train longer",
    responses=problems(404, 409, 422),
)
def continue_training(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, training_id: str, request: ContinueRequest
) -> TrainingOut:
    """Give it more tokens and queue it again, under the schedule of a training of that length."""
    training = control.continue_longer(session, settings, training_id, request)
    announce(session, studio.events, views.TABLE, training_id, "changed")
    return views.out_many(session, [training])[0]


@router.post(
    "/{training_id}/clone",
    status_code=202,
    response_model=SweepOut,
    summary="Start one like it",
    responses=problems(404, 409, 422),
)
def clone_training(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, training_id: str, request: CloneRequest
) -> SweepOut:
    """Queue a training on the same activations with some settings changed."""
    wanted = control.clone_request(session, training_id, request)
    return views.sweep_out(session, start_sweep(session, settings, wanted, studio.events))


@router.get(
    "/{training_id}/changes",
    response_model=ChangesOut,
    summary="What was changed while it ran, and what may be",
    responses=problems(404),
)
def training_changes(session: ReadingDep, settings: SettingsDep, training_id: str) -> ChangesOut:
    """Changes in their order, each with its step, and the settings that may change with their present values."""
    return control.changes_of(session, settings, training_id)


@router.post(
    "/{training_id}/changes",
    status_code=202,
    response_model=ChangesOut,
    summary="Change a setting while it runs",
    responses=problems(404, 409, 422),
)
def change_training(
    session: SessionDep, settings: SettingsDep, training_id: str, request: ChangeRequest
) -> ChangesOut:
    """The learning rate or what sets the sparsity, from the next step on. Told as an event `change` when it is made."""
    return control.change(session, settings, training_id, request)


@router.get(
    "/{training_id}/checkpoints",
    response_model=list[CheckpointView],
    summary="Checkpoints, newest first",
    responses=problems(404),
)
def training_checkpoints(
    session: ReadingDep, settings: SettingsDep, training_id: str
) -> list[CheckpointView]:
    """Each with its size and its metrics."""
    return checkpoints.views_of(settings, views.get_training(session, training_id))


@router.delete(
    "/{training_id}/checkpoints/{step}",
    status_code=204,
    summary="Delete a checkpoint",
    responses=problems(404, 409),
)
def delete_training_checkpoint(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, training_id: str, step: int
) -> Response:
    """The newest one stays while the training may go on from it."""
    checkpoints.delete(session, settings, training_id, step)
    announce(session, studio.events, views.TABLE, training_id, "changed")
    return Response(status_code=204)


@router.post(
    "/{training_id}/checkpoints/{step}/sae",
    status_code=202,
    response_model=JobOut,
    summary="Make an SAE of a checkpoint",
    responses=problems(404, 422),
)
def make_checkpoint_sae(
    session: SessionDep, settings: SettingsDep, training_id: str, step: int, request: CheckpointSaeRequest
) -> JobOut:
    """A job; its result names the SAE."""
    return JobOut.model_validate(checkpoints.start_sae(session, settings, training_id, step, request.name))


@router.post(
    "/checkpoints/compare",
    status_code=202,
    response_model=JobOut,
    summary="Compare two checkpoints",
    responses=problems(404, 422),
)
def compare_checkpoints(session: SessionDep, settings: SettingsDep, request: CheckpointComparison) -> JobOut:
    """A job; what it found is read by its id."""
    return JobOut.model_validate(checkpoints.start_comparison(session, settings, request))


@router.get(
    "/checkpoints/comparisons/{job_id}",
    response_model=CheckpointComparisonOut,
    summary="What a comparison of two checkpoints found",
    responses=problems(404, 409),
)
def checkpoint_comparison(session: ReadingDep, job_id: str) -> CheckpointComparisonOut:
    """Figures, settings and how far decoder directions have turned; once the job has succeeded."""
    return checkpoints.comparison(session, job_id)
