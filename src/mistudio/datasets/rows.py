"""Rows for looking at: paged, searched, one at a time, long texts cut to a window."""

from __future__ import annotations

import base64
import math
import random
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from mistudio.datasets.library import dataset_folder
from mistudio.datasets.schemas import CutOut, RowOut, RowPage
from mistudio.datasets.tables import Dataset
from mistudio.datasets.text_store import TextStore
from mistudio.errors import StudioError
from mistudio.settings import Settings

_BEFORE_MATCH = 200


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
    characters: int = 2000,
) -> RowPage:
    """Rows from `offset` on; with `q` the next `limit` rows whose text holds it (ignoring case).

    Texts longer than `characters` are cut, around the match where there is one.
    """
    if q:
        found = store.search(text_column, q, offset, limit + 1)
        items = [
            row_out(index, store.rows(index, 1)[0], characters, (text_column, q)) for index in found[:limit]
        ]
        more = len(found) > limit
        total = len(found) if offset == 0 and not more else None
        return RowPage(items=items, total=total, next_offset=found[limit] if more else None)
    rows = store.rows(offset, limit)
    end = offset + len(rows)
    return RowPage(
        items=[row_out(offset + i, row, characters) for i, row in enumerate(rows)],
        total=store.n_rows,
        next_offset=end if rows and end < store.n_rows else None,
    )


def one_row(store: TextStore, index: int) -> RowOut:
    """A whole row. Raises StudioError `row_not_found`."""
    if not 0 <= index < store.n_rows:
        raise StudioError(
            "row_not_found", f"There is no row {index:,}; rows are 0 to {store.n_rows - 1:,}.", status=404
        )
    return row_out(index, store.rows(index, 1)[0], None)


def random_row(store: TextStore) -> RowOut:
    """A whole row, any."""
    return one_row(store, random.randrange(store.n_rows))


def row_out(
    index: int, row: dict[str, Any], characters: int | None, match: tuple[str, str] | None = None
) -> RowOut:
    """A row as it crosses the API."""
    out = RowOut(index=index, values={})
    for name, value in row.items():
        if characters is not None and isinstance(value, str) and len(value) > characters:
            at = value.lower().find(match[1].lower()) if match and match[0] == name else 0
            start = max(0, min(at - _BEFORE_MATCH, len(value) - characters))
            out.cut[name] = CutOut(start=start, length=len(value))
            value = value[start : start + characters]
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
