"""Which rows are left out, against a plain reading of each setting's words."""

from __future__ import annotations

import random
import time
import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.datasets.near_duplicates import NearDuplicates
from mistudio.datasets.row_filters import RowFilters
from mistudio.datasets.tokenization_schemas import RowFilterSettings
from mistudio.errors import StudioError

TEXTS = st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=40), max_size=10)


def reasons(texts: list[str], **wanted: Any) -> list[str | None]:
    filters = RowFilters(RowFilterSettings(**wanted))
    verdict = filters.judge(pa.array(texts, pa.large_string()))
    return [filters.reasons[number] if number >= 0 else None for number in verdict]


def share(text: str, counted: Any) -> float:
    return sum(map(counted, text)) / max(1, len(text))


def special(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] not in "LMNPZ" and character not in "\t\n\f\r"


def no_word(character: str) -> bool:
    return unicodedata.category(character)[0] not in "LMN"


@settings(max_examples=200, deadline=None)
@given(texts=TEXTS, least=st.integers(0, 10))
def test_short_rows(texts: list[str], least: int) -> None:
    for text, why in zip(texts, reasons(texts, min_characters=least), strict=True):
        if why == "rows_empty":
            assert not text.strip()
        elif why == "rows_too_short":
            assert len(text.strip()) < least
        else:
            assert text.strip() and len(text) >= least


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(
        st.text(alphabet=st.sampled_from("aZé9 .,;—=+<>|©�🙂\t\n\x07日ก็"), min_size=1, max_size=40),
        max_size=10,
    ),
    limit=st.sampled_from([0, 0.1, 0.25, 0.5, 1]),
)
def test_shares_of_characters(texts: list[str], limit: float) -> None:
    for name, counted, reason in (
        ("max_special_share", special, "rows_special_characters"),
        ("max_punctuation_share", no_word, "rows_mostly_punctuation"),
    ):
        for text, why in zip(texts, reasons(texts, **{name: limit}), strict=True):
            if text.strip():
                # The sum of floats may fall on either side of the limit itself.
                if abs(share(text, counted) - limit) > 1e-9:
                    assert (why == reason) == (share(text, counted) > limit), (text, why)
            else:
                assert why == "rows_empty"


def test_patterns_and_the_order_of_reasons() -> None:
    texts = ["", "ab", "see https://x.org", "the Congress met", "congress of nothing", "no match here"]
    assert reasons(texts, keep_pattern=r"(?i)\bcongress\b", drop_pattern="https?://", min_characters=3) == [
        "rows_empty",
        "rows_too_short",
        "rows_without_pattern",
        None,
        None,
        "rows_without_pattern",
    ]
    assert reasons(texts[2:], drop_pattern="https?://") == ["rows_with_pattern", None, None, None]


def test_no_pattern_takes_forever() -> None:
    begun = time.perf_counter()
    assert reasons(["a" * 100_000 + "!"], drop_pattern=r"^(a+)+$") == [None]
    assert time.perf_counter() - begun < 5  # a backtracking engine would not end


@pytest.mark.parametrize("pattern", ["(", "(?=x)", r"(a)\1", "[z-a]", "a{5000}"])
def test_bad_patterns_are_named(pattern: str) -> None:
    for name in ("keep_pattern", "drop_pattern"):
        with pytest.raises(StudioError, match="RE2") as refused:
            RowFilters(RowFilterSettings(**{name: pattern}))
        assert refused.value.code == "bad_pattern" and f"settings.filters.{name}" in refused.value.fields


def prose(seed: int, words: int = 120) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5000)}" for _ in range(words)]


def near(words: list[str], changed: int, seed: int) -> str:
    draw, words = random.Random(seed), list(words)
    for at in draw.sample(range(len(words)), changed):
        words[at] = f"other{draw.randrange(10_000)}"
    return " ".join(words)


def test_near_duplicates_are_found_and_others_are_not() -> None:
    originals = [prose(seed) for seed in range(200)]
    close = [near(words, 1, seed) for seed, words in enumerate(originals)]  # Jaccard about 0.95
    far = [near(words, 40, seed) for seed, words in enumerate(originals)]  # Jaccard about 0.2
    texts = [" ".join(words) for words in originals]
    why = reasons([*texts, *close, *far], near_duplicates=True)
    assert why[:200] == [None] * 200
    assert sum(one == "rows_near_duplicate" for one in why[200:400]) >= 195
    assert why[400:].count("rows_near_duplicate") <= 2
    assert reasons(["One  two THREE four", "one two three\nfour", "one"], near_duplicates=True)[1:] == [
        "rows_near_duplicate",
        None,
    ]


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab ", min_size=1, max_size=12), min_size=1, max_size=30),
    cuts=st.lists(st.integers(1, 7), min_size=30, max_size=30),
)
def test_near_duplicates_do_not_depend_on_batches(texts: list[str], cuts: list[int]) -> None:
    whole = NearDuplicates().add(pa.array(texts, pa.large_string()))
    parts, seen, at = [], NearDuplicates(), 0
    for size in cuts:
        if texts[at : at + size]:
            parts.append(seen.add(pa.array(texts[at : at + size], pa.large_string())))
        at += size
    assert np.concatenate(parts).tolist() == whole.tolist()
