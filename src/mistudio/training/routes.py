"""What the web may ask about trainings."""

from __future__ import annotations

from fastapi import APIRouter, Response

from mistudio.models.announce import announce
from mistudio.training import sweeps, views
from mistudio.training.admission import start_sweep
from mistudio.training.configure_routes import router as configure_router
from mistudio.training.control_routes import router as control_router
from mistudio.training.listing_routes import router as listing_router
from mistudio.training.metric_routes import router as metric_router
from mistudio.training.recording_routes import router as recording_router
from mistudio.training.schemas import (
    SweepOut,
    TrainingCreate,
    TrainingDetail,
    TrainingOut,
    TrainingUpdate,
)
from mistudio.web import ReadingDep, SessionDep, SettingsDep, StudioDep, problems

router = APIRouter(tags=["trainings"])


# Before the routes of one training: its id must not swallow their names.
router.include_router(listing_router)
router.include_router(configure_router)


@router.post(
    "/trainings",
    status_code=202,
    response_model=SweepOut,
    summary="Start trainings",
    responses=problems(404, 409, 422),
)
def create_trainings(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, request: TrainingCreate
) -> SweepOut:
    """Queue one pass over the activations that trains every hook point with every combination of the grid."""
    return views.sweep_out(session, start_sweep(session, settings, request, studio.events))


@router.get("/sweeps/{sweep_id}", response_model=SweepOut, summary="A sweep", responses=problems(404))
def get_sweep(session: ReadingDep, sweep_id: str) -> SweepOut:
    """The trainings that share one pass over the activations, with their job."""
    return views.sweep_out(session, views.get_sweep(session, sweep_id))


@router.get(
    "/trainings/{training_id}", response_model=TrainingDetail, summary="A training", responses=problems(404)
)
def get_training(session: ReadingDep, settings: SettingsDep, training_id: str) -> TrainingDetail:
    """One training with its checkpoints and the disk it uses."""
    return views.detail(session, settings, training_id)


@router.patch(
    "/trainings/{training_id}",
    response_model=TrainingOut,
    summary="Rename, tag or annotate",
    responses=problems(404, 422),
)
def update_training(
    session: SessionDep, studio: StudioDep, training_id: str, request: TrainingUpdate
) -> TrainingOut:
    """Change the name, the notes, the tags or the star."""
    training = sweeps.update_training(session, training_id, request)
    announce(session, studio.events, views.TABLE, training_id, "changed")
    return views.out_many(session, [training])[0]


@router.post(
    "/trainings/{training_id}/stop",
    status_code=202,
    response_model=TrainingOut,
    summary="Stop and keep",
    responses=problems(404, 409),
)
def stop_training(session: SessionDep, training_id: str) -> TrainingOut:
    """End after the present step; SAEs as they are then are measured and kept. Acts on the whole sweep."""
    training = views.get_training(session, training_id)
    sweeps.stop_sweep(session, training.sweep)
    return views.out_many(session, [training])[0]


@router.post(
    "/trainings/{training_id}/resume",
    status_code=202,
    response_model=TrainingOut,
    summary="Go on from the newest checkpoint",
    responses=problems(404, 409),
)
def resume_training(session: SessionDep, training_id: str) -> TrainingOut:
    """Queue the training again with all of its sweep, from where it was."""
    training = views.get_training(session, training_id)
    sweeps.resume_sweep(session, training.sweep)
    return views.out_many(session, [training])[0]


@router.delete(
    "/trainings/{training_id}", status_code=204, summary="Delete a training", responses=problems(404)
)
def delete_training(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, training_id: str
) -> Response:
    """Remove its row, points and checkpoints; a job that trains nothing else is cancelled. The SAE it made stays."""
    sweeps.delete_trainings(session, settings, [training_id])
    announce(session, studio.events, views.TABLE, training_id, "deleted")
    return Response(status_code=204)


router.include_router(control_router)
router.include_router(metric_router)
router.include_router(recording_router)
