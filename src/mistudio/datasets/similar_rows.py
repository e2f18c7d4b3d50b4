"""Rows that say nearly the same: MinHash signatures, banded so that similar rows meet, then compared exactly.

Two rows are near duplicates when the sets of their 5-word shingles (lower case in ASCII) have a Jaccard similarity of
at least 0.8. Signatures are one-permutation hashes of 128 bins (Li, Owen, Zhang 2012), empty bins filled by rotation
(Shrivastava, Li 2014). With 16 bands of 8 bins a pair of similarity s meets with probability 1 − (1 − s⁸)¹⁶ when
its rows are long: 0.95 at 0.8, 0.9999 at 0.9, 0.06 at 0.5. Rows that met are compared by their shingles themselves, so
that what is counted is similar indeed; what is missed is what never met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mistudio.datasets.measures import Words, bytes_of, find_words

SHINGLE = 5
BINS = 128
BANDS = 16
THRESHOLD = 0.8
_ROWS_IN_BAND = BINS // BANDS
_LOWER = np.arange(256, dtype=np.uint64)
_LOWER[65:91] += 32
_ODD = 0x9E3779B97F4A7C15
_BLOCK = 1 << 20
_LONGEST_WORD = 1 << 16
_BYTES_AT_ONCE = 16 << 20
_PAIRS_AT_ONCE = 500_000
_NONE = np.uint32(0xFFFFFFFF)
_STEP = np.uint32(0x85EBCA6B)
_BAND_FACTORS = (
    np.arange(1, _ROWS_IN_BAND + 1, dtype=np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
) | np.uint64(1)


@dataclass
class SimilarRows:
    """`rows` near duplicates of an earlier row; an estimate with `standard_error` unless all were compared.

    `examples` are (row, earlier row, similarity).
    """

    rows: int
    standard_error: float
    candidates: int
    compared: int
    examples: list[tuple[int, int, float]]


def shingles(words: Words) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """(row, hash) of every shingle of 5 words; a row of fewer words has one, of them all."""
    hashes = _word_hashes(words)
    counts = np.diff(words.first)
    row_of = np.repeat(np.arange(len(counts)), counts)
    rows: list[NDArray[np.int64]] = []
    found: list[NDArray[np.uint64]] = []
    whole = max(0, len(hashes) - SHINGLE + 1)
    if whole:
        inside = row_of[:whole] == row_of[SHINGLE - 1 :]
        rows.append(row_of[:whole][inside])
        found.append(_joined([hashes[place : place + whole] for place in range(SHINGLE)])[inside])
    for length in range(1, SHINGLE):
        short = np.flatnonzero(counts == length)
        if len(short):
            first = words.first[short]
            rows.append(short)
            found.append(_joined([hashes[first + place] for place in range(length)]))
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return np.concatenate(rows), np.concatenate(found)


def band_keys(words: Words) -> NDArray[np.uint32]:
    """A key for each band of each row, [BANDS, n]: rows that share one may be near duplicates."""
    n = len(words.first) - 1
    rows, hashes = shingles(words)
    signature = np.full(n * BINS, _NONE, np.uint32)
    bins = (hashes >> np.uint64(57)).astype(np.int64)
    values = ((hashes >> np.uint64(20)) & np.uint64(0xFFFFFFFE)).astype(np.uint32)
    np.minimum.at(signature, rows * BINS + bins, values)
    filled = _fill_empty(signature.reshape(n, BINS))
    banded = filled.reshape(n, BANDS, _ROWS_IN_BAND).astype(np.uint64)
    keys = _mixed((banded * _BAND_FACTORS).sum(axis=2, dtype=np.uint64))
    return np.ascontiguousarray((keys >> np.uint64(32)).astype(np.uint32).T)


def find_similar_rows(
    bands: Sequence[Callable[[], NDArray[np.uint32]]],
    rows: NDArray[np.int64],
    texts_at: Callable[[NDArray[np.int64]], pa.LargeStringArray],
    *,
    most_compared: int = 20_000,
    check: Callable[[str, float, float], None] = lambda stage, done, total: None,
) -> SimilarRows:
    """Near duplicates among `rows` (ascending row numbers of differing texts).

    `bands[b]()` gives the keys of band b for every row of the data set; `texts_at(rows)` reads rows. When more than
    `most_compared` rows met another, a random part of them is compared and the count is an estimate.
    `check("bands" | "pairs", done, total)` is called between steps.
    """
    met, pairs, part = _pairs(bands, rows, check)
    candidates = rows[met]
    while len(chosen := candidates[_drawn(candidates, part)]) > most_compared:
        part /= 2
    pairs = pairs[_drawn(pairs[:, 1], part)]
    best: dict[int, tuple[float, int]] = {}
    done, step = 0, 16
    while done < len(pairs):
        check("pairs", done, len(pairs))
        some = pairs[done : done + step]
        found, size = similarities(some, texts_at)
        for (earlier, row), similarity in zip(some.tolist(), found, strict=True):
            if similarity >= THRESHOLD and similarity > best.get(row, (0.0, 0))[0]:
                best[row] = (similarity, earlier)
        done += len(some)
        step = max(1, min(2_000, _BYTES_AT_ONCE * len(some) // max(1, size)))
    share = len(best) / len(chosen) if len(chosen) else 0.0
    whole = len(chosen) == len(candidates)
    error = 0.0 if whole else len(candidates) * float(np.sqrt(share * (1 - share) / len(chosen)))
    examples = [(row, earlier, similarity) for row, (similarity, earlier) in sorted(best.items())[:20]]
    return SimilarRows(round(share * len(candidates)), error, len(candidates), len(chosen), examples)


def similarities(
    pairs: NDArray[np.int64], texts_at: Callable[[NDArray[np.int64]], pa.LargeStringArray]
) -> tuple[list[float], int]:
    """The Jaccard similarity of the shingles of each pair of rows [pairs, 2], and the bytes that were read for it."""
    rows, places = np.unique(pairs, return_inverse=True)
    ones, others = places.reshape(pairs.shape).T
    data, offsets = bytes_of(texts_at(rows))
    owner, hashes = shingles(find_words(data, offsets))
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(rows) + 1))
    sets = [np.unique(hashes[order[a:b]]) for a, b in pairwise(bounds)]
    found: list[float] = []
    for one, other in zip(ones.tolist(), others.tolist(), strict=True):
        common = len(np.intersect1d(sets[one], sets[other], assume_unique=True))
        union = len(sets[one]) + len(sets[other]) - common
        found.append(common / union if union else 0.0)
    return found, len(data)


def _pairs(
    bands: Sequence[Callable[[], NDArray[np.uint32]]],
    rows: NDArray[np.int64],
    check: Callable[[str, float, float], None],
) -> tuple[NDArray[np.bool_], NDArray[np.int64], float]:
    """Which of `rows` share a band's key with an earlier one; (earlier, later) of such pairs; the part that was kept.

    Each row is paired with the one before it in its bucket and with the bucket's first. Where the pairs would be too
    many for the memory, only those of a random part of the rows are kept.
    """
    met = np.zeros(len(rows), bool)
    places = np.arange(len(rows), dtype=np.uint64)
    kept = np.zeros(0, np.int64)  # later row · 2³² + earlier row: a number sorts faster than a pair
    part = 1.0
    for number, read in enumerate(bands):
        check("bands", number, len(bands))
        # Key and place in one number: numpy sorts numbers many times faster than it finds their order.
        packed = read()[rows].astype(np.uint64) << np.uint64(32)
        packed |= places
        packed.sort()
        order = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
        ordered = packed >> np.uint64(32)
        new = np.ones(len(ordered), bool)
        new[1:] = ordered[1:] != ordered[:-1]
        again = np.flatnonzero(~new)
        met[order[again]] = True
        again = again[_drawn(rows[order[again]], part)]
        first = np.maximum.accumulate(np.where(new, np.arange(len(ordered)), 0))[again]
        later = rows[order[again]] << 32
        kept = np.unique(np.concatenate([kept, later | rows[order[again - 1]], later | rows[order[first]]]))
        while len(kept) > _PAIRS_AT_ONCE:
            part /= 2
            kept = kept[_drawn(kept >> 32, part)]
    return met, np.stack([kept & 0xFFFFFFFF, kept >> 32], axis=1), part


def _drawn(rows: NDArray[np.int64], part: float) -> NDArray[np.bool_]:
    """A random part of the rows, the same whenever it is asked; a smaller part lies within a larger one."""
    if part >= 1:
        return np.ones(len(rows), bool)
    return _mixed(rows.astype(np.uint64) + np.uint64(1)) < np.uint64(part * 2.0**64)


def _fill_empty(signature: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Give each empty bin the value of the next filled one to its right (around the end), changed by the distance."""
    empty = signature == _NONE
    if not empty.any():
        return signature
    places = np.where(empty, np.int16(4 * BINS), np.arange(BINS, dtype=np.int16))
    around = np.concatenate([places, places + np.int16(BINS)], axis=1)
    nearest = np.minimum.accumulate(around[:, ::-1], axis=1)[:, ::-1][:, :BINS]
    # A row without any word has nothing to fill from.
    nearest = np.where(nearest >= 4 * BINS, np.arange(BINS, dtype=np.int16), nearest)
    distance = (nearest - np.arange(BINS, dtype=np.int16)).astype(np.uint32)
    return np.take_along_axis(signature, nearest.astype(np.intp) % BINS, axis=1) + distance * _STEP


