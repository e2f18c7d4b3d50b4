"""What the web may ask about data sets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from sqlalchemy import select

from mistudio.datasets import library
from mistudio.datasets.schemas import (
    DatasetChange,
    DatasetCreate,
    DatasetOut,
    Documents,
    FileFormat,
    RowOut,
    RowPage,
)
from mistudio.datasets.tables import Dataset
from mistudio.datasets.tokenization_routes import tokenization_router
from mistudio.models.announce import announce
from mistudio.models.deletion import users_of
from mistudio.models.schemas import UserOut
from mistudio.web import (
    Page,
    PageDep,
    ReadingDep,
    SessionDep,
    SettingsDep,
    StudioDep,
    accepts_upload,
    paginate,
    problems,
)

datasets_router = APIRouter(prefix="/datasets", tags=["datasets"])


@datasets_router.get("", response_model=Page[DatasetOut], summary="List data sets", responses=problems(422))
def list_datasets(session: ReadingDep, page: PageDep) -> Page[DatasetOut]:
    """Data sets with their latest job. `sort`: name, created_at, rows, bytes, id."""
    sorts = {
        "name": Dataset.name,
        "created_at": Dataset.created_at,
        "rows": Dataset.rows,
        "bytes": Dataset.bytes,
        "id": Dataset.id,
    }
    found = paginate(
        session, select(Dataset), page, sorts=sorts, default_sort="-created_at", search=[Dataset.name]
    )
    return Page(
        items=library.datasets_out(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


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


@datasets_router.post(
    "/upload",
    response_model=DatasetOut,
    status_code=202,
    summary="Upload a data set",
    responses=problems(400, 409, 413, 422, 507),
)
@accepts_upload
def upload_dataset(
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    file: Annotated[UploadFile, File(description="Text, JSONL, CSV or Parquet.")],
    name: Annotated[str | None, Form(max_length=200, description="Default: the file's name.")] = None,
    format: Annotated[FileFormat | None, Form(description="Default: by the file's ending.")] = None,
    text_column: Annotated[str | None, Form(max_length=400)] = None,
    documents: Annotated[Documents | None, Form(description="Text files: what is one row.")] = None,
    delimiter: Annotated[str | None, Form(min_length=1, max_length=1, description="CSV files.")] = None,
    max_rows: Annotated[int | None, Form(ge=1, description="Import only the first rows.")] = None,
) -> DatasetOut:
    """Send a file. The answer's `job` imports it."""
    filename = library.safe_name(file.filename) or "upload"
    source = library.file_source(
        filename, format, documents=documents, delimiter=delimiter, max_rows=max_rows
    )
    stored = library.receive_upload(settings, file.file, filename)
    try:
        dataset, _ = library.add_upload(
            session, settings, stored, source, name=name or None, text_column=text_column or None
        )
    except BaseException:
        library.delete_folder(settings.data_dir, stored.parent)
        raise
    announce(session, studio.events, "datasets", dataset.id, "created")
    return library.datasets_out(session, [dataset])[0]


@datasets_router.get(
    "/{dataset_id}", response_model=DatasetOut, summary="One data set", responses=problems(404)
)
def show_dataset(dataset_id: str, session: ReadingDep) -> DatasetOut:
    """A data set with its columns."""
    return library.datasets_out(session, [library.get_dataset(session, dataset_id)])[0]


@datasets_router.patch(
    "/{dataset_id}",
    response_model=DatasetOut,
    summary="Change a data set",
    responses=problems(400, 404, 409, 422),
)
def change_dataset(
    dataset_id: str, change: DatasetChange, session: SessionDep, studio: StudioDep
) -> DatasetOut:
    """Rename it, or choose its text column."""
    dataset = library.change_dataset(session, dataset_id, change)
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


@datasets_router.get(
    "/{dataset_id}/rows", response_model=RowPage, summary="Rows", responses=problems(404, 409, 422)
)
def list_rows(
    dataset_id: str,
    session: ReadingDep,
    settings: SettingsDep,
    offset: Annotated[
        int, Query(ge=0, le=2**53, description="First row; with `q` where the search starts.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    q: Annotated[str | None, Query(max_length=500, description="Only rows whose text holds this.")] = None,
    characters: Annotated[int, Query(ge=100, le=100_000, description="Longer texts are cut to this.")] = 2000,
) -> RowPage:
    """Rows of any page, or a search in their text (case does not matter)."""
    from mistudio.datasets.rows import open_rows, page_of_rows

    dataset = library.ready_dataset(session, dataset_id)
    return page_of_rows(
        open_rows(settings, dataset),
        dataset.text_column or "",
        offset=offset,
        limit=limit,
        q=q,
        characters=characters,
    )


@datasets_router.get(
    "/{dataset_id}/rows/random", response_model=RowOut, summary="A random row", responses=problems(404, 409)
)
def show_random_row(dataset_id: str, session: ReadingDep, settings: SettingsDep) -> RowOut:
    """Any row, whole."""
    from mistudio.datasets.rows import open_rows, random_row

    return random_row(open_rows(settings, library.ready_dataset(session, dataset_id)))


@datasets_router.get(
    "/{dataset_id}/rows/{index}", response_model=RowOut, summary="One row", responses=problems(404, 409, 422)
)
def show_row(dataset_id: str, index: int, session: ReadingDep, settings: SettingsDep) -> RowOut:
    """A row, whole."""
    from mistudio.datasets.rows import one_row, open_rows

    return one_row(open_rows(settings, library.ready_dataset(session, dataset_id)), index)


router = APIRouter()
router.include_router(datasets_router)
router.include_router(tokenization_router)
