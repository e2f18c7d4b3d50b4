"""Curves: metric points thinned out so that every peak stays, however many there are."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mistudio.store.metric_archive import is_archive, read_archive, read_archive_overview, read_directory
from mistudio.store.metric_records import (
    BLOCK,
    FIXED,
    blocks_of,
    extremes,
    falling_of,
    read_header,
    read_records,
    record_dtype,
    whole,
)
from mistudio.store.metrics import read_overview
from mistudio.store.npy import Array


@dataclass(frozen=True)
class MetricCurve:
    """A part of a log, thinned out: columns of equal length, `step`, `tokens` and `time` among them."""

    columns: dict[str, Array]
    total: int
    """points in the whole log"""
    last_step: int
    """of the newest point in the whole log; 0 when there is none"""


def metric_curve(
    path: str | os.PathLike[str],
    n: int,
    columns: Sequence[str] | None = None,
    after_step: int | None = None,
    up_to_step: int | None = None,
) -> MetricCurve:
    """At most about `n` points of a log's `columns` (all), of the steps in (after_step, up_to_step].

    What a curve of few points is drawn from is read from the overview where the part is long, from the points
    themselves where it is short; see `downsample` for what stays. The same of a growing and of an archived log.
    Raises `TornFile`, and KeyError for a column that the log does not have.
    """
    log = _open(Path(path))
    for name in columns or ():
        if name not in FIXED and name not in log.columns:
            raise KeyError(name)
    wanted = [name for name in log.columns if columns is None or name in columns]
    blocks, total = log.blocks, log.rows
    last_step = int(blocks["last step"][-1]) if len(blocks) else 0
    low = -1 if after_step is None else after_step
    high = last_step if up_to_step is None else up_to_step
    first = int(np.searchsorted(blocks["last step"], low, side="right"))
    end = int(np.searchsorted(blocks["first step"], high, side="right"))
    if first >= end:
        return MetricCurve({n: np.zeros(0, FIXED.get(n, "<f8")) for n in (*FIXED, *wanted)}, total, last_step)
    if end - first >= max(n // 2, 1):
        blocks = log.exact(blocks, first, end, low, high)
        return MetricCurve(_thin_blocks(blocks, log.columns, wanted, n), total, last_step)
    points = log.read(first * BLOCK, min(end * BLOCK, total), wanted)
    inside = (points["step"] > low) & (points["step"] <= high)
    kept = {name: values[inside] for name, values in points.items()}
    return MetricCurve(downsample(kept, max(n, 4)), total, last_step)


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
    edges = np.linspace(0, rows, n // 2 + 1).astype(np.int64)
    first, last = edges[:-1], edges[1:] - 1
    names = [name for name in columns if name not in FIXED]
    values = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((rows, 0))
    low, high, falls = extremes(values, values, None, first)
    ends = {name: _pairs(found[first], found[last]) for name, found in columns.items() if name not in names}
    return {name: ends[name] for name in ends} | _in_order(names, low, high, falls)


def _thin_blocks(
    blocks: Array, all_columns: Sequence[str], wanted: Sequence[str], n: int
) -> dict[str, Array]:
    places = [list(all_columns).index(name) for name in wanted]
    low, high = blocks["low"][:, places], blocks["high"][:, places]
    falls = falling_of(blocks, len(all_columns))[:, places]
    buckets = min(len(blocks), max(n, 4) // 2)
    edges = np.linspace(0, len(blocks), buckets + 1).astype(np.int64)
    first, last = edges[:-1], edges[1:] - 1
    ends = {name: _pairs(blocks[f"first {name}"][first], blocks[f"last {name}"][last]) for name in FIXED}
    return ends | _in_order(wanted, *extremes(low, high, falls, first))


def _in_order(names: Sequence[str], low: Array, high: Array, falls: Array) -> dict[str, Array]:
    left, right = np.where(falls, high, low), np.where(falls, low, high)
    return {name: _pairs(left[:, place], right[:, place]) for place, name in enumerate(names)}


def _pairs(left: Array, right: Array) -> Array:
    return np.stack([left, right], axis=1).reshape(-1)


class _Log:
    """A log that grows: the blocks of its overview, and of what the overview does not have yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Before the records: blocks that are written meanwhile belong to points that would not be read.
        self.columns, self._begin = read_header(path)
        self._dtype = record_dtype(self.columns)
        blocks = read_overview(path, len(self.columns))
        known = (path.stat().st_size - self._begin) // self._dtype.itemsize // BLOCK
        blocks = blocks[:known]
        rest = read_records(path, self._begin, self._dtype, len(blocks) * BLOCK)
        rest = whole(rest, path, len(blocks) * BLOCK)
        self.rows = len(blocks) * BLOCK + len(rest)
        self.blocks = np.concatenate([blocks, blocks_of(rest, len(self.columns))])

    def read(self, start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        records = read_records(self._path, self._begin, self._dtype, start, stop - start)
        records = whole(records, self._path, start)
        return {name: np.ascontiguousarray(records[name]) for name in (*FIXED, *names)}

    def exact(self, blocks: Array, first: int, end: int, low: int, high: int) -> Array:
        """The blocks of a part, those at its ends cut to the points inside."""
        found = [blocks[first:end]]
        if blocks["first step"][first] <= low:
            found = [self._cut(first, low, high), blocks[first + 1 : end]]
        if blocks["last step"][end - 1] > high and end - 1 > first:
            found = [*found[:-1], found[-1][:-1], self._cut(end - 1, low, high)]
        return np.concatenate(found)

    def _cut(self, block: int, low: int, high: int) -> Array:
        points = self.read(block * BLOCK, min((block + 1) * BLOCK, self.rows), self.columns)
        inside = (points["step"] > low) & (points["step"] <= high)
        records = np.zeros(int(inside.sum()), record_dtype(self.columns))
        for name, values in points.items():
            records[name] = values[inside]
        return blocks_of(records, len(self.columns))


class _Archived(_Log):
    def __init__(self, path: Path) -> None:
        self._path = path
        directory = read_directory(path)
        self.columns = [name for name in directory["columns"] if name not in FIXED]
        self.rows = directory["rows"]
        self.blocks = read_archive_overview(path, directory)

    def read(self, start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        return read_archive(self._path, start, stop, (*FIXED, *names))


def _open(path: Path) -> _Log:
    return _Archived(path) if is_archive(path) else _Log(path)
