"""What the web may ask about trainings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from mistudio.sae.metric_info import METRICS
from mistudio.training import runs
from mistudio.training.schemas import (
    Forecast,
    MetricSeries,
    TrainingCreate,
    TrainingDetail,
    TrainingForm,
    TrainingOut,
    TrainingUpdate,
)
from mistudio.training.tables import Training
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, paginate, problems

router = APIRouter(prefix="/trainings", tags=["trainings"])


@router.get("", response_model=Page[TrainingOut], summary="List trainings", responses=problems(422))
def list_trainings(session: ReadingDep, page: PageDep) -> Page[TrainingOut]:
    """Newest first unless sorted otherwise."""
    sorts = {
        "created_at": Training.created_at,
        "name": Training.name,
        "hook": Training.hook,
        "id": Training.id,
    }
    found = paginate(
        session,
        select(Training),
        page,
        sorts=sorts,
        default_sort="-created_at",
        search=[Training.name, Training.hook, Training.notes],
    )
    return Page[TrainingOut](
        items=runs.out_many(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


@router.get("/form", response_model=TrainingForm, summary="The schema of the training form")
def training_form() -> TrainingForm:
    """The JSON schema that validates a new training, and what each recorded metric means."""
    return TrainingForm(
        form=TrainingCreate.model_json_schema(),
        metrics={
            name: {"title": m.title, "unit": m.unit, "formula": m.formula, "description": m.description}
            for name, m in METRICS.items()
        },
    )


@router.post(
    "/forecast", response_model=Forecast, summary="Forecast a training", responses=problems(404, 409, 422)
)
def forecast_training(session: ReadingDep, settings: SettingsDep, request: TrainingCreate) -> Forecast:
    """Memory, disk and time that this training would take; nothing is started."""
    return runs.forecast_training(session, settings, request)


@router.post(
    "",
    status_code=202,
    response_model=TrainingOut,
    summary="Start a training",
    responses=problems(404, 409, 422),
)
def create_training(session: SessionDep, studio: StudioDep, request: TrainingCreate) -> TrainingOut:
    """Queue a training."""
    training = runs.create_training(session, request)
    studio.events.publish("trainings", "created", {"id": training.id})
    return runs.out_many(session, [training])[0]


@router.get("/{training_id}", response_model=TrainingDetail, summary="A training", responses=problems(404))
def get_training(session: ReadingDep, settings: SettingsDep, training_id: str) -> TrainingDetail:
    """One training with its checkpoints and the disk it uses."""
    return runs.detail(session, settings, training_id)


@router.patch(
    "/{training_id}", response_model=TrainingOut, summary="Rename or annotate", responses=problems(404, 422)
)
def update_training(
    session: SessionDep, studio: StudioDep, training_id: str, request: TrainingUpdate
) -> TrainingOut:
    """Change the name or the notes."""
    training = runs.get_training(session, training_id)
    for name, value in request.model_dump(exclude_none=True).items():
        setattr(training, name, value)
    session.flush()
    studio.events.publish(f"trainings/{training_id}", "changed", {"id": training_id})
    return runs.out_many(session, [training])[0]


@router.get(
    "/{training_id}/metrics",
    response_model=MetricSeries,
    summary="Metric points",
    responses=problems(404, 422),
)
def training_metrics(
    session: ReadingDep,
    settings: SettingsDep,
    training_id: str,
    columns: Annotated[list[str] | None, Query(description="Names of metrics. Default: all.")] = None,
    max_points: Annotated[int, Query(ge=2, le=100_000, description="Points at most.")] = 2_000,
    after_step: Annotated[int, Query(ge=0, le=2**62, description="Only later points.")] = 0,
) -> MetricSeries:
    """Points as columns, downsampled so that every minimum and maximum stays."""
    training = runs.get_training(session, training_id)
    return runs.metric_series(
        settings, training, columns=columns, max_points=max_points, after_step=after_step
    )


@router.post(
    "/{training_id}/stop",
    status_code=202,
    response_model=TrainingOut,
    summary="Stop and keep",
    responses=problems(404, 409),
)
def stop_training(session: SessionDep, training_id: str) -> TrainingOut:
    """End after the present step; the SAE as it is then is measured and kept."""
    return runs.out_many(session, [runs.stop_training(session, training_id)])[0]


@router.post(
    "/{training_id}/resume",
    status_code=202,
    response_model=TrainingOut,
    summary="Go on from the newest checkpoint",
    responses=problems(404, 409),
)
def resume_training(session: SessionDep, training_id: str) -> TrainingOut:
    """Queue the training again, from where it was."""
    return runs.out_many(session, [runs.resume_training(session, training_id)])[0]


@router.delete("/{training_id}", status_code=204, summary="Delete a training", responses=problems(404))
def delete_training(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, training_id: str
) -> Response:
    """Remove its row, points and checkpoints; a running job is cancelled. The SAE that it made stays."""
    runs.delete_training(session, settings, training_id)
    studio.events.publish("trainings", "deleted", {"id": training_id})
    return Response(status_code=204)
