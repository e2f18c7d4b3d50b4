"""What the jobs `datasets.import` and `datasets.tokenize` do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from mistudio.datasets import readers
from mistudio.datasets.library import choose_text_column, dataset_folder, get_dataset, upload_path
from mistudio.datasets.schemas import (
    CsvSource,
    DatasetSource,
    FolderSource,
    HubSource,
    ImportParams,
    JsonLinesSource,
    TextSource,
    TokenizationSettings,
    TokenizeParams,
)
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.text_store import TextStore, TextWriter, plain
from mistudio.datasets.tokenizations import get_tokenization
from mistudio.datasets.tokenize import open_tokens, tokenization_folder, tokenize_texts
from mistudio.errors import StudioError
from mistudio.jobs import JobCancelled, JobContext
from mistudio.models.library import open_tokenizer
from mistudio.models.subjects import announce_changed, working_for
from mistudio.store import FolderDraft, delete_folder, folder_bytes, is_finished, sweep_temporaries


def import_dataset(context: JobContext, params: ImportParams) -> dict[str, Any]:
    """Read the source into shards of rows, which appear whole or not at all."""
    with context.database.reading() as session:
        row = get_dataset(session, params.dataset_id)
        source: Any = TypeAdapter(DatasetSource).validate_python(row.source)
        name, wanted = row.name, row.text_column
    uploaded = upload_path(context.settings, params.dataset_id, source.path) if _is_upload(source) else None
    folder = dataset_folder(context.settings, params.dataset_id)
    try:
        with working_for(context, Dataset, params.dataset_id, folder):
            found = _fetch(context, source, uploaded, folder, name, wanted)
            with context.database.session() as session:
                dataset = get_dataset(session, params.dataset_id)
                for column, value in found.items():
                    setattr(dataset, column, value)
    except (StudioError, JobCancelled):
        # A retry can mend neither a faulty upload nor a cancelled one; after anything else it may.
        if uploaded is not None:
            delete_folder(context.data_dir, uploaded.parent)
        raise
    if uploaded is not None:
        delete_folder(context.data_dir, uploaded.parent)
    announce_changed(context, "datasets", params.dataset_id)
    return {"rows": found["rows"], "bytes": found["bytes"]}


def _fetch(
    context: JobContext, source: Any, uploaded: Path | None, folder: Path, name: str, wanted: str | None
) -> dict[str, Any]:
    """Make the folder, whole or not at all; returns the columns of the row."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder.parent)
    delete_folder(context.data_dir, folder)  # of an attempt that died between its last two steps
    draft = FolderDraft(folder)
    writer = TextWriter(draft.path)
    try:
        types = column_types(_import(context, source, uploaded, writer, name, wanted))
        text_column = choose_text_column(name, types, wanted)
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
    }


def _import(
    context: JobContext, source: Any, uploaded: Path | None, writer: TextWriter, name: str, wanted: str | None
) -> pa.Schema:
    types: dict[str, pa.DataType] = {}
    fixed = source.kind in ("hub", "parquet")
    for batch in _batches(context, source, uploaded, types):
        if writer.rows == 0 and batch.num_rows and fixed:
            choose_text_column(
                name, column_types(plain(batch).schema), wanted
            )  # before gigabytes are read in vain
        left = batch.num_rows if source.max_rows is None else source.max_rows - writer.rows
        writer.write(batch.slice(0, left))
        if source.max_rows is not None and writer.rows >= source.max_rows:
            break
    if writer.rows == 0:
        raise StudioError(
            "dataset_empty",
            f"{name} holds no rows.",
            hint="Choose a file, split or configuration with text in it.",
        )
    return writer.finish(types)


