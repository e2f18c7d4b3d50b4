"""A text column in slices of about a megabyte, and single rows of it from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mistudio.datasets.text_store import TextStore

SLICE_BYTES = 1 << 20


def slices(column: pa.ChunkedArray, slice_bytes: int = SLICE_BYTES) -> Iterator[pa.LargeStringArray]:
    """The rows of a column of large strings, in order, in arrays of about `slice_bytes` (of one row at least)."""
    held: list[pa.LargeStringArray] = []
    size = 0
    for chunk in column.chunks:
        for part, part_bytes in _parts(chunk, slice_bytes):
            held.append(part)
            size += part_bytes
            if size >= slice_bytes:
                yield held[0] if len(held) == 1 else pa.concat_arrays(held)
                held, size = [], 0
    if held:
        yield held[0] if len(held) == 1 else pa.concat_arrays(held)


def _parts(chunk: pa.LargeStringArray, slice_bytes: int) -> Iterable[tuple[pa.LargeStringArray, int]]:
    if not len(chunk):
        return
    offsets = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    start = 0
    while start < len(chunk):
        end = int(np.searchsorted(offsets, offsets[start] + slice_bytes, side="left"))
        end = min(max(end, start + 1), len(chunk), start + 100_000)
        yield chunk.slice(start, end - start), int(offsets[end] - offsets[start])
        start = end


def texts_at(store: TextStore, column: str, rows: NDArray[np.int64]) -> pa.LargeStringArray:
    """The texts of these rows (ascending), read without the ones between; a missing text is empty."""
    found: list[pa.LargeStringArray] = []
    start = 0
    for first, table in store.tables():
        end = int(np.searchsorted(rows, first + table.num_rows))
        if end > start:
            found += _taken(table.column(column), rows[start:end] - first)
        start = end
        if start == len(rows):
            break
    return pa.concat_arrays(found) if found else pa.array([], pa.large_string())


def _taken(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> Iterator[pa.LargeStringArray]:
    # Taking from a chunked array as a whole would join its chunks first, which copies the shard.
    start = first = 0
    for chunk in column.chunks:
        end = int(np.searchsorted(rows, first + len(chunk)))
        if end > start:
            yield chunk.take(pa.array(rows[start:end] - first)).fill_null("")
        start, first = end, first + len(chunk)
