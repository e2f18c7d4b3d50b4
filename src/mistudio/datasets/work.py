"""What the job `datasets.import` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from mistudio.datasets.composing import make_column, new_column, note_made
from mistudio.datasets.hub_fetch import FirstRows, bring_whole
from mistudio.datasets.library import choose_text_column, column_types, dataset_folder, get_dataset
from mistudio.datasets.recipes import renderer
from mistudio.datasets.schemas import ColumnCreate, DatasetSource, HubSource, ImportParams
from mistudio.datasets.sources import Readable, open_source
from mistudio.datasets.surveys import survey_on_arrival
from mistudio.datasets.tables import Dataset
from mistudio.datasets.text_store import TextStore, TextWriter, plain
from mistudio.db import new_id
from mistudio.errors import StudioError
from mistudio.hub.arrivals import arriving
from mistudio.jobs import JobContext
from mistudio.models.subjects import announce_changed, working_for
from mistudio.store import FolderDraft, delete_folder, folder_bytes, sweep_temporaries

_FIRST_ROWS = 20


@dataclass
class _Wanted:
    """What a data set's row says that is to be made."""

    name: str
    source: Any
    text_column: str | None
    compose: ColumnCreate | None
    waiting: Path
    """Where the upload waits, or what has been downloaded so far."""


def import_dataset(context: JobContext, params: ImportParams) -> dict[str, Any]:
    """Read the source into shards of rows, which appear whole or not at all."""
    with context.database.reading() as session:
        row = get_dataset(session, params.dataset_id)
        name, text_column = row.name, row.text_column
        source: Any = TypeAdapter(DatasetSource).validate_python(row.source)
    folder = dataset_folder(context.settings, params.dataset_id)
    with (
        arriving(context, params.dataset_id, "uploads" if _is_upload(source) else "downloads") as waiting,
        working_for(context, Dataset, params.dataset_id, folder),
    ):
        wanted = _Wanted(name, source, text_column, params.compose, waiting)
        found = _fetch(context, wanted, folder)
        composed = _compose(context, wanted, folder, found)
        with context.database.session() as session:
            dataset = get_dataset(session, params.dataset_id)
            for column, value in found.items():
                setattr(dataset, column, value)
            if wanted.compose is not None:
                column = new_column(session, composed[0], dataset.id, wanted.compose)
                note_made(session, column, composed[1], use_as_text=True)
            survey_on_arrival(session, context.settings, dataset)
    announce_changed(context, "datasets", params.dataset_id)
    return {"rows": found["rows"], "bytes": found["bytes"]}


def _fetch(context: JobContext, wanted: _Wanted, folder: Path) -> dict[str, Any]:
    """Make the folder, whole or not at all; returns the columns of the row."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder.parent)
    delete_folder(context.data_dir, folder)  # of an attempt that died between its last two steps
    source, path = wanted.source, None
    if isinstance(source, HubSource):
        context.progress(0, None, "bytes", "Look at the repository")
    else:
        path = wanted.waiting / Path(source.path).name if _is_upload(source) else Path(source.path)
    found = open_source(
        context.settings, source, path, log=lambda line: context.log(line, "warning" if path else "info")
    )
    draft = FolderDraft(folder)
    writer = TextWriter(draft.path)
    try:
        types = column_types(_write(context, wanted, found, writer))
        text_column = None if wanted.compose else choose_text_column(wanted.name, types, wanted.text_column)
        context.check()
        draft.commit()
    except BaseException:
        writer.close()
        draft.abort()
        raise
    return {
        "columns": [{"name": column, "type": kind} for column, kind in types.items()],
        "text_column": text_column,
        "rows": writer.rows,
        "bytes": folder_bytes(folder),
        "about": found.about.model_dump(mode="json"),
        "card": found.on_hub.repository.card if found.on_hub is not None else None,
    }


def _write(context: JobContext, wanted: _Wanted, found: Readable, writer: TextWriter) -> pa.Schema:
    limit, first = wanted.source.max_rows, None
    if found.on_hub is not None and limit is None:
        _check_first_rows(context, wanted, found)
        bring_whole(context, found, found.on_hub, wanted.waiting)
    elif found.on_hub is not None:
        first = FirstRows(context, found, found.on_hub, wanted.waiting, limit)
    try:
        for batch in _batches(context, found, first):
            if writer.rows == 0 and batch.num_rows and found.files[0].name.lower().endswith(".parquet"):
                _check_columns(context, wanted, plain(batch).schema)  # before gigabytes are read in vain
            left = batch.num_rows if limit is None else limit - writer.rows
            writer.write(batch.slice(0, left))
            if limit is not None and writer.rows >= limit:
                break
    except StudioError:
        if first is not None:
            first.check()  # which says so when not the file is at fault but its way here
        raise
    if first is not None:
        first.finish()
    if writer.rows == 0:
        raise StudioError(
            "dataset_empty",
            f"{wanted.name} holds no rows.",
            hint="Choose a file, split or configuration with text in it.",
        )
    return writer.finish(found.reading.types())


def _batches(context: JobContext, found: Readable, first: FirstRows | None) -> Iterator[pa.RecordBatch]:
    """All batches; progress counts the bytes of the files."""
    total, rows = sum(file.size for file in found.files), 0
    if first is None:
        context.progress(0, total, "bytes", "Read")
    with closing(found.reading.read(found.files, found.unpacking)) as reader:
        for batch, done in reader:
            rows += batch.num_rows
            if first is not None:
                first.saw(rows, done)
            yield batch
            if first is None:
                context.progress(min(done, total), total, "bytes", "Read")


def _check_first_rows(context: JobContext, wanted: _Wanted, found: Readable) -> None:
    """Where the columns are fixed from the first row on, read it before everything is downloaded."""
    if not found.files[0].name.lower().endswith(".parquet"):
        return
    rows, found.reading.batch_rows = found.reading.batch_rows, _FIRST_ROWS
    with closing(found.reading.read(found.files[:1], found.unpacking)) as reader:
        for batch, _ in reader:
            _check_columns(context, wanted, plain(batch).schema)
            break
    found.reading.batch_rows = rows


def _check_columns(context: JobContext, wanted: _Wanted, schema: pa.Schema) -> None:
    types = column_types(schema)
    if wanted.compose is not None:
        _check_name(wanted, types)
        renderer(context.settings, wanted.compose.recipe, types)
    else:
        choose_text_column(wanted.name, types, wanted.text_column)


def _compose(context: JobContext, wanted: _Wanted, folder: Path, found: dict[str, Any]) -> tuple[str, int]:
    """The text composed from the columns, where that is wanted: its id and its bytes on disk."""
    if wanted.compose is None:
        return "", 0
    names = [column["name"] for column in found["columns"]]
    id = new_id("dc")
    try:
        _check_name(wanted, names)
        size = make_column(context, TextStore(folder), id, wanted.compose.name, wanted.compose.recipe, names)
    except BaseException:
        delete_folder(context.data_dir, folder)
        raise
    return id, size


def _check_name(wanted: _Wanted, names: Iterable[str]) -> None:
    if wanted.compose is not None and wanted.compose.name in set(names):
        raise StudioError(
            "name_taken",
            f"{wanted.name} has a column “{wanted.compose.name}” already.",
            hint="Give the composed text another name.",
            status=409,
        )


def _is_upload(source: Any) -> bool:
    return bool(getattr(source, "uploaded", False))
