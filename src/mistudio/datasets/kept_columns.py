"""Columns of a data set kept with a tokenization: their values in each row in which a sequence begins.

They are copied into the token store, `kept.arrow`: the row's number, ascending, and a column for each that was wanted.
So they stay as they were when the tokens were made, whatever becomes of the data set's columns afterwards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mistudio.store.atomic import atomic_file
from mistudio.store.errors import TornFile

if TYPE_CHECKING:
    import pyarrow as pa

    from mistudio.datasets.text_store import TextStore

Array = np.ndarray[Any, np.dtype[Any]]
FILE = "kept.arrow"
MOST_CHARACTERS = 1_000
"""Of each value: longer texts are cut to this."""
_BATCH_ROWS = 10_000


def keep_columns(
    texts: TextStore,
    columns: Sequence[str],
    begun: Array,
    folder: Path,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Copy the values of `columns` in the rows where `begun` (bool, [n_rows]) into `folder`.

    `tick()` is called between batches; what it raises leaves nothing. Raises `DiskFull`.
    """
    import pyarrow as pa

    kinds = [texts.schema.field(name).type for name in columns]
    fields = [
        pa.field(name, kind if _is_small(kind) else pa.large_string())
        for name, kind in zip(columns, kinds, strict=True)
    ]
    # Columns are told by their places, so that one of the data set may be called “row” too.
    schema = pa.schema([pa.field("row", pa.uint64()), *fields])
    with (
        atomic_file(folder / FILE, make_parents=False) as file,
        pa.ipc.new_file(pa.PythonFile(file, "w"), schema) as writer,
    ):
        for first, table in texts.tables(once=True):
            for batch in table.select(list(columns)).to_batches(max_chunksize=_BATCH_ROWS):
                here = np.flatnonzero(begun[first : first + batch.num_rows])
                if len(here):
                    values = [_bounded(column.take(pa.array(here))) for column in batch.columns]
                    rows = pa.array(first + here, pa.uint64())
                    writer.write_batch(pa.RecordBatch.from_arrays([rows, *values], schema=schema))
                first += batch.num_rows
                tick()
            if first >= len(begun):
                break


def _is_small(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_primitive(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind)


def _bounded(column: pa.Array) -> pa.Array:
    """Numbers, dates and the like as they are, all else as text that is not long."""
    import pyarrow as pa
    import pyarrow.compute

    from mistudio.datasets.text_store import as_string

    pc: Any = pyarrow.compute
    if _is_small(column.type):
        return column
    if not pa.types.is_large_string(column.type):
        column = pa.array([as_string(value) for value in column.to_pylist()], pa.large_string())
    return pc.utf8_slice_codeunits(column, 0, MOST_CHARACTERS)


class KeptColumns:
    """The columns that were kept with a tokenization, mapped. Raises `TornFile` for a damaged file."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        path = folder / FILE
        try:
            self._batches = pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_batches()
        except (pa.ArrowInvalid, OSError) as error:
            raise TornFile(path, "is torn: it is not a whole Arrow file") from error
        self._firsts: list[int] = [batch.column(0)[0].as_py() for batch in self._batches]

    def of(self, row: int) -> dict[str, Any]:
        """The values kept of a row; nothing where no sequence begins in it."""
        which = bisect_right(self._firsts, row) - 1
        if which < 0:
            return {}
        batch = self._batches[which]
        rows: Array = batch.column(0).to_numpy()
        at = int(np.searchsorted(rows, row))
        if at == len(rows) or int(rows[at]) != row:
            return {}
        names = batch.schema.names[1:]
        return {name: batch.column(number)[at].as_py() for number, name in enumerate(names, 1)}
