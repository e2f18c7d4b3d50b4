"""What the web may ask about several trainings side by side."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from mistudio.training.comparison import Comparison, chosen_ids, compare
from mistudio.web import ReadingDep, SettingsDep, problems

router = APIRouter(tags=["trainings"])

Ids = Annotated[list[str] | None, Query(max_length=64, description="Trainings, in the order shown.")]
SweepId = Annotated[
    str | None, Query(max_length=64, description="A sweep, all of whose trainings are meant.")
]


@router.get(
    "/trainings/compare",
    response_model=Comparison,
    summary="Compare trainings",
    responses=problems(404, 422),
)
def compare_trainings(
    session: ReadingDep, settings: SettingsDep, ids: Ids = None, sweep: SweepId = None
) -> Comparison:
    """Where the settings differ, and all final figures with the best marked."""
    return compare(session, settings, chosen_ids(session, ids or [], sweep))
