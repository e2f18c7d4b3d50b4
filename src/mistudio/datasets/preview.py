"""Looking at a source before it is added: what it says of itself, its columns, its first rows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa

from mistudio.datasets.library import column_types, text_column_of
from mistudio.datasets.preview_schemas import DatasetPreview
from mistudio.datasets.recipes import chat_columns, renderer
from mistudio.datasets.rows import row_out
from mistudio.datasets.schemas import ColumnOut, DatasetSource, HubSource, Recipe
from mistudio.datasets.sources import open_source
from mistudio.datasets.text_store import plain, unified
from mistudio.errors import StudioError
from mistudio.settings import Settings

CHARACTERS = 600
DOCUMENT_CHARACTERS = 100_000


def preview_source(
    settings: Settings,
    source: DatasetSource,
    path: Path | None,
    *,
    rows: int,
    recipe: Recipe | None = None,
) -> DatasetPreview:
    """What would be added: at most the first `rows` rows are read, of a hub data set by ranges of its first file.

    Raises StudioError as an import does, for what shows in the first rows, and as `renderer` for the recipe.
    """
    found = open_source(settings, source, path, first=True)
    found.reading.batch_rows, found.reading.frugal = rows, True
    found.reading.document_characters = DOCUMENT_CHARACTERS
    batches: list[pa.RecordBatch] = []
    left = rows
    with closing(found.reading.read(found.files, found.unpacking)) as reader:
        for batch, _ in reader:
            batches.append(plain(batch.slice(0, left)))
            left -= batches[-1].num_rows
            if left <= 0:
                break
    schema = unified([batch.schema for batch in batches])
    types = {
        name: str(found.reading.types().get(name, kind)) if kind == "string" else kind
        for name, kind in column_types(schema).items()
    }
    items = [row for batch in batches for row in batch.to_pylist()]
    on_hub = found.on_hub
    make = renderer(settings, recipe, types) if recipe is not None else None
    try:
        text_column = text_column_of(types)
    except StudioError:
        text_column = None
    return DatasetPreview(
        name=_name(source, path),
        about=found.about,
        card=on_hub.repository.card if on_hub else None,
        config=on_hub.config if on_hub else None,
        split=on_hub.split if on_hub else None,
        columns=[ColumnOut(name=name, type=kind) for name, kind in types.items()],
        chat_columns=chat_columns(schema),
        text_column=text_column,
        rows=[row_out(index, row, CHARACTERS) for index, row in enumerate(items)],
        texts=[make(row) for row in items] if make is not None else None,
        free_bytes=_free(settings),
    )


def _name(source: DatasetSource, path: Path | None) -> str:
    if isinstance(source, HubSource):
        return source.repo.rpartition("/")[2]
    return path.name if path is not None else ""


def _free(settings: Settings) -> int:
    import shutil

    return shutil.disk_usage(settings.data_dir).free
