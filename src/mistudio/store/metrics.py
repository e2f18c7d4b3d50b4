"""Metric logs: one growing file of fixed-size records, (step, tokens, time, named values).

    "MSMETRIC" · uint32 length of the header · header (JSON: the names) · records
    record = step int64 · tokens int64 · time float64 · values float64 … · check uint64

The check is the exclusive-or of the record's other words with a constant, so that a record that was torn,
or came out of a crash as zeros, is known without reading anything else.
"""

import json
import os
import time as clock
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from mistudio.store.atomic import atomic_file
from mistudio.store.errors import TornFile, disk_errors
from mistudio.store.npy import Array

_MAGIC = b"MSMETRIC"
_CHECK = np.uint64(0x9E3779B97F4A7C15)
_FIXED = {"step": "<i8", "tokens": "<i8", "time": "<f8"}
_ALIGN = 64


class MetricLog:
    """Appends metric points to a log, made when it is not there; a torn last record is cut off.

    Points are buffered and written with one write each `flush_seconds`, at `flush`, `sync` and `close`.
    Raises ValueError when an existing log has other columns, `TornFile` when it is damaged inside.
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str], flush_seconds: float = 1.0
    ) -> None:
        self.path = Path(path)
        self.columns = list(columns)
        if len({*self.columns, *_FIXED}) != len(self.columns) + len(_FIXED):
            raise ValueError(f"Metric names must be unique and none of {', '.join(_FIXED)}: {self.columns}.")
        if not self.path.exists():
            with atomic_file(self.path) as file:
                file.write(_header(self.columns))
        stored, begin = _read_header(self.path)
        if stored != self.columns:
            raise ValueError(f"{self.path} holds the metrics {stored}, not {self.columns}.")
        self._begin = begin
        self._dtype = _record(stored)
        self._rows = len(_records(self.path, begin, self._dtype))
        self._buffer: list[tuple[float, ...]] = []
        self._flush_seconds = flush_seconds
        self._flushed_at = clock.monotonic()
        self._file: BinaryIO = self.path.open("r+b", buffering=0)
        self._cut(self._rows)

    def __len__(self) -> int:
        """Points appended so far, the buffered ones included."""
        return self._rows + len(self._buffer)

    def append(self, step: int, tokens: int, values: Mapping[str, float], time: float | None = None) -> None:
        """Append one point; `time` in seconds since 1970 (now), values that are not given become NaN."""
        unknown = values.keys() - set(self.columns)
        if unknown:
            raise ValueError(
                f"{', '.join(sorted(unknown))} is no column of {self.path}: it has {self.columns}."
            )
        at = clock.time() if time is None else time
        row = (step, tokens, at, *(float(values.get(name, np.nan)) for name in self.columns), 0)
        self._buffer.append(row)
        if clock.monotonic() - self._flushed_at >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Write the buffered points with one write. Raises `DiskFull`; the log then ends at a whole point."""
        self._flushed_at = clock.monotonic()
        if not self._buffer:
            return
        records = np.array(self._buffer, self._dtype)
        words = records.view("<u8").reshape(len(records), -1)
        words[:, -1] = _checks(words)
        content = records.tobytes()
        try:
            with disk_errors(self.path):
                view = memoryview(content)
                while view:
                    view = view[self._file.write(view) :]
        except BaseException:
            self._cut(self._rows)
            raise
        self._rows += len(records)
        self._buffer.clear()

    def sync(self) -> None:
        """Flush, and wait until the disk has it: call it together with a checkpoint."""
        self.flush()
        with disk_errors(self.path):
            os.fsync(self._file.fileno())

    def truncate_after(self, step: int) -> None:
        """Forget all points beyond `step`, as when training resumes from the checkpoint of that step."""
        self.flush()
        steps = _records(self.path, self._begin, self._dtype)["step"]
        beyond = np.flatnonzero(steps > step)
        if len(beyond):
            self._rows = int(beyond[0])
            self._cut(self._rows)

    def close(self) -> None:
        """Flush and close."""
        try:
            if not self._file.closed:
                self.sync()
        finally:
            self._file.close()

    def _cut(self, rows: int) -> None:
        end = self._begin + rows * self._dtype.itemsize
        self._file.truncate(end)
        self._file.seek(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: str | os.PathLike[str], start: int = 0) -> dict[str, Array]:
    """Columns of a log from point `start` on: step and tokens int64 [n], time and values float64 [n].

    Safe while another process appends: a record that is not whole yet is left out.
    Raises `TornFile` when the file is missing, no metric log, or damaged before its end.
    """
    columns, begin = _read_header(Path(path))
    records = _records(Path(path), begin, _record(columns), start)
    return {name: np.ascontiguousarray(records[name]) for name in (*_FIXED, *columns)}


