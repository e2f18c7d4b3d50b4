"""What the web may ask about labels."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path
from sqlalchemy import select

from mistudio.labels import history, runs
from mistudio.labels.schemas import (
    LabellingForm,
    LabellingRunCreate,
    LabellingRunOut,
    LabelsOut,
    LabelWrite,
)
from mistudio.labels.tables import LabellingRun
from mistudio.models.announce import announce
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, paginate, problems

router = APIRouter(tags=["labels"])

Index = Annotated[int, Path(ge=0, le=2**31 - 1, description="The latent.")]


@router.get(
    "/extractions/{extraction_id}/features/{index}/labels",
    response_model=LabelsOut,
    summary="All labels of a feature",
    responses=problems(404),
)
def list_labels(extraction_id: str, index: Index, session: ReadingDep) -> LabelsOut:
    """The label in force, and every one that the feature was given, newest first."""
    return history.labels_of(session, extraction_id, index)


@router.put(
    "/extractions/{extraction_id}/features/{index}/label",
    response_model=LabelsOut,
    summary="Label a feature by hand",
    responses=problems(404, 422),
)
def write_label(
    extraction_id: str, index: Index, label: LabelWrite, session: SessionDep, studio: StudioDep
) -> LabelsOut:
    """No machine overwrites it; what machines say is kept beside it."""
    found = history.write_by_hand(session, extraction_id, index, label.text, notes=label.notes)
    announce(session, studio.events, "extractions", extraction_id, "changed")
    return found


@router.delete(
    "/extractions/{extraction_id}/features/{index}/label",
    response_model=LabelsOut,
    summary="Take a label made by hand away",
    responses=problems(404, 409),
)
def remove_label(extraction_id: str, index: Index, session: SessionDep, studio: StudioDep) -> LabelsOut:
    """The best label by a machine, if there is one, is in force again."""
    found = history.take_away(session, extraction_id, index)
    announce(session, studio.events, "extractions", extraction_id, "changed")
    return found


@router.get("/labelling/form", response_model=LabellingForm, summary="The schema of the labelling form")
def labelling_form(settings: SettingsDep) -> LabellingForm:
    """The JSON schema of a labelling run, which sources are usable, and what a score means."""
    return runs.labelling_form(settings)


@router.post(
    "/extractions/{extraction_id}/labelling-runs",
    status_code=202,
    response_model=LabellingRunOut,
    summary="Label features by machine",
    responses=problems(400, 404, 409, 422),
)
def create_run(
    extraction_id: str,
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    wanted: Annotated[LabellingRunCreate | None, Body()] = None,
) -> LabellingRunOut:
    """The answer's `job` does it; labels appear as they are found. An empty body: contrast, the 100 most frequent
    features of those that fire on at most 1 token in 100."""
    run = runs.create_run(session, settings, extraction_id, wanted or LabellingRunCreate())
    announce(session, studio.events, "labelling_runs", run.id, "created")
    return runs.runs_out(session, [run])[0]


@router.get(
    "/extractions/{extraction_id}/labelling-runs",
    response_model=Page[LabellingRunOut],
    summary="List labelling runs",
    responses=problems(404, 422),
)
def list_runs(extraction_id: str, session: ReadingDep, page: PageDep) -> Page[LabellingRunOut]:
    """Newest first. `sort`: created_at, source, id."""
    sorts = {"created_at": LabellingRun.created_at, "source": LabellingRun.source, "id": LabellingRun.id}
    found = paginate(
        session,
        select(LabellingRun).where(LabellingRun.extraction_id == extraction_id),
        page,
        sorts=sorts,
        default_sort="-created_at",
    )
    return Page(items=runs.runs_out(session, found.items), total=found.total, next_cursor=found.next_cursor)


@router.get(
    "/labelling-runs/{run_id}",
    response_model=LabellingRunOut,
    summary="One labelling run",
    responses=problems(404),
)
def show_run(run_id: str, session: ReadingDep) -> LabellingRunOut:
    """Its request and its job, whose result counts what became of the features."""
    return runs.runs_out(session, [runs.get_run(session, run_id)])[0]