@cache
def _power_tables() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of an odd number and of its inverse modulo 2⁶⁴, for every place of a block."""
    tables: list[NDArray[np.uint64]] = []
    for base in (_ODD, pow(_ODD, -1, 1 << 64)):
        steps = np.full(_BLOCK + 1, base, np.uint64)
        steps[0] = 1
        tables.append(np.cumprod(steps, dtype=np.uint64))
    return tables[0], tables[1]


def _word_hashes(words: Words) -> NDArray[np.uint64]:
    """64-bit hashes of the words: polynomials in an odd number modulo 2⁶⁴, mixed.

    The polynomial of any word is a difference of two prefix sums over its block. Of a word beyond 64 KiB the beginning
    counts.
    """
    powers, inverses = _power_tables()
    starts = words.starts
    ends = np.minimum(words.ends, starts + _LONGEST_WORD)
    found = np.zeros(len(starts), np.uint64)
    at = 0
    while at < len(starts):
        base = int(starts[at])
        after = max(at + 1, int(np.searchsorted(ends, base + _BLOCK, side="right")))
        part = words.data[base : int(ends[after - 1])]
        sums = np.zeros(len(part) + 1, np.uint64)
        np.cumsum(_LOWER[part] * powers[: len(part)], dtype=np.uint64, out=sums[1:])
        begins = starts[at:after] - base
        found[at:after] = (sums[ends[at:after] - base] - sums[begins]) * inverses[begins]
        at = after
    return _mixed(found)


def _joined(parts: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    joined = parts[0]
    for part in parts[1:]:
        joined = joined * np.uint64(0xD6E8FEB86659FD93) + part
    return _mixed(joined + np.uint64(len(parts)))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each bit of the result depends on all bits (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
