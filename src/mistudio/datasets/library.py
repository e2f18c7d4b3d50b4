"""The data sets that are there: add, read, change, delete."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio.datasets.formats import FORMATS, delimiter_of, format_of, unpacked_name
from mistudio.datasets.schemas import (
    CsvSource,
    DatasetChange,
    DatasetCreate,
    DatasetOut,
    FileFormat,
    FileSource,
    FolderSource,
    HubSource,
    ImportParams,
    JsonLinesSource,
    ParquetSource,
    TextSource,
)
from mistudio.datasets.survey_files import SURVEYS
from mistudio.datasets.tables import Dataset, DatasetTag, Tokenization
from mistudio.datasets.uploads import too_large
from mistudio.db import new_id
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobOut, cancel_subject, latest_jobs, submit
from mistudio.models.announce import after_commit
from mistudio.models.deletion import delete_owner
from mistudio.models.local_paths import local_file, local_folder
from mistudio.models.names import add_row, choose_name
from mistudio.settings import Settings
from mistudio.store import delete_folder, disk_errors, owner_folder

OWN_PARTS = frozenset({"composed_columns"})
PARTS = OWN_PARTS | {"tokenizations"}


def add_dataset(
    session: Session, settings: Settings, wanted: DatasetCreate, *, any_folder: bool = False
) -> tuple[Dataset, Job]:
    """Note a data set and queue the job that imports it.

    `any_folder` lifts the limit to `settings.import_folders` (for the command line). Raises StudioError for a path
    that is not there, empty or not allowed, Conflict `name_taken`, and what a recipe for its text is refused for.
    """
    source, path = located(settings, wanted.source, wanted.upload, any_folder=any_folder)
    if path is None:
        return _note(session, new_id("ds"), wanted, source.repo.rpartition("/")[2], source)
    if wanted.upload is None:
        return _note(session, new_id("ds"), wanted, plain_stem(path), source)
    if session.get(Dataset, wanted.upload) is not None:
        raise Conflict("upload_used", "This upload is a data set already.", hint="Look in the list.")
    added = _note(session, wanted.upload, wanted, plain_stem(path), source)
    # From now on the file is the data set's, no longer an upload that anybody may discard.
    after_commit(session, lambda: (path.parent / "upload.json").unlink(missing_ok=True))
    return added


def located(
    settings: Settings, source: Any, upload: str | None, *, any_folder: bool = False
) -> tuple[Any, Path | None]:
    """A source with its whole path, and that path; no path for one on the hub.

    Raises StudioError as `local_file` and `local_folder` do; NotFound, Conflict `upload_unfinished`.
    """
    if isinstance(source, HubSource):
        return source, None
    if upload is not None:
        from mistudio.datasets.uploads import finished_upload

        path = finished_upload(settings, upload)
        return source.model_copy(update={"path": path.name, "uploaded": True}), path
    if isinstance(source, FolderSource):
        from mistudio.datasets.readers import folder_files

        path = local_folder(settings, source.path, any_folder=any_folder)
        folder_files(path, source)
        return source.model_copy(update={"path": str(path)}), path
    path = local_file(settings, source.path, any_folder=any_folder)
    return source.model_copy(update={"path": str(path), "uploaded": False}), path


def plain_stem(path: Path) -> str:
    """A file's or folder's name without its endings: `rows` of `rows.jsonl.gz`."""
    return path.name if path.is_dir() else Path(unpacked_name(path.name)).stem


def add_upload(
    session: Session,
    settings: Settings,
    stored: Path,
    source: FileSource,
    *,
    name: str | None = None,
    text_column: str | None = None,
) -> tuple[Dataset, Job]:
    """Note a data set whose file `receive_upload` has stored. Raises Conflict `name_taken`."""
    source = source.model_copy(update={"path": stored.name, "uploaded": True})
    wanted = DatasetCreate(name=name, source=source, text_column=text_column)
    return _note(session, stored.parent.name, wanted, plain_stem(stored), source)


def _note(
    session: Session, dataset_id: str, wanted: DatasetCreate, default: str, source: Any
) -> tuple[Dataset, Job]:
    compose = wanted.compose
    if compose is not None:
        from mistudio.datasets.composing import resolve_recipe

        compose = compose.model_copy(update={"recipe": resolve_recipe(session, compose.recipe)})
    dataset = Dataset(
        id=dataset_id,
        name=choose_name(session, Dataset.name, wanted.name, default),
        source=source.model_dump(mode="json"),
        text_column=wanted.text_column,
    )
    dataset.tag_rows = [DatasetTag(tag=tag) for tag in sorted(set(wanted.tags))]
    add_row(session, dataset)
    job = submit(
        session,
        "datasets.import",
        subject=f"datasets/{dataset.id}",
        title=f"Import {dataset.name}",
        params=ImportParams(dataset_id=dataset.id, compose=compose),
    )
    return dataset, job


def receive_upload(settings: Settings, file: BinaryIO, filename: str | None) -> Path:
    """Store an uploaded file in the folder of a data set to be; nothing stays when it fails.

    Raises StudioError `file_empty`, `upload_too_large`; `DiskFull`.
    """
    folder = owner_folder(settings.data_dir, "uploads", new_id("ds"))
    target = folder / (safe_name(filename) or "upload")
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True)
            with target.open("wb") as out:
                shutil.copyfileobj(file, out, 1 << 20)
        size = target.stat().st_size
        if size == 0:
            raise StudioError("file_empty", f"The file “{target.name}” is empty.", fields={"file": "empty"})
        if size > settings.max_upload_bytes:
            raise too_large(settings, size)
    except BaseException:
        delete_folder(settings.data_dir, folder)
        raise
    return target


def safe_name(filename: str | None) -> str:
    """The last part of a client's file name, without anything that could leave its folder."""
    last = (filename or "").replace("\\", "/").rpartition("/")[2].strip()
    return "" if last.startswith(".") else "".join(c for c in last if c.isprintable())[:150]


