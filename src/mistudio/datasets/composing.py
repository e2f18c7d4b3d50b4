"""Columns composed from a data set's others: add, preview, make, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.datasets.library import choose_text_column, dataset_folder, get_dataset, ready_dataset
from mistudio.datasets.schemas import (
    ChatRecipe,
    ColumnCreate,
    ComposedColumnOut,
    ComposeParams,
    Recipe,
)
from mistudio.datasets.surveys import follow_text
from mistudio.datasets.tables import ComposedColumn, Dataset
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobContext, JobOut, cancel_subject, latest_jobs, submit
from mistudio.models.announce import after_commit
from mistudio.models.library import ready_model
from mistudio.models.names import add_row, find_row
from mistudio.models.subjects import announce_changed, working_for
from mistudio.models.tables import Model
from mistudio.settings import Settings


def resolve_recipe(session: Session, recipe: Recipe) -> Recipe:
    """The recipe with its model by id. Raises NotFound, Conflict `model_not_ready`."""
    if not isinstance(recipe, ChatRecipe):
        return recipe
    model = ready_model(session, find_row(session, Model, recipe.model_id, "model").id)
    return recipe.model_copy(update={"model_id": model.id})


def add_column(
    session: Session, settings: Settings, dataset_id: str, wanted: ColumnCreate
) -> tuple[ComposedColumn, Job]:
    """Note a column and queue the job that makes it.

    Raises StudioError `recipe_invalid`, `no_chat_template`; Conflict `name_taken`, `dataset_not_ready`,
    `model_not_ready`; NotFound.
    """
    from mistudio.datasets.recipes import renderer

    dataset = ready_dataset(session, dataset_id)
    names = [column["name"] for column in dataset.columns]
    if wanted.name in names:
        raise Conflict(
            "name_taken",
            f"“{dataset.name}” has a column “{wanted.name}” already.",
            hint="Choose another name.",
        )
    recipe = resolve_recipe(session, wanted.recipe)
    renderer(settings, recipe, names)
    column = ComposedColumn(dataset_id=dataset.id, name=wanted.name, recipe=recipe.model_dump(mode="json"))
    add_row(session, column)
    job = submit(
        session,
        "datasets.compose",
        subject=f"composed_columns/{column.id}",
        title=f"Compose {column.name} of {dataset.name}",
        params=ComposeParams(column_id=column.id, use_as_text=wanted.use_as_text),
    )
    return column, job


def preview_column(
    settings: Settings, dataset: Dataset, recipe: Recipe, *, offset: int, limit: int
) -> list[str]:
    """The texts that a recipe makes of a data set's rows from `offset` on. Raises StudioError as `renderer`."""
    from mistudio.datasets.recipes import renderer
    from mistudio.datasets.text_store import TextStore

    make = renderer(settings, recipe, [column["name"] for column in dataset.columns])
    rows = TextStore(dataset_folder(settings, dataset.id)).rows(offset, limit)
    return [make(row) for row in rows]


def compose_column(context: JobContext, params: ComposeParams) -> dict[str, Any]:
    """What the job `datasets.compose` does: make the texts, then let the column be seen."""
    from mistudio.datasets.text_store import TextStore, column_folder, remove_column

    with context.database.reading() as session:
        row = get_column(session, params.column_id)
        recipe: Recipe = TypeAdapter(Recipe).validate_python(row.recipe)
        dataset_id, name, columns = row.dataset_id, row.name, _names(session, row.dataset_id)
    folder = dataset_folder(context.settings, dataset_id)
    with working_for(context, ComposedColumn, params.column_id, column_folder(folder, params.column_id)):
        remove_column(folder, params.column_id)  # of an attempt that died between its last two steps
        made = make_column(context, TextStore(folder), params.column_id, name, recipe, columns)
        with context.database.session() as session:
            column = get_column(session, params.column_id)
            note_made(session, column, made, use_as_text=params.use_as_text)
            if params.use_as_text:
                follow_text(session, context.settings, get_dataset(session, dataset_id))
    announce_changed(context, "composed_columns", params.column_id)
    announce_changed(context, "datasets", dataset_id)
    return {"bytes": made}


