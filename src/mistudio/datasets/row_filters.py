"""Which rows are left out before they are tokenized, and why: judged by Arrow, many rows at a time.

Patterns are RE2's: they take time linear in the text whatever they are, and have neither look-around nor
back-references.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from mistudio.datasets.near_duplicates import NearDuplicates
from mistudio.datasets.tokenization_schemas import RowFilterSettings
from mistudio.errors import StudioError

Array = np.ndarray[Any, np.dtype[Any]]
pc: Any = pyarrow.compute  # its functions are made at run time, so type checkers do not see them

# What is neither letter, mark, digit, punctuation nor space: symbols, controls, private and broken characters.
SPECIAL = r"[^\p{L}\p{M}\p{N}\p{P}\p{Z}\s]+"
# What is neither letter, mark nor digit.
NO_WORD = r"[^\p{L}\p{M}\p{N}]+"


class RowFilters:
    """Judges rows given in order. The reasons, in the order in which they are tried, are `reasons`."""

    def __init__(self, wanted: RowFilterSettings) -> None:
        self._tests: list[tuple[str, Callable[[Any], Array]]] = [
            ("rows_empty", lambda texts: _trimmed_lengths(texts) == 0)
        ]
        if (least := wanted.min_characters) > 1:
            self._tests.append(("rows_too_short", lambda texts: _trimmed_lengths(texts) < least))
        if (pattern := wanted.keep_pattern) is not None:
            _check(pattern, "keep_pattern")
            self._tests.append(("rows_without_pattern", lambda texts: ~_matches(texts, pattern)))
        if (unwanted := wanted.drop_pattern) is not None:
            _check(unwanted, "drop_pattern")
            self._tests.append(("rows_with_pattern", lambda texts: _matches(texts, unwanted)))
        if (special := wanted.max_special_share) is not None:
            self._tests.append(("rows_special_characters", lambda texts: _share(texts, SPECIAL) > special))
        if (no_word := wanted.max_punctuation_share) is not None:
            self._tests.append(("rows_mostly_punctuation", lambda texts: _share(texts, NO_WORD) > no_word))
        self._seen = NearDuplicates() if wanted.near_duplicates else None
        self.reasons = [name for name, _ in self._tests]
        if self._seen is not None:
            self.reasons.append("rows_near_duplicate")

    @property
    def remembers(self) -> bool:
        """Whether what is dropped depends on rows judged before."""
        return self._seen is not None

    def judge(self, texts: pa.LargeStringArray) -> Array:
        """For each row the index into `reasons` of why it is dropped, or -1; int8 [n]."""
        verdict = np.full(len(texts), -1, np.int8)
        left = np.arange(len(texts))
        for number, (_, drops) in enumerate(self._tests):
            if len(left) == 0:
                return verdict
            dropped = drops(texts if len(left) == len(texts) else texts.take(pa.array(left)))
            verdict[left[dropped]] = number
            left = left[~dropped]
        if self._seen is not None and len(left):
            dropped = self._seen.add(texts.take(pa.array(left)))
            verdict[left[dropped]] = len(self._tests)
        return verdict


def _trimmed_lengths(texts: pa.LargeStringArray) -> Array:
    return pc.utf8_length(pc.utf8_trim_whitespace(texts)).to_numpy(zero_copy_only=False)


def _matches(texts: pa.LargeStringArray, pattern: str) -> Array:
    return pc.match_substring_regex(texts, pattern=pattern).to_numpy(zero_copy_only=False)


def _share(texts: pa.LargeStringArray, runs: str) -> Array:
    """The share of characters that belong to runs of this pattern."""
    rest = pc.replace_substring_regex(texts, pattern=runs, replacement="")
    length = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    return 1 - pc.utf8_length(rest).to_numpy(zero_copy_only=False) / np.maximum(length, 1)


def _check(pattern: str, name: str) -> None:
    try:
        pc.match_substring_regex(pa.array([""], pa.large_string()), pattern=pattern)
    except pa.ArrowInvalid as error:
        why = str(error).partition(": ")[2].partition(". Detail")[0] or str(error)
        raise StudioError(
            "bad_pattern",
            f"“{pattern}” is not a regular expression of the RE2 kind: {why}.",
            hint="RE2 has neither look-around ((?=…), (?!…)) nor back-references (\\1).",
            status=422,
            fields={f"settings.filters.{name}": why},
        ) from error
