"""What the web may ask about files that are sent: whole in a form, or in pieces that survive a broken connection."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from mistudio.datasets import library, uploads
from mistudio.datasets.preview_schemas import FinishedUpload, UploadOut, UploadStart
from mistudio.datasets.schemas import DatasetOut, Documents, FileFormat
from mistudio.errors import StudioError
from mistudio.models.announce import announce
from mistudio.web import SessionDep, SettingsDep, StudioDep, accepts_upload, problems

upload_router = APIRouter(prefix="/datasets", tags=["datasets"])
_WRITE_BYTES = 1 << 20


@upload_router.get("/uploads", response_model=list[UploadOut], summary="Unfinished uploads")
def list_uploads(settings: SettingsDep) -> list[UploadOut]:
    """Files of which a part is here, newest first. They are kept for a week."""
    return uploads.unfinished(settings)


@upload_router.post(
    "/uploads",
    response_model=UploadOut,
    status_code=201,
    summary="Begin an upload in pieces",
    responses=problems(413, 422, 507),
)
def start_upload(wanted: UploadStart, settings: SettingsDep) -> UploadOut:
    """Then send its bytes by PATCH, in order, in pieces of any size."""
    return uploads.start_upload(settings, wanted.filename, wanted.size)


@upload_router.get(
    "/uploads/{upload_id}", response_model=UploadOut, summary="How far an upload is", responses=problems(404)
)
def show_upload(upload_id: str, settings: SettingsDep) -> UploadOut:
    """`received` says where to go on."""
    return uploads.show_upload(settings, upload_id)


@upload_router.patch(
    "/uploads/{upload_id}",
    response_model=UploadOut,
    summary="Send a piece",
    responses=problems(404, 409, 413, 422, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
@accepts_upload
async def append_to_upload(
    upload_id: str,
    request: Request,
    settings: SettingsDep,
    offset: Annotated[int, Query(ge=0, description="The byte of the file where this piece begins.")],
) -> UploadOut:
    """Bytes from `offset` on, which must be where the upload is. What arrives before a connection breaks is kept."""
    piece = await to_thread.run_sync(uploads.Piece, settings, upload_id, offset)
    held: list[bytes] = []
    try:
        async for block in request.stream():
            held.append(block)
            if sum(map(len, held)) >= _WRITE_BYTES:
                whole, held = b"".join(held), []
                await to_thread.run_sync(piece.write, whole)
    finally:
        # What came before the connection broke is kept as well.
        await to_thread.run_sync(_end, piece, b"".join(held))
    return await to_thread.run_sync(uploads.show_upload, settings, upload_id)


def _end(piece: uploads.Piece, rest: bytes) -> None:
    try:
        piece.write(rest)
    finally:
        piece.close()


@upload_router.get(
    "/uploads/{upload_id}/source",
    response_model=FinishedUpload,
    summary="What an upload is",
    responses=problems(404, 409),
)
def show_upload_source(upload_id: str, settings: SettingsDep) -> FinishedUpload:
    """The source that a whole upload makes, to preview and add; its format told by its name or, for a zip, its
    members."""
    from mistudio.datasets.sources import archive_format

    path = uploads.finished_upload(settings, upload_id)
    try:
        source = library.file_source(path.name, archive_format(settings, path))
    except StudioError as error:
        if error.code != "format_unknown":
            raise
        source = None
    return FinishedUpload(id=upload_id, filename=path.name, size=path.stat().st_size, source=source)


@upload_router.delete(
    "/uploads/{upload_id}", status_code=204, summary="Discard an upload", responses=problems(404)
)
def discard_upload(upload_id: str, settings: SettingsDep) -> Response:
    """Remove what has arrived of it."""
    uploads.discard(settings, upload_id)
    return Response(status_code=204)


@upload_router.post(
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
    file: Annotated[UploadFile, File(description="Text, JSONL, CSV or Parquet, also as .gz, .zst or .zip.")],
    name: Annotated[str | None, Form(max_length=200, description="Default: the file's name.")] = None,
    format: Annotated[FileFormat | None, Form(description="Default: by the file's ending.")] = None,
    text_column: Annotated[str | None, Form(max_length=400)] = None,
    documents: Annotated[Documents | None, Form(description="Text files: what is one row.")] = None,
    delimiter: Annotated[str | None, Form(min_length=1, max_length=1, description="CSV files.")] = None,
    max_rows: Annotated[int | None, Form(ge=1, description="Import only the first rows.")] = None,
) -> DatasetOut:
    """Send a file in one request. The answer's `job` imports it."""
    from mistudio.datasets.sources import archive_format

    filename = library.safe_name(file.filename) or "upload"
    if not filename.lower().endswith(".zip"):
        library.file_source(filename, format)  # refused before it is stored
    stored = library.receive_upload(settings, file.file, filename)
    try:
        source = library.file_source(
            filename,
            format or archive_format(settings, stored),
            documents=documents,
            delimiter=delimiter,
            max_rows=max_rows,
        )
        dataset, _ = library.add_upload(
            session, settings, stored, source, name=name or None, text_column=text_column or None
        )
    except BaseException:
        library.delete_folder(settings.data_dir, stored.parent)
        raise
    announce(session, studio.events, "datasets", dataset.id, "created")
    return library.datasets_out(session, [dataset])[0]
