"""Metric logs: one growing file of points (step, tokens, time, named values), with an overview beside it.

`metrics.bin` grows record by record while a run goes on; `metrics.bin.overview` follows with a block for every 64
of them, so that a curve of a million points is drawn from its blocks. When the run has ended the log is archived: the
same name then holds the same points compressed (`metric_archive`). Readers do not care which of the two they find.
"""

import fcntl
import os
import time as clock
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from mistudio.store.atomic import atomic_file
from mistudio.store.errors import TornFile, disk_errors
from mistudio.store.metric_archive import archive_bytes, is_archive, read_archive, read_directory
from mistudio.store.metric_records import (
    BLOCK,
    FIXED,
    block_dtype,
    blocks_of,
    header_bytes,
    read_header,
    read_records,
    record_dtype,
    seal,
    whole,
)
from mistudio.store.npy import Array


class MetricLog:
    """Appends metric points to a log, made when it is not there; a torn last record is cut off.

    Points are buffered and written with one write each `flush_seconds`, at `flush`, `sync` and `close`. An archived
    log is unpacked first. Columns that an existing log lacks are added to it, as not measured before. While a log is
    open it is not archived, by whichever process; one that is being archived is waited for.
    Raises ValueError for names that cannot be columns, `TornFile` when the log is damaged inside.
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str], flush_seconds: float = 1.0
    ) -> None:
        self.path = Path(path)
        wanted = list(columns)
        if len({*wanted, *FIXED}) != len(wanted) + len(FIXED):
            raise ValueError(f"Metric names must be unique and none of {', '.join(FIXED)}: {wanted}.")
        self._file: BinaryIO = _opened(self.path, wanted)
        self.columns, self._begin = read_header(self.path)
        self._dtype = record_dtype(self.columns)
        self._rows = len(whole(read_records(self.path, self._begin, self._dtype), self.path))
        self._buffer: list[tuple[float, ...]] = []
        self._flush_seconds = flush_seconds
        self._flushed_at = clock.monotonic()
        self._overview = Overview(self.path, len(self.columns))
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
        records = seal(np.array(self._buffer, self._dtype))
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
        self._tell_overview()

    def sync(self) -> None:
        """Flush, and wait until the disk has it: call it together with a checkpoint."""
        self.flush()
        with disk_errors(self.path):
            os.fsync(self._file.fileno())

    def truncate_after(self, step: int) -> None:
        """Forget all points beyond `step`, as when training resumes from the checkpoint of that step."""
        self.flush()
        steps = read_records(self.path, self._begin, self._dtype)["step"]
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
        # The overview first: a block of points that are no longer there would outlive them.
        self._overview.cut(rows // BLOCK)
        end = self._begin + rows * self._dtype.itemsize
        self._file.truncate(end)
        self._file.seek(end)
        self._tell_overview()

    def _tell_overview(self) -> None:
        first = self._overview.blocks * BLOCK
        count = (self._rows - first) // BLOCK * BLOCK
        if count:
            self._overview.append(read_records(self.path, self._begin, self._dtype, first, count))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Overview:
    """The blocks beside a log. Everything in it follows from the log: what is missing or torn is made again."""

    def __init__(self, log: Path, n_columns: int) -> None:
        self._path, self._n_columns = overview_path(log), n_columns
        self.blocks = len(read_overview(log, n_columns))

    def cut(self, blocks: int) -> None:
        """Keep this many blocks at most, and nothing behind them."""
        self.blocks = min(self.blocks, blocks)
        size = self.blocks * block_dtype(self._n_columns).itemsize
        if self._path.exists() and self._path.stat().st_size != size:
            os.truncate(self._path, size)

    def append(self, records: Array) -> None:
        """Add the blocks of these points, a multiple of 64."""
        blocks = blocks_of(records, self._n_columns)
        with disk_errors(self._path), self._path.open("ab") as file:
            file.write(blocks.tobytes())
        self.blocks += len(blocks)


def overview_path(log: Path) -> Path:
    """Where a log's overview lies."""
    return log.with_name(f"{log.name}.overview")


def read_overview(log: Path, n_columns: int) -> Array:
    """The whole blocks of a log's overview; none when there is no overview, or a damaged one."""
    try:
        blocks = np.fromfile(overview_path(log), block_dtype(n_columns))
        return whole(blocks, overview_path(log))
    except (OSError, ValueError):
        return np.zeros(0, block_dtype(n_columns))


def read_metrics(path: str | os.PathLike[str], start: int = 0) -> dict[str, Array]:
    """Columns of a log from point `start` on: step and tokens int64 [n], time and values float64 [n].

    The same from a log that grows and from an archived one, to the bit. Safe while another process appends: a record
    that is not whole yet is left out.
    Raises `TornFile` when the file is missing, no metric log, or damaged before its end.
    """
    path = Path(path)
    if is_archive(path):
        return read_archive(path, start)
    columns, begin = read_header(path)
    records = whole(read_records(path, begin, record_dtype(columns), start), path, start)
    return {name: np.ascontiguousarray(records[name]) for name in (*FIXED, *columns)}


def archive_metrics(path: str | os.PathLike[str]) -> None:
    """Compress a log, in place and without loss; nothing happens to one that is compressed, or open for appending.

    The new file takes the old one's name by a rename: killed at any instant, one of the two is there.
    Raises what `read_metrics` raises, and `DiskFull`.
    """
    path = Path(path)
    if is_archive(path):
        overview_path(path).unlink(missing_ok=True)
        return
    try:
        held = path.open("r+b")
    except FileNotFoundError as error:
        raise TornFile(path, "is missing") from error
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _archive(path)


def _archive(path: Path) -> None:
    points = read_metrics(path)
    records = np.zeros(len(points["step"]), record_dtype([n for n in points if n not in FIXED]))
    for name, values in points.items():
        records[name] = values
    overview = blocks_of(records, len(points) - len(FIXED))
    with atomic_file(path, make_parents=False) as file:
        for part in archive_bytes(points, overview):
            file.write(part)
        # before the log is let go: whoever waits for it makes an overview of its own
        overview_path(path).unlink(missing_ok=True)


def _opened(path: Path, columns: list[str]) -> BinaryIO:
    """The log with these columns, open for appending and held against being archived."""
    while True:
        if path.exists():
            _make_room(path, columns)
        else:
            with atomic_file(path) as file:
                file.write(header_bytes(columns))
        file = path.open("r+b", buffering=0)
        fcntl.flock(file, fcntl.LOCK_SH)
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()  # an archive has taken its place meanwhile


def _make_room(path: Path, wanted: Sequence[str]) -> None:
    """Rewrite an archive as a log, and a log that lacks columns with them."""
    archived = is_archive(path)
    stored = list(read_directory(path)["columns"]) if archived else read_header(path)[0]
    columns = [name for name in stored if name not in FIXED]
    columns += [name for name in wanted if name not in columns]
    if not archived and columns == stored:
        return
    points = read_metrics(path)
    records = np.zeros(len(points["step"]), record_dtype(columns))
    for name in records.dtype.names or ():
        records[name] = points.get(name, np.nan if name in columns else 0)
    overview_path(path).unlink(missing_ok=True)
    with atomic_file(path) as file:
        file.write(header_bytes(columns))
        file.write(seal(records).tobytes())
