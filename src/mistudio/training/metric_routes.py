"""What the web may ask about the curves of trainings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from mistudio.training import metrics, views
from mistudio.training.metrics import MetricSeries
from mistudio.web import ReadingDep, SettingsDep, problems

router = APIRouter(prefix="/trainings", tags=["trainings"])

Columns = Annotated[list[str] | None, Query(description="Names of metrics. Default: all.")]
_MOST = 2**62


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
    columns: Columns = None,
    max_points: Annotated[int, Query(ge=4, le=100_000, description="Points at most.")] = 2_000,
    after_step: Annotated[int, Query(ge=0, le=_MOST, description="Only later points.")] = 0,
    up_to_step: Annotated[
        int | None, Query(ge=0, le=_MOST, description="No points after this step. Default: all.")
    ] = None,
) -> Response:
    """Points as columns, downsampled so that every minimum and maximum stays; and what was changed meanwhile."""
    views.get_training(session, training_id)
    found = metrics.metric_series(
        settings,
        training_id,
        columns=columns,
        max_points=max_points,
        after_step=after_step,
        up_to_step=up_to_step,
    )
    # Tens of thousands of numbers: written at once, without a model of each.
    return Response(to_json(found), media_type="application/json")


@router.get(
    "/{training_id}/metrics.csv",
    response_class=StreamingResponse,
    summary="All metric points as CSV",
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **problems(404, 422)},
)
def training_metrics_csv(
    session: ReadingDep, settings: SettingsDep, training_id: str, columns: Columns = None
) -> StreamingResponse:
    """Every point that was recorded, with every digit: nothing is left out."""
    training = views.get_training(session, training_id)
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in training.name)
    return StreamingResponse(
        metrics.metrics_csv(settings, training_id, columns),
        media_type="text/csv",
        headers={"content-disposition": f'attachment; filename="{name.strip("-") or training_id}.csv"'},
    )