def make_column(
    context: JobContext, store: Any, id: str, name: str, recipe: Recipe, columns: Sequence[str]
) -> int:
    """Write the texts of a column into a data set's folder; returns their bytes on disk."""
    from mistudio.datasets.recipes import renderer

    make = renderer(context.settings, recipe, columns)
    context.progress(0, store.n_rows, "rows", "Compose")

    def tick(rows: int) -> None:
        context.progress(rows, store.n_rows, "rows", "Compose")

    return store.compose(id, name, make, tick)


def note_made(session: Session, column: ComposedColumn, bytes: int, *, use_as_text: bool) -> None:
    """Let a column that is on the disk be seen among its data set's columns."""
    dataset = get_dataset(session, column.dataset_id)
    column.bytes = bytes
    others = [one for one in dataset.columns if one["name"] != column.name]
    dataset.columns = [*others, {"name": column.name, "type": "string", "composed": column.id}]
    dataset.bytes = (dataset.bytes or 0) + bytes
    if use_as_text:
        dataset.text_column = column.name


def get_column(session: Session, column_id: str) -> ComposedColumn:
    """The composed column of this id. Raises NotFound."""
    column = session.get(ComposedColumn, column_id)
    if column is None:
        raise NotFound("column", column_id)
    return column


def find_column(session: Session, dataset_id: str, key: str) -> ComposedColumn:
    """A data set's composed column by id or name. Raises NotFound."""
    query = select(ComposedColumn).where(
        ComposedColumn.dataset_id == get_dataset(session, dataset_id).id,
        (ComposedColumn.id == key) | (ComposedColumn.name == key),
    )
    column = session.scalars(query).first()
    if column is None:
        raise NotFound("column", key)
    return column


def delete_column(session: Session, settings: Settings, column: ComposedColumn) -> None:
    """Remove a composed column. Raises Conflict `column_is_text` while it is the text of its data set."""
    dataset = get_dataset(session, column.dataset_id)
    left = [one for one in dataset.columns if one["name"] != column.name]
    was_text = dataset.text_column == column.name
    if was_text:
        types = {one["name"]: one["type"] for one in left}
        try:
            dataset.text_column = choose_text_column(dataset.name, types, None)
        except StudioError as error:
            raise Conflict(
                "column_is_text",
                f"“{column.name}” is the text column of “{dataset.name}”.",
                hint="Choose another text column first.",
            ) from error
    dataset.columns = left
    dataset.bytes = (dataset.bytes or 0) - (column.bytes or 0) if dataset.bytes is not None else None
    if was_text:
        follow_text(session, settings, dataset)
    cancel_subject(session, f"composed_columns/{column.id}")
    folder, id = dataset_folder(settings, dataset.id), column.id
    session.delete(column)
    session.flush()

    def remove() -> None:
        from mistudio.datasets.text_store import remove_column

        remove_column(folder, id)

    after_commit(session, remove)


def columns_out(session: Session, columns: Sequence[ComposedColumn]) -> list[ComposedColumnOut]:
    """Composed columns as they cross the API, each with its latest job."""
    jobs = latest_jobs(session, [f"composed_columns/{column.id}" for column in columns])
    found = [ComposedColumnOut.model_validate(column) for column in columns]
    for out in found:
        if job := jobs.get(f"composed_columns/{out.id}"):
            out.job = JobOut.model_validate(job)
    return found


def list_columns(session: Session, dataset_id: str) -> list[ComposedColumn]:
    """A data set's composed columns, oldest first."""
    query = select(ComposedColumn).where(ComposedColumn.dataset_id == dataset_id)
    return list(session.scalars(query.order_by(ComposedColumn.created_at, ComposedColumn.id)))


def new_column(session: Session, id: str, dataset_id: str, wanted: ColumnCreate) -> ComposedColumn:
    """The row of a column made together with its data set."""
    column = ComposedColumn(
        id=id,
        dataset_id=dataset_id,
        name=wanted.name,
        recipe=wanted.recipe.model_dump(mode="json"),
    )
    session.add(column)
    session.flush()
    return column


def _names(session: Session, dataset_id: str) -> list[str]:
    return [column["name"] for column in get_dataset(session, dataset_id).columns]
