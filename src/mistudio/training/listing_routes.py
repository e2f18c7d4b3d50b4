"""What the web may ask about the list of trainings: rows, groups, fields, saved views, changes to many."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mistudio.models.announce import after_commit
from mistudio.training import bulk, listing, saved_views
from mistudio.training.comparison_routes import router as comparison_router
from mistudio.training.fields import all_fields
from mistudio.training.filter_language import Text, both, render
from mistudio.training.listing_schemas import (
    BulkChange,
    BulkDelete,
    Changed,
    FieldOut,
    ListedTraining,
    TrainingGroups,
    ViewCreate,
    ViewOut,
    ViewUpdate,
)
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, problems

router = APIRouter(tags=["trainings"])
router.include_router(comparison_router)

Filter = Annotated[
    str,
    Query(
        max_length=2_000,
        description='Conditions such as `d_sae>=8192 layer:6 state:running tag:x fvu<0.2 name~"a b"`; `OR`, `-` for '
        "the opposite, parentheses. GET /trainings/fields lists what may be compared.",
    ),
]


@router.get(
    "/trainings", response_model=Page[ListedTraining], summary="List trainings", responses=problems(422)
)
def list_trainings(
    session: ReadingDep,
    settings: SettingsDep,
    page: PageDep,
    filter: Filter = "",
    columns: Annotated[
        list[str] | None, Query(max_length=100, description="Fields whose values are wanted.")
    ] = None,
    group: Annotated[
        str, Query(max_length=100, description="Field by which the list is sorted into groups first.")
    ] = "",
) -> Page[ListedTraining]:
    """Newest first unless sorted otherwise. `q` is text that the name, hook point or notes must contain."""
    text = both(filter, render(Text(page.q))) if page.q else filter
    wanted = listing.ListRequest(
        filter=text,
        sort=page.sort or "-created",
        group=group,
        columns=columns or (),
        limit=page.limit,
        offset=page.offset,
    )
    found = listing.list_trainings(session, settings, wanted)
    end = page.offset + len(found.items)
    return Page[ListedTraining](
        items=found.items,
        total=found.total,
        next_cursor=str(end) if found.items and end < found.total else None,
    )


@router.get("/trainings/fields", response_model=list[FieldOut], summary="What trainings are listed by")
def list_fields() -> list[FieldOut]:
    """Every field that the list can show, sort, group and filter by."""
    return [
        FieldOut(
            **{name: getattr(one, name) for name in FieldOut.model_fields if hasattr(one, name)},
            sortable=listing.sortable(one),
            groupable=listing.groupable(one),
        )
        for one in all_fields()
    ]


@router.get(
    "/trainings/groups", response_model=TrainingGroups, summary="Group trainings", responses=problems(422)
)
def group_trainings(
    session: ReadingDep,
    settings: SettingsDep,
    by: Annotated[str, Query(max_length=100, description="Field whose values make the groups.")],
    filter: Filter = "",
) -> TrainingGroups:
    """The values of a field with the number of trainings that have each, and their best metrics."""
    return listing.group_trainings(session, settings, by, filter)


@router.get("/trainings/ids", response_model=list[str], summary="Ids of trainings", responses=problems(422))
def list_ids(
    session: ReadingDep,
    settings: SettingsDep,
    filter: Filter = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
) -> list[str]:
    """Ids of all that a filter finds, newest first: for changes to many."""
    return listing.ids_of(session, settings, filter, limit)


@router.post(
    "/trainings/bulk", response_model=Changed, summary="Tag or star many", responses=problems(404, 422)
)
def change_many(session: SessionDep, studio: StudioDep, request: BulkChange) -> Changed:
    """Add and remove tags, set or take the star. All or none."""
    count = bulk.change_many(session, request)
    after_commit(session, lambda: studio.events.publish("trainings", "changed", {"ids": request.ids[:100]}))
    return Changed(count=count)


@router.post(
    "/trainings/bulk-delete", response_model=Changed, summary="Delete many", responses=problems(404, 422)
)
def delete_many(
    session: SessionDep, studio: StudioDep, settings: SettingsDep, request: BulkDelete
) -> Changed:
    """Remove rows, curves and checkpoints; a job that trains nothing else is cancelled. SAEs stay."""
    count = bulk.delete_many(session, settings, request.ids)
    after_commit(session, lambda: studio.events.publish("trainings", "deleted", {"ids": request.ids[:100]}))
    return Changed(count=count)


@router.get("/training-views", response_model=list[ViewOut], summary="Saved views")
def list_views(session: ReadingDep) -> list[ViewOut]:
    """Ways of looking at the list that were kept, by name."""
    return [ViewOut.model_validate(view) for view in saved_views.list_views(session)]


@router.post(
    "/training-views",
    response_model=ViewOut,
    status_code=201,
    summary="Save a view",
    responses=problems(409, 422),
)
def add_view(session: SessionDep, studio: StudioDep, request: ViewCreate) -> ViewOut:
    """Keep filter, columns, order and groups under a name."""
    made = saved_views.add_view(session, request)
    after_commit(session, lambda: studio.events.publish("trainings", "views", {"id": made.id}))
    return ViewOut.model_validate(made)


@router.patch(
    "/training-views/{view_id}",
    response_model=ViewOut,
    summary="Change a saved view",
    responses=problems(404, 409, 422),
)
def change_view(session: SessionDep, studio: StudioDep, view_id: str, request: ViewUpdate) -> ViewOut:
    """Rename it, or let it show something else."""
    changed = saved_views.change_view(session, view_id, request)
    after_commit(session, lambda: studio.events.publish("trainings", "views", {"id": view_id}))
    return ViewOut.model_validate(changed)


@router.delete(
    "/training-views/{view_id}", status_code=204, summary="Forget a saved view", responses=problems(404)
)
def delete_view(session: SessionDep, studio: StudioDep, view_id: str) -> Response:
    """Trainings are not touched."""
    saved_views.delete_view(session, view_id)
    after_commit(session, lambda: studio.events.publish("trainings", "views", {"id": view_id}))
    return Response(status_code=204)
