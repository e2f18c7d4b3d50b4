"""What the web may ask about data sets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mistudio.datasets import library, listing, surveys
from mistudio.datasets.column_routes import column_router
from mistudio.datasets.composing import resolve_recipe
from mistudio.datasets.preview_schemas import CardOut, DatasetPreview, DeletedOut, PreviewRequest
from mistudio.datasets.schemas import DatasetChange, DatasetCreate, DatasetOut
from mistudio.datasets.survey_routes import survey_router
from mistudio.datasets.tables import Dataset
from mistudio.datasets.tokenization_routes import tokenization_router
from mistudio.datasets.upload_routes import upload_router
from mistudio.models.announce import announce
from mistudio.models.consequences import ConsequencesOut, consequences
from mistudio.models.deletion import users_of
from mistudio.models.schemas import UserOut
from mistudio.web import (
    Page,
    PageDep,
    ReadingDep,
    SessionDep,
    SettingsDep,
    StudioDep,
    paginate,
    problems,
)

datasets_router = APIRouter(prefix="/datasets", tags=["datasets"])
SORTS = {
    "name": Dataset.name,
    "created_at": Dataset.created_at,
    "rows": Dataset.rows,
    "bytes": listing.ON_DISK,
    "kind": Dataset.kind,
    "favourite": Dataset.favourite,
    "id": Dataset.id,
}


Kinds = Annotated[list[listing.Kind] | None, Query(description="Where it came from; any of these.")]
Statuses = Annotated[list[listing.Status] | None, Query(description="How its import stands; any of these.")]
Tags = Annotated[list[str] | None, Query(max_length=20, description="Tags that it must have, all of them.")]


@datasets_router.get("", response_model=Page[DatasetOut], summary="List data sets", responses=problems(422))
def list_datasets(
    session: ReadingDep,
    page: PageDep,
    kind: Kinds = None,
    status: Statuses = None,
    tag: Tags = None,
    favourite: Annotated[bool | None, Query(description="Only those with a star, or without.")] = None,
) -> Page[DatasetOut]:
    """Data sets with their latest job; `q` searches names, hub ids and tags.

    `sort`: name, created_at, rows, bytes, kind, favourite, id.
    """
    wanted = listing.DatasetFilter(kind=kind or [], status=status or [], tag=tag or [], favourite=favourite)
    query = listing.filtered(wanted)
    if page.q:
        query = query.where(listing.matches_of(page.q))
    found = paginate(session, query, page, sorts=SORTS, default_sort="-created_at")
    return Page(
        items=library.datasets_out(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


@datasets_router.get("/summary", response_model=listing.DatasetSummary, summary="Data sets at a glance")
def show_summary(session: ReadingDep) -> listing.DatasetSummary:
    """How many there are, what they take on the disk, and what they can be filtered by."""
    return listing.summary(session)


@datasets_router.post(
    "/preview",
    response_model=DatasetPreview,
    summary="Preview a source",
    responses=problems(400, 403, 404, 409, 413, 422, 502, 503),
)
def preview(wanted: PreviewRequest, session: ReadingDep, settings: SettingsDep) -> DatasetPreview:
    """Columns, first rows, sizes and license of what would be added. Of the hub only listings and the first rows of
    one file are fetched."""
    from mistudio.datasets.preview import preview_source

    source, path = library.located(settings, wanted.source, wanted.upload)
    recipe = resolve_recipe(session, wanted.recipe) if wanted.recipe is not None else None
    return preview_source(settings, source, path, rows=wanted.rows, recipe=recipe)


@datasets_router.post(
    "",
    response_model=DatasetOut,
    status_code=202,
    summary="Add a data set",
    responses=problems(400, 403, 409, 422),
)
def create_dataset(
    wanted: DatasetCreate, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> DatasetOut:
    """From the hub, or from a file or folder on the server. The answer's `job` imports it."""
    dataset, _ = library.add_dataset(session, settings, wanted)
    announce(session, studio.events, "datasets", dataset.id, "created")
    return library.datasets_out(session, [dataset])[0]


