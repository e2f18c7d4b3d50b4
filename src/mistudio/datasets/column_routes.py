"""What the web may ask about columns composed from others."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mistudio.datasets import composing, library
from mistudio.datasets.preview_schemas import ColumnPreview, RecipeIn
from mistudio.datasets.schemas import ColumnCreate, ComposedColumnOut
from mistudio.models.announce import announce
from mistudio.web import ReadingDep, SessionDep, SettingsDep, StudioDep, problems

column_router = APIRouter(prefix="/datasets/{dataset_id}/columns", tags=["datasets"])


@column_router.get(
    "", response_model=list[ComposedColumnOut], summary="Composed columns", responses=problems(404)
)
def list_columns(dataset_id: str, session: ReadingDep) -> list[ComposedColumnOut]:
    """Columns made from the others, each with its latest job."""
    dataset = library.get_dataset(session, dataset_id)
    return composing.columns_out(session, composing.list_columns(session, dataset.id))


@column_router.post(
    "",
    response_model=ComposedColumnOut,
    status_code=202,
    summary="Compose a column",
    responses=problems(404, 409, 422),
)
def create_column(
    dataset_id: str, wanted: ColumnCreate, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> ComposedColumnOut:
    """Several columns joined by a template, or a chat rendered by a model's chat template. The answer's `job` makes
    it."""
    column, _ = composing.add_column(session, settings, dataset_id, wanted)
    announce(session, studio.events, "datasets", dataset_id, "changed")
    return composing.columns_out(session, [column])[0]


@column_router.post(
    "/preview", response_model=ColumnPreview, summary="Preview a column", responses=problems(404, 409, 422)
)
def preview_column(
    dataset_id: str,
    wanted: RecipeIn,
    session: ReadingDep,
    settings: SettingsDep,
    offset: Annotated[int, Query(ge=0, le=2**53, description="First row.")] = 0,
    limit: Annotated[int, Query(ge=1, le=50, description="How many rows.")] = 5,
) -> ColumnPreview:
    """The texts that a recipe makes of some rows, before any run."""
    dataset = library.ready_dataset(session, dataset_id)
    recipe = composing.resolve_recipe(session, wanted.recipe)
    return ColumnPreview(
        texts=composing.preview_column(settings, dataset, recipe, offset=offset, limit=limit)
    )


@column_router.delete(
    "/{key}", status_code=204, summary="Delete a composed column", responses=problems(404, 409)
)
def delete_column(
    dataset_id: str, key: str, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> Response:
    """By its id or name. Tokenizations made from it stay. Cancels its job."""
    column = composing.find_column(session, dataset_id, key)
    composing.delete_column(session, settings, column)
    announce(session, studio.events, "datasets", dataset_id, "changed")
    return Response(status_code=204)