def _batches(
    context: JobContext, source: Any, uploaded: Path | None, types: dict[str, pa.DataType]
) -> Iterator[pa.RecordBatch]:
    if isinstance(source, HubSource):
        yield from _hub_batches(context, source)
        return
    path = uploaded or Path(source.path)
    if not path.exists():
        raise StudioError(
            "path_not_found",
            f"There is nothing at “{source.path}” any more.",
            hint="Upload the file again." if uploaded else "Put it back, then retry.",
        )
    if isinstance(source, FolderSource):
        files = readers.folder_files(path, source)
        total = sum(file.stat().st_size for file in files)
        reader = readers.read_folder(path, source, files, types)
    else:
        total = path.stat().st_size
        if source.kind != "parquet":
            readers.check_utf8(
                path, lambda done: context.progress(done, total, "bytes", "Check the encoding")
            )
        if isinstance(source, TextSource):
            reader = readers.read_text(path, source.documents)
        elif isinstance(source, JsonLinesSource):
            reader = readers.read_jsonl(path, lambda line: context.log(line, "warning"))
        elif isinstance(source, CsvSource):
            reader = readers.read_csv(path, source, types)
        else:
            reader = readers.read_parquet(path)
    context.progress(0, total, "bytes", "Read")
    with closing(reader):
        for batch, done in reader:
            yield batch
            context.progress(min(done, total), total, "bytes", "Read")


def _hub_batches(context: JobContext, source: HubSource) -> Iterator[pa.RecordBatch]:
    from mistudio.datasets.hub import open_hub_stream
    from mistudio.models.work import prepare_hub

    token = prepare_hub(context)
    context.progress(0, None, "bytes", "Look at the repository")
    batches, total = open_hub_stream(
        source, token=token, patience=context.settings.hub_timeout_seconds, log=context.log
    )
    done = rows = 0
    for batch in batches:
        yield batch
        done, rows = done + batch.nbytes, rows + batch.num_rows
        if source.max_rows is not None:
            context.progress(min(rows, source.max_rows), source.max_rows, "rows", "Download")
        else:
            context.progress(done, max(done, total) if total else None, "bytes", "Download")


def _is_upload(source: Any) -> bool:
    return bool(getattr(source, "uploaded", False))


def column_types(schema: pa.Schema) -> dict[str, str]:
    """Column names and types as people know them."""
    return {
        field.name: "string"
        if pa.types.is_large_string(field.type) or pa.types.is_string(field.type)
        else str(field.type)
        for field in schema
    }


def tokenize_dataset(context: JobContext, params: TokenizeParams) -> dict[str, Any]:
    """Tokenize, going on where an earlier attempt was killed."""
    with context.database.reading() as session:
        row = get_tokenization(session, params.tokenization_id)
        settings = TokenizationSettings.model_validate(row.settings)
        model, dataset = row.model, row.dataset
        model_id, model_name, vocab_size = model.id, model.name, model.vocab_size or 0
        dataset_id, column = dataset.id, dataset.text_column or "text"
    folder = tokenization_folder(context.settings, params.tokenization_id)
    texts = TextStore(dataset_folder(context.settings, dataset_id))
    n_rows = min(texts.n_rows, settings.max_rows or texts.n_rows)

    def progress(rows: int, tokens: int) -> None:
        if settings.max_tokens is not None:
            context.progress(tokens, settings.max_tokens, "tokens", "Tokenize")
        else:
            context.progress(min(rows, n_rows), n_rows, "rows", "Tokenize")

    with working_for(context, Tokenization, params.tokenization_id, folder):
        if is_finished(folder):  # by an attempt that died between its last two steps
            delete_folder(context.data_dir, folder)
        try:
            statistics = tokenize_texts(
                texts,
                column,
                open_tokenizer(context.settings, model_id),
                settings,
                folder,
                vocab_size=vocab_size,
                name=model_name,
                progress=progress,
            )
        except (StudioError, JobCancelled):
            delete_folder(context.data_dir, folder)
            raise
        store = open_tokens(context.settings, params.tokenization_id)
        with context.database.session() as session:
            tokenization = get_tokenization(session, params.tokenization_id)
            tokenization.n_sequences, tokenization.n_tokens = store.n_sequences, store.n_tokens
            tokenization.bytes = folder_bytes(folder)
            tokenization.statistics = statistics.model_dump()
    announce_changed(context, "tokenizations", params.tokenization_id)
    announce_changed(context, "datasets", dataset_id)
    return {"sequences": store.n_sequences, "tokens": store.n_tokens}