@datasets_router.delete(
    "", response_model=DeletedOut, summary="Delete several data sets", responses=problems(404, 409, 422)
)
def delete_datasets(
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    id: Annotated[list[str], Query(min_length=1, max_length=500, description="The data sets.")],
    force: Annotated[bool, Query(description="Also delete everything that was made from them.")] = False,
) -> DeletedOut:
    """All of them or, when one is refused, none."""
    gone: list[tuple[str, str]] = []
    for dataset_id in dict.fromkeys(id):
        gone += library.delete_dataset(session, settings, dataset_id, force=force)
    for table, key in gone:
        announce(session, studio.events, table, key, "deleted")
    return DeletedOut(deleted=[key for _, key in gone])


@datasets_router.get(
    "/consequences",
    response_model=ConsequencesOut,
    summary="What deleting data sets would take with it",
    responses=problems(404, 422),
)
def show_consequences(
    session: ReadingDep,
    settings: SettingsDep,
    id: Annotated[list[str], Query(min_length=1, max_length=500, description="The data sets.")],
) -> ConsequencesOut:
    """Tokenizations, caches, trainings and all that was made from those, with their sizes on disk."""
    ids = [library.get_dataset(session, one).id for one in id]
    return consequences(session, settings, "datasets", ids, parts=library.OWN_PARTS)


@datasets_router.get(
    "/{dataset_id}", response_model=DatasetOut, summary="One data set", responses=problems(404)
)
def show_dataset(dataset_id: str, session: ReadingDep) -> DatasetOut:
    """A data set with its columns."""
    return library.datasets_out(session, [library.get_dataset(session, dataset_id)])[0]


@datasets_router.get(
    "/{dataset_id}/card", response_model=CardOut, summary="A data set's card", responses=problems(404)
)
def show_card(dataset_id: str, session: ReadingDep) -> CardOut:
    """What its authors wrote about it on the hub, as Markdown; null where there is nothing."""
    return CardOut(markdown=library.get_dataset(session, dataset_id).card or None)


@datasets_router.patch(
    "/{dataset_id}",
    response_model=DatasetOut,
    summary="Change a data set",
    responses=problems(400, 404, 409, 422),
)
def change_dataset(
    dataset_id: str, change: DatasetChange, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> DatasetOut:
    """Rename it, choose its text column, star or tag it. Statistics and search index of another column are made anew,
    unless the data set is so large that they are made on demand only."""
    dataset = library.change_dataset(session, dataset_id, change)
    if change.text_column is not None:
        for survey in surveys.follow_text(session, settings, dataset):
            announce(session, studio.events, survey, dataset.id, "changed")
    announce(session, studio.events, "datasets", dataset.id, "changed")
    return library.datasets_out(session, [dataset])[0]


@datasets_router.delete(
    "/{dataset_id}", status_code=204, summary="Delete a data set", responses=problems(404, 409)
)
def delete_dataset(
    dataset_id: str,
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    force: Annotated[bool, Query(description="Also delete everything that was made from it.")] = False,
) -> Response:
    """Goes with its tokenizations. Refused with the names of their users while there are any, unless forced."""
    for table, id in library.delete_dataset(session, settings, dataset_id, force=force):
        announce(session, studio.events, table, id, "deleted")
    return Response(status_code=204)


@datasets_router.get(
    "/{dataset_id}/users",
    response_model=list[UserOut],
    summary="What uses a data set",
    responses=problems(404),
)
def list_users(dataset_id: str, session: ReadingDep) -> list[UserOut]:
    """Trainings, caches and others that use its tokenizations."""
    dataset = library.get_dataset(session, dataset_id)
    return users_of(session, "datasets", [dataset.id], library.PARTS)


router = APIRouter()
router.include_router(upload_router)
router.include_router(datasets_router)
router.include_router(column_router)
router.include_router(survey_router)
router.include_router(tokenization_router)
