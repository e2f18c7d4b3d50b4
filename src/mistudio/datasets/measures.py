"""Rows measured many at a time, on the bytes of an Arrow array: lengths, words, characters, hashes.

Words are what `str.split()` gives: runs between white space of any script.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import xxhash
from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its functions are made at run time, so type checkers do not see them

_ASCII_SPACE = (*range(9, 14), *range(28, 33))
_SPACE = np.zeros(256, bool)
_SPACE[list(_ASCII_SPACE)] = True
_WIDE_SPACES = (
    "\x85\xa0",
    "\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
)
_CODE_POINTS = 0x110000


@dataclass
class Words:
    """The words of `n` rows: `starts` and `ends` [words] are places in `data`, `first` [n + 1] counts words before."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]


@dataclass
class Measures:
    """What one slice of `n` rows holds. `hashes` are 64-bit XXH3 of the rows' UTF-8 bytes."""

    missing: int
    bytes: int
    characters: NDArray[np.int64]
    words: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    code_points: NDArray[np.int64]
    code_point_counts: NDArray[np.int64]


def measure(array: pa.LargeStringArray) -> tuple[Measures, Words]:
    """Measure a slice of rows; a missing text counts as empty."""
    missing = array.null_count
    if missing:
        array = pc.fill_null(array, "")
    data, offsets = bytes_of(array)
    words = find_words(data, offsets)
    view: Any = data.data
    bounds = offsets.tolist()
    digest = xxhash.xxh3_64_intdigest
    hashes = np.fromiter(
        (digest(view[start:end]) for start, end in pairwise(bounds)),
        np.uint64,
        len(bounds) - 1,
    )
    points, counts = _code_points(data)
    measures = Measures(
        missing=missing,
        bytes=len(data),
        characters=pc.utf8_length(array).to_numpy(zero_copy_only=False).astype(np.int64),
        words=np.diff(words.first),
        hashes=hashes,
        code_points=points,
        code_point_counts=counts,
    )
    return measures, words


def bytes_of(array: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The UTF-8 bytes of all rows end to end, and where each row begins ([n + 1], from 0)."""
    _, starts, values = array.buffers()
    offsets = np.frombuffer(starts, np.int64)[array.offset : array.offset + len(array) + 1]
    if values is None:
        return np.zeros(0, np.uint8), offsets - offsets[0]
    return np.frombuffer(values, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def white_space(data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which bytes of UTF-8 text belong to white space of any script, bool [n]."""
    space = _SPACE[data]
    if len(data) and int(data.max()) >= 0x80:
        _mark_wide_spaces(data, space)
    return space


def find_words(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Words:
    """Where the words of each row are."""
    space = white_space(data)
    begins, ends = ~space, ~space
    begins[1:] &= space[:-1]
    ends[:-1] &= space[1:]
    # A row's first and last byte bound a word, whatever stands in the rows beside it.
    filled = np.flatnonzero(np.diff(offsets))
    heads, tails = offsets[filled], offsets[filled + 1] - 1
    begins[heads] = ~space[heads]
    ends[tails] = ~space[tails]
    starts = np.flatnonzero(begins)
    return Words(data, offsets, starts, np.flatnonzero(ends) + 1, np.searchsorted(starts, offsets))


def _mark_wide_spaces(data: NDArray[np.uint8], space: NDArray[np.bool_]) -> None:
    """Mark all bytes of white space beyond ASCII."""
    for spaces in _WIDE_SPACES:
        length = len(spaces[0].encode())
        codes = [int.from_bytes(one.encode()) for one in spaces]
        for lead in sorted({code >> 8 * (length - 1) for code in codes}):
            at = np.flatnonzero(data[: len(data) - length + 1] == lead)
            if not len(at):
                continue
            found = np.zeros(len(at), np.int64)
            for place in range(length):
                found = found << 8 | data[at + place]
            at = at[np.isin(found, codes)]
            for place in range(length):
                space[at + place] = True


def _code_points(data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The code points that occur, and how often."""
    ascii_counts = np.bincount(data, minlength=256)[:128]
    wide = data[data >= 0x80]
    if not len(wide):
        points = np.flatnonzero(ascii_counts)
        return points, ascii_counts[points]
    # The bytes beyond ASCII, taken alone, are whole characters still.
    decoded = np.frombuffer(wide.tobytes().decode(errors="replace").encode("utf-32-le"), np.uint32)
    if len(decoded) > 50_000:
        counts = np.bincount(decoded, minlength=_CODE_POINTS)
        others = np.flatnonzero(counts)
        other_counts = counts[others]
    else:
        others, other_counts = np.unique(decoded, return_counts=True)
    points = np.flatnonzero(ascii_counts)
    return (
        np.concatenate([points, others.astype(np.int64)]),
        np.concatenate([ascii_counts[points], other_counts.astype(np.int64)]),
    )
