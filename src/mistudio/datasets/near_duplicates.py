"""Rows that nearly repeat earlier ones, told in one pass: a row's MinHash bands (`similar_rows`) against all before it.

A row is taken for a near duplicate when two of its 16 bands of 8 minima agree with earlier rows. At a Jaccard
similarity s of two rows' shingles that happens with probability 1 − (1 − s⁸)¹⁶ − 16 s⁸ (1 − s⁸)¹⁵: 0.78 at 0.8, 0.998
at 0.9, 0.002 at 0.5. One band alone would not do: among millions of rows its key of 32 bits is met by chance. Nothing
else is kept of a row, so that memory is 64 bytes for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from mistudio.datasets.measures import bytes_of, find_words
from mistudio.datasets.similar_rows import BANDS, band_keys

Array = np.ndarray[Any, np.dtype[Any]]

_AGREEING_BANDS = 2


class NearDuplicates:
    """Tells rows that nearly repeat an earlier one. The answer does not depend on how rows are cut into batches."""

    def __init__(self) -> None:
        # Sorted runs of keys, each less than half as long as the one before: merging stays cheap.
        self._runs: list[list[Array]] = [[] for _ in range(BANDS)]

    def add(self, texts: pa.LargeStringArray) -> Array:
        """Which of these rows nearly repeat an earlier one; bool [n]."""
        agreeing = np.zeros(len(texts), np.int64)
        for runs, keys in zip(self._runs, band_keys(find_words(*bytes_of(texts))), strict=True):
            distinct, first, which = np.unique(keys, return_index=True, return_inverse=True)
            met = first[which] < np.arange(len(keys))
            for run in runs:
                at = np.minimum(np.searchsorted(run, keys), len(run) - 1)
                met |= run[at] == keys
            agreeing += met
            while runs and len(runs[-1]) <= 2 * len(distinct):
                distinct = np.union1d(runs.pop(), distinct)
            runs.append(distinct)
        return agreeing >= _AGREEING_BANDS
