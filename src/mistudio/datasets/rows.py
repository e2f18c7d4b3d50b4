"""Rows for looking at: paged, searched, one at a time, long texts cut to a window."""

from __future__ import annotations

import base64
import math
import random
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from mistudio.datasets.library import dataset_folder
from mistudio.datasets.row_search import find_rows, marks_in
from mistudio.datasets.rows_schemas import CutOut, MarkOut, RowOut, RowPage, SearchMode, SearchOrder
from mistudio.datasets.search_index import SearchIndex
from mistudio.datasets.tables import Dataset
from mistudio.datasets.text_store import TextStore
from mistudio.errors import StudioError
from mistudio.settings import Settings

_BEFORE_MATCH = 100


def open_rows(settings: Settings, dataset: Dataset) -> TextStore:
    """The rows of a finished data set. Raises `TornFile`."""
    return TextStore(Path(dataset_folder(settings, dataset.id)))


def page_of_rows(
    store: TextStore,
    text_column: str,
    *,
    offset: int,
    limit: int,
    q: str | None = None,
    mode: SearchMode = "words",
    order: SearchOrder = "row",
    index: SearchIndex | None = None,
    characters: int = 2000,
) -> RowPage:
    """Rows from `offset` on; with `q` the next `limit` rows that match it.

    Texts longer than `characters` are cut, around the first match where there is one. Raises as `find_rows`.
    """
    if q is None or not q.strip():
        rows = store.rows(offset, limit)
        end = offset + len(rows)
        return RowPage(
            items=[row_out(offset + i, row, characters) for i, row in enumerate(rows)],
            total=store.n_rows,
            next_offset=end if rows and end < store.n_rows else None,
        )
    found = find_rows(store, text_column, index, q, mode=mode, order=order, offset=offset, limit=limit)
    rows = [store.rows(number, 1)[0] for number in found.rows]
    texts = [row.get(text_column) or "" for row in rows]
    return RowPage(
        items=[
            row_out(number, row, characters, text_column, marks)
            for number, row, marks in zip(found.rows, rows, found.marks(texts), strict=True)
        ],
        total=found.total,
        at_least=found.at_least,
        next_offset=found.next_offset,
        searched=found.searched,
        note=found.note,
    )


def one_row(
    store: TextStore, index: int, text_column: str = "", q: str | None = None, mode: SearchMode = "words"
) -> RowOut:
    """A whole row, with what matches `q` marked. Raises StudioError `row_not_found`, `query_invalid`."""
    if not 0 <= index < store.n_rows:
        raise StudioError(
            "row_not_found", f"There is no row {index:,}; rows are 0 to {store.n_rows - 1:,}.", status=404
        )
    row = store.rows(index, 1)[0]
    text = row.get(text_column)
    marks = marks_in(text, q, mode) if q and isinstance(text, str) else []
    return row_out(index, row, None, text_column, marks)


def random_row(store: TextStore) -> RowOut:
    """A whole row, any."""
    return one_row(store, random.randrange(store.n_rows))


def row_out(
    index: int,
    row: dict[str, Any],
    characters: int | None,
    text_column: str = "",
    marks: Sequence[tuple[int, int]] = (),
) -> RowOut:
    """A row as it crosses the API; `marks` are places in its text column."""
    out = RowOut(index=index, values={})
    for name, value in row.items():
        start = 0
        if characters is not None and isinstance(value, str) and len(value) > characters:
            first = marks[0][0] if marks and name == text_column else 0
            start = max(0, min(first - _BEFORE_MATCH, len(value) - characters))
            out.cut[name] = CutOut(start=start, length=len(value))
            value = value[start : start + characters]
        if name == text_column and isinstance(value, str):
            shown = ((begin - start, min(end - start, len(value))) for begin, end in marks)
            out.marks = [MarkOut(start=begin, end=end) for begin, end in shown if 0 <= begin < end]
        out.values[name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    """What JSON can hold: bytes as base64, times in ISO format, numbers that JSON lacks as their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if not isinstance(value, Decimal) else format(value, "f")