def file_source(
    path: str,
    format: FileFormat | None = None,
    *,
    documents: str | None = None,
    delimiter: str | None = None,
    max_rows: int | None = None,
) -> FileSource:
    """The source for a file: its format as given, else by its ending. Raises StudioError `format_unknown`."""
    kind = format or format_of(path)
    common: dict[str, Any] = {"path": path, "max_rows": max_rows}
    if kind == "text":
        return TextSource.model_validate(common | ({"documents": documents} if documents else {}))
    if kind == "jsonl":
        return JsonLinesSource.model_validate(common)
    if kind == "csv":
        return CsvSource.model_validate(common | {"delimiter": delimiter or delimiter_of(path)})
    if kind == "parquet":
        return ParquetSource.model_validate(common)
    raise StudioError(
        "format_unknown",
        f"“{Path(path).name}” does not tell its format by its ending.",
        hint=f"Say which it is: text, jsonl, csv or parquet (known endings: {', '.join(FORMATS)}, each also with .gz, "
        ".zst or .zip).",
        fields={"format": "unknown"},
    )


def get_dataset(session: Session, dataset_id: str) -> Dataset:
    """The data set of this id. Raises NotFound."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise NotFound("dataset", dataset_id)
    return dataset


def ready_dataset(session: Session, dataset_id: str) -> Dataset:
    """As `get_dataset`, and its rows are there. Raises Conflict `dataset_not_ready`."""
    dataset = get_dataset(session, dataset_id)
    if not dataset.ready:
        raise Conflict(
            "dataset_not_ready",
            f"The data set “{dataset.name}” is not complete.",
            hint="Wait for the job that imports it, or retry that job if it failed.",
        )
    return dataset


def change_dataset(session: Session, dataset_id: str, change: DatasetChange) -> Dataset:
    """Rename a data set, choose its text column, star or tag it.

    Raises Conflict `name_taken`, StudioError `no_text_column`.
    """
    dataset = get_dataset(session, dataset_id)
    if change.name is not None:
        dataset.name = choose_name(session, Dataset.name, change.name, "", Dataset.id != dataset.id)
    if change.text_column is not None:
        ready_dataset(session, dataset_id)
        types = {column["name"]: column["type"] for column in dataset.columns}
        dataset.text_column = choose_text_column(dataset.name, types, change.text_column)
    if change.favourite is not None:
        dataset.favourite = change.favourite
    if change.tags is not None:
        kept = {row.tag: row for row in dataset.tag_rows}
        dataset.tag_rows = [kept.get(tag) or DatasetTag(tag=tag) for tag in sorted(set(change.tags))]
    session.flush()
    return dataset


def column_types(schema: Any) -> dict[str, str]:
    """Column names and types of an Arrow schema as people know them."""
    return {field.name: _shown_type(field.type) for field in schema}


def _shown_type(kind: Any) -> str:
    return str(kind).replace("large_string", "string").replace("large_list", "list").replace("item: ", "")


def text_column_of(types: dict[str, str]) -> str:
    """The column that is the text when nobody says which. Raises StudioError `no_text_column`."""
    return choose_text_column("It", types, None)


def choose_text_column(name: str, types: dict[str, str], wanted: str | None) -> str:
    """The column that holds the text: `wanted`, else `text`, else the only column of strings.

    `types` maps column names to their types. Raises StudioError `no_text_column` naming the columns found.
    """
    strings = [column for column, kind in types.items() if kind == "string"]
    if wanted is None:
        if "text" in strings:
            return "text"
        if len(strings) == 1:
            return strings[0]
    elif wanted in strings:
        return wanted
    columns = ", ".join(f"{column} ({kind})" for column, kind in types.items())
    if wanted is not None and wanted in types:
        message = f"The column “{wanted}” of {name} holds no text but {types[wanted]}."
    elif wanted is not None:
        message = f"{name} has no column “{wanted}”."
    elif not strings:
        message = f"{name} has no column of text."
    else:
        message = f"{name} has several columns of text: which one is meant?"
    raise StudioError(
        "no_text_column",
        message,
        hint=f"Its columns are {columns}. Name the one to use as text_column."
        if strings
        else f"Its columns are {columns}.",
        fields={"text_column": "choose a column of strings"},
    )


def delete_dataset(
    session: Session, settings: Settings, dataset_id: str, *, force: bool = False
) -> list[tuple[str, str]]:
    """Delete a data set with its tokenizations. Raises Conflict `in_use` while trainings or caches use those."""
    dataset = get_dataset(session, dataset_id)
    for survey in SURVEYS:
        cancel_subject(session, f"{survey}/{dataset.id}")
    return delete_owner(
        session, settings, "datasets", dataset.id, name=dataset.name, force=force, parts=PARTS
    )


def datasets_out(session: Session, datasets: Sequence[Dataset]) -> list[DatasetOut]:
    """Data sets as they cross the API, each with its latest job and the number of its tokenizations."""
    jobs = latest_jobs(session, [f"datasets/{dataset.id}" for dataset in datasets])
    ids = [dataset.id for dataset in datasets]
    counted = session.execute(
        select(Tokenization.dataset_id, func.count())
        .where(Tokenization.dataset_id.in_(ids))
        .group_by(Tokenization.dataset_id)
    )
    counts: dict[str, int] = {row[0]: row[1] for row in counted}
    found = [DatasetOut.model_validate(dataset) for dataset in datasets]
    for out in found:
        out.tokenization_count = counts.get(out.id, 0)
        if job := jobs.get(f"datasets/{out.id}"):
            out.job = JobOut.model_validate(job)
    return found


def dataset_folder(settings: Settings, dataset_id: str) -> Path:
    """Where a data set's rows are."""
    return owner_folder(settings.data_dir, "datasets", dataset_id)


def upload_path(settings: Settings, dataset_id: str, name: str) -> Path:
    """Where the uploaded file of a data set waits for its import."""
    return owner_folder(settings.data_dir, "uploads", dataset_id) / Path(name).name
