"""Measures of text against what Python's own strings say."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.datasets.measures import measure
from mistudio.datasets.similar_rows import (
    BANDS,
    SHINGLE,
    band_keys,
    find_similar_rows,
    shingles,
)
from mistudio.datasets.statistics import Sums, Tally, characters, duplicates, lengths
from mistudio.datasets.text_slices import slices, texts_at
from mistudio.datasets.text_store import TextStore, TextWriter
from mistudio.store import atomic_folder

SPACES = " \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
texts = st.lists(
    st.one_of(st.none(), st.text(), st.text(alphabet="ab é中😀\x85\u2003\u3000 \n", max_size=30)), max_size=20
)


def column(values: list[str | None]) -> pa.LargeStringArray:
    return pa.array(values, pa.large_string())


@settings(deadline=None)
@given(texts)
def test_words_and_characters_are_those_of_python(values: list[str | None]) -> None:
    measures, _ = measure(column(values))
    plain = [value or "" for value in values]
    assert measures.characters.tolist() == [len(text) for text in plain]
    assert measures.words.tolist() == [len(text.split()) for text in plain]
    assert measures.bytes == sum(len(text.encode()) for text in plain)
    assert measures.missing == values.count(None)
    counted = dict(zip(measures.code_points.tolist(), measures.code_point_counts.tolist(), strict=True))
    assert counted == Counter(map(ord, "".join(plain)))
    assert len(set(measures.hashes.tolist())) == len(set(plain))


def test_every_white_space_of_python_parts_words() -> None:
    every = [chr(point) for point in range(0x110000) if chr(point).isspace()]
    measures, _ = measure(column([f"one{space}two" for space in every]))
    assert measures.words.tolist() == [2] * len(every)
    assert set(SPACES) <= set(every)


@settings(deadline=None)
@given(texts, st.integers(1, 60))
def test_slices_hold_every_row_once(values: list[str | None], size: int) -> None:
    chunks = pa.chunked_array([column(values[:3]), column(values[3:]).slice(0)])
    assert pa.chunked_array(list(slices(chunks, size)), pa.large_string()).to_pylist() == values


@settings(deadline=None)
@given(texts)
def test_a_slice_of_an_array_is_measured_as_itself(values: list[str | None]) -> None:
    whole = column(["before it", *values, "after it"]).slice(1, len(values))
    one, _ = measure(whole)
    other, _ = measure(column(values))
    assert one.words.tolist() == other.words.tolist() and one.hashes.tolist() == other.hashes.tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=200))
def test_lengths_are_exact(values: list[int]) -> None:
    tally = Tally()
    for value in values:
        tally.add(np.array([value]))
    found = lengths(tally)
    ordered = sorted(values)
    assert (found.total, found.minimum, found.maximum) == (sum(values), ordered[0], ordered[-1])
    assert found.deviation == pytest.approx(np.std(values), abs=1e-6)
    for percentile, value in found.percentiles.items():
        nearest_rank = -(-len(values) * int(percentile) // 100)
        assert value == ordered[nearest_rank - 1]
    assert found.edges == sorted(set(found.edges)) and len(found.edges) == len(found.counts) + 1
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        assert count == sum(low <= value < high for value in values)
    assert sum(found.counts) == len(values)


@settings(deadline=None)
@given(st.text())
def test_character_classes_add_up(text: str) -> None:
    sums = Sums()
    sums.add(measure(column([text]))[0])
    found = characters(sums.code_points)
    assert sum(one.count for one in found.classes) == len(text)
    assert sum(one.count for one in found.scripts) == sum(unicodedata.category(one)[0] == "L" for one in text)
    assert found.distinct == len(set(text))


def test_scripts_and_suspect_characters() -> None:
    sums = Sums()
    sums.add(measure(column(["Latin Кириллица 漢字 かな\x00\ufffd\ufffd\n"]))[0])
    found = characters(sums.code_points)
    assert {one.name: one.count for one in found.scripts} == {
        "Cyrillic": 9,
        "Latin": 5,
        "Han": 2,
        "Hiragana": 2,
    }
    assert [(one.character, one.count) for one in found.suspect] == [("\ufffd", 2), ("\0", 1)]


def test_duplicates_are_counted_and_blank_rows_are_not() -> None:
    values = ["a", "b", "a", "", "  ", "", "a"]
    measures, _ = measure(column(values))
    found, firsts = duplicates(measures.hashes, measures.words == 0, lambda row: values[row])
    assert (found.rows, found.texts, firsts.tolist()) == (2, 2, [0, 1])
    assert [(one.first_row, one.count, one.text) for one in found.most_repeated] == [(0, 3, "a")]


def jaccard(one: str, other: str) -> float:
    def sets(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))}

    return len(sets(one) & sets(other)) / len(sets(one) | sets(other))


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abC é\n", min_size=0, max_size=60), min_size=1, max_size=8))
def test_shingles_are_those_of_the_definition(values: list[str]) -> None:
    _, words = measure(column(values))
    rows, hashes = shingles(words)
    for number, text in enumerate(values):
        parts = "".join(c.lower() if c.isascii() else c for c in text).split()
        wanted = {tuple(parts[i : i + SHINGLE]) for i in range(max(1, len(parts) - SHINGLE + 1))}
        assert len(set(hashes[rows == number].tolist())) == (len(wanted) if parts else 0)


def vocabulary_text(rng: np.random.Generator, words: int) -> list[str]:
    return [f"w{number}" for number in rng.integers(0, 5_000, words)]


@pytest.mark.parametrize(("length", "least"), [(400, 0.97), (60, 0.9), (12, 0.75)])
def test_near_duplicates_are_found_and_only_they(length: int, least: float) -> None:
    """One word in the middle changed leaves most shingles; unrelated rows share none."""
    rng = np.random.default_rng(length)
    originals = [vocabulary_text(rng, length) for _ in range(150)]
    values = [" ".join(words) for words in originals]
    for words in originals:
        changed = list(words)
        changed[-1] = "changed"  # breaks one shingle
        values.append(" ".join(changed))
    wanted = sum(jaccard(values[i], values[i + 150]) >= 0.8 for i in range(150))
    _, words_of = measure(column(values))
    keys = band_keys(words_of)
    array = column(values)
    found = find_similar_rows(
        [lambda band=band: keys[band] for band in range(BANDS)],
        np.arange(len(values)),
        lambda rows: array.take(pa.array(rows)),
    )
    if wanted == 0:
        assert found.rows == 0
        return
    assert least * wanted <= found.rows <= wanted
    assert found.standard_error == 0 and found.compared == found.candidates
    for row, earlier, similarity in found.examples:
        assert similarity == pytest.approx(jaccard(values[row], values[earlier]))


def test_many_near_duplicates_are_estimated_from_a_part() -> None:
    rng = np.random.default_rng(0)
    base = vocabulary_text(rng, 100)
    values = [" ".join([*base, f"x{number}"]) for number in range(2_000)]
    _, words_of = measure(column(values))
    keys = band_keys(words_of)
    array = column(values)
    found = find_similar_rows(
        [lambda band=band: keys[band] for band in range(BANDS)],
        np.arange(len(values)),
        lambda rows: array.take(pa.array(rows)),
        most_compared=300,
    )
    assert found.compared <= 300 < found.candidates
    assert abs(found.rows - 1_999) <= 5 * max(found.standard_error, 1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=60), st.data())
def test_rows_are_read_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], data: st.DataObject
) -> None:
    folder: Path = tmp_path_factory.mktemp("rows") / "text"
    with atomic_folder(folder) as draft:
        writer = TextWriter(draft, shard_bytes=100)
        for start in range(0, len(values), 7):
            writer.write(pa.record_batch([column(values[start : start + 7])], names=["text"]))
        writer.finish()
    rows = sorted(data.draw(st.sets(st.integers(0, len(values) - 1))))
    assert texts_at(TextStore(folder), "text", np.array(rows, np.int64)).to_pylist() == [
        values[i] for i in rows
    ]
