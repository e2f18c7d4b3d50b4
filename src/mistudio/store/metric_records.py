"""The two on-disk layouts of metric points that grow: records of a log, and blocks of its overview.

    log       "MSMETRIC" · uint32 length of the header · header (JSON: the names) · records
              record = step int64 · tokens int64 · time float64 · values float64 … · check uint64
    overview  blocks, each of 64 records: their first and last step, tokens and time, every value's minimum and
              maximum, which of the two came first, and a check

The check is the exclusive-or of the other words with a constant, so that what was torn, or came out of a crash as
zeros, is known without reading anything else.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mistudio.store.errors import TornFile
from mistudio.store.npy import Array

MAGIC = b"MSMETRIC"
FIXED = {"step": "<i8", "tokens": "<i8", "time": "<f8"}
BLOCK = 64
_CHECK = np.uint64(0x9E3779B97F4A7C15)
_ALIGN = 64


def record_dtype(columns: Sequence[str]) -> np.dtype[Any]:
    """One point of a log."""
    return np.dtype([*FIXED.items(), *((name, "<f8") for name in columns), (" check", "<u8")])


def block_dtype(n_columns: int) -> np.dtype[Any]:
    """64 points of a log in the overview; `falling` has a bit per column: its maximum came before its minimum."""
    ends = [(f"{end} {name}", kind) for name, kind in FIXED.items() for end in ("first", "last")]
    values = [("low", "<f8", (n_columns,)), ("high", "<f8", (n_columns,))]
    return np.dtype([*ends, *values, ("falling", "<u8", ((n_columns + 63) // 64,)), (" check", "<u8")])


def seal(records: Array) -> Array:
    """Write the checks of records or blocks; returns them."""
    words = _words(records)
    words[:, -1] = np.bitwise_xor.reduce(words[:, :-1], axis=1) ^ _CHECK
    return records


def whole(records: Array, path: Path, before: int = 0) -> Array:
    """The records up to the first invalid one. Raises `TornFile` when valid ones follow it: damage, not a torn end."""
    if not len(records):
        return records
    words = _words(records)
    valid = (np.bitwise_xor.reduce(words[:, :-1], axis=1) ^ _CHECK) == words[:, -1]
    if valid.all():
        return records
    good = int(np.argmin(valid))
    if valid[good:].any():
        raise TornFile(path, f"has changed since it was written: point {before + good:,} is damaged")
    return records[:good]


def blocks_of(records: Array, n_columns: int) -> Array:
    """The overview's blocks of these points; the last may be of fewer than 64."""
    starts = np.arange(0, len(records), BLOCK)
    blocks = np.zeros(len(starts), block_dtype(n_columns))
    if not len(records):
        return blocks
    ends = np.minimum(starts + BLOCK, len(records)) - 1
    for name in FIXED:
        blocks[f"first {name}"], blocks[f"last {name}"] = records[name][starts], records[name][ends]
    values = _words(records).view("<f8")[:, len(FIXED) : len(FIXED) + n_columns]
    low, high, falling = extremes(values, values, None, starts)
    blocks["low"], blocks["high"] = low, high
    pad = -n_columns % 64
    bits = np.packbits(np.pad(falling, ((0, 0), (0, pad))), axis=1, bitorder="little")
    blocks["falling"] = np.ascontiguousarray(bits).view("<u8")
    return seal(blocks)


def falling_of(blocks: Array, n_columns: int) -> Array:
    """bool [blocks, columns]: whether the maximum came before the minimum."""
    bits = np.ascontiguousarray(blocks["falling"]).view("u1").reshape(len(blocks), -1)
    return np.unpackbits(bits, axis=1, bitorder="little")[:, :n_columns].astype(bool)


def extremes(low: Array, high: Array, falling: Array | None, starts: Array) -> tuple[Array, Array, Array]:
    """Minimum, maximum and whether the maximum came first, of each bucket: [buckets, columns].

    The input [n, columns] is points (`low` is `high`, `falling` None) or blocks of points; a bucket goes from one of
    `starts` up to the next. NaN is passed over while a bucket holds anything else.
    """
    lowest, highest = np.fmin.reduceat(low, starts, axis=0), np.fmax.reduceat(high, starts, axis=0)
    n = len(low)
    bucket = np.repeat(np.arange(len(starts)), np.diff(starts, append=n))
    places = np.arange(n)[:, None]
    at_low = np.minimum.reduceat(np.where(low == lowest[bucket], places, n), starts, axis=0)
    at_high = np.minimum.reduceat(np.where(high == highest[bucket], places, n), starts, axis=0)
    falls = at_high < at_low
    if falling is not None:
        same = (at_low == at_high) & (at_low < n)
        within = np.take_along_axis(falling, np.minimum(at_low, n - 1), axis=0)
        falls = np.where(same, within, falls)
    return lowest, highest, falls


def header_bytes(columns: Sequence[str]) -> bytes:
    """The beginning of a log."""
    text = json.dumps({"version": 1, "columns": list(columns)}).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % _ALIGN)
    return MAGIC + len(text).to_bytes(4, "little") + text


def read_header(path: Path) -> tuple[list[str], int]:
    """A log's value columns and the offset of its first record. Raises `TornFile`."""
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC) + 4)
            size = int.from_bytes(start[len(MAGIC) :], "little")
            text = file.read(size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TornFile(path, "is missing") from error
    if not start.startswith(MAGIC):
        raise TornFile(path, "is no metric log")
    try:
        return list(json.loads(text)["columns"]), len(start) + size
    except (ValueError, KeyError, TypeError) as error:
        raise TornFile(path, "is torn: its header is not whole") from error


def read_records(path: Path, begin: int, dtype: np.dtype[Any], start: int = 0, count: int = -1) -> Array:
    """Records as they lie there, unchecked; a half-written one at the end is left out."""
    # Read, not mapped: a training that resumes cuts the file, and a mapping would then kill its reader.
    return np.fromfile(path, dtype, count, offset=begin + start * dtype.itemsize)


def _words(records: Array) -> Array:
    return records.view("<u8").reshape(len(records), records.dtype.itemsize // 8)