def downsample(columns: Mapping[str, Array], n: int) -> dict[str, Array]:
    """At most `n` (≥ 4) points that keep what a curve shows: each column's minimum and maximum per bucket.

    The points are cut into n/2 buckets of equal size. Each bucket gives two points: at its first and its
    last step stand, for every value column, its minimum and its maximum in the order in which they came
    (NaN is passed over while a bucket holds anything else). step, tokens and time are those of the two ends.
    """
    if n < 4:
        raise ValueError(f"A curve needs at least 4 points, not {n}.")
    rows = len(next(iter(columns.values())))
    if rows <= n:
        return {name: np.array(values) for name, values in columns.items()}
    buckets = n // 2
    edges = np.linspace(0, rows, buckets + 1).astype(np.int64)
    first, last = edges[:-1], edges[1:] - 1
    return {
        name: _pairs(values[first], values[last]) if name in _FIXED else _extremes(values, edges)
        for name, values in columns.items()
    }


def _extremes(values: Array, edges: Array) -> Array:
    low = np.fmin.reduceat(values, edges[:-1])
    high = np.fmax.reduceat(values, edges[:-1])
    sizes = np.diff(edges)
    rows = np.arange(len(values))
    first_low = np.minimum.reduceat(np.where(values == np.repeat(low, sizes), rows, len(values)), edges[:-1])
    first_high = np.minimum.reduceat(
        np.where(values == np.repeat(high, sizes), rows, len(values)), edges[:-1]
    )
    falling = first_high < first_low
    return _pairs(np.where(falling, high, low), np.where(falling, low, high))


def _pairs(left: Array, right: Array) -> Array:
    return np.stack([left, right], axis=1).reshape(-1)


def _record(columns: Sequence[str]) -> np.dtype[Any]:
    fields = [*_FIXED.items(), *((name, "<f8") for name in columns), (" check", "<u8")]
    return np.dtype(fields)


def _checks(words: Array) -> Array:
    return np.bitwise_xor.reduce(words[:, :-1], axis=1) ^ _CHECK


def _header(columns: Sequence[str]) -> bytes:
    text = json.dumps({"version": 1, "columns": list(columns)}).encode()
    text += b" " * (-(len(_MAGIC) + 4 + len(text)) % _ALIGN)
    return _MAGIC + len(text).to_bytes(4, "little") + text


def _read_header(path: Path) -> tuple[list[str], int]:
    """The value columns and the offset of the first record."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC) + 4)
            size = int.from_bytes(start[len(_MAGIC) :], "little")
            text = file.read(size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TornFile(path, "is missing") from error
    if not start.startswith(_MAGIC):
        raise TornFile(path, "is no metric log")
    try:
        return list(json.loads(text)["columns"]), len(start) + size
    except (ValueError, KeyError, TypeError) as error:
        raise TornFile(path, "is torn: its header is not whole") from error


def _records(path: Path, begin: int, dtype: np.dtype[Any], start: int = 0) -> Array:
    """Whole records from `start` on; invalid ones are passed over at the end only."""
    # Read, not mapped: a training that resumes cuts the file, and a mapping would then kill its reader.
    records: Array = np.fromfile(path, dtype, offset=begin + start * dtype.itemsize)
    rows = len(records)
    if not rows:
        return records
    words = records.view("<u8").reshape(rows, -1)
    valid = _checks(words) == words[:, -1]
    if valid.all():
        return records
    whole = int(np.argmin(valid))
    if valid[whole:].any():
        raise TornFile(path, f"has changed since it was written: point {start + whole:,} is damaged")
    return records[:whole]
