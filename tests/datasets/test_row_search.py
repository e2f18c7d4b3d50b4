"""Searching rows: what is typed, what is found and what is marked."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.datasets.row_search import find_rows, marks_in
from mistudio.datasets.rows import page_of_rows
from mistudio.datasets.search_index import FILE, TOKENIZER, SearchIndex, build_index, spans
from mistudio.datasets.search_query import parse_query
from mistudio.datasets.text_store import TextStore, TextWriter
from mistudio.errors import StudioError
from mistudio.store import atomic_folder

ROWS = [
    "The Civil War had begun.",
    "A war, civil or not, is a war.",
    "Emancipation was proclaimed in 1863; the emancipated cheered.",
    "Café society in peace",
    "",
    "peace and plenty, 😀 peace at last",
]


def store_of(folder: Path, rows: list[str]) -> TextStore:
    with atomic_folder(folder) as draft:
        writer = TextWriter(draft)
        writer.write(pa.record_batch([pa.array(rows, pa.large_string())], names=["text"]))
        writer.finish()
    return TextStore(folder)


@pytest.fixture
def store(tmp_path: Path) -> TextStore:
    return store_of(tmp_path / "text", ROWS)


@pytest.fixture
def index(tmp_path: Path, store: TextStore) -> Any:
    build_index(lambda start: store.texts("text", start), store.n_rows, "text", tmp_path / "search")
    with SearchIndex(tmp_path / "search") as index:
        yield index


@pytest.mark.parametrize(
    ("q", "rows"),
    [
        ("war civil", [0, 1]),
        ('"civil war"', [0]),
        ("emancip*", [2]),
        ("war -begun", [1]),
        ("war NOT begun", [1]),
        ("begun OR peace", [0, 3, 5]),
        ("(begun OR peace) -plenty", [0, 3]),
        ('"proclaimed in 18"*', [2]),
        ("CAFE", [3]),
        ("1863", [2]),
        ("nothing", []),
        ("civil AND war", [0, 1]),
        ("don't", []),
    ],
)
def test_words_are_found_by_the_index(store: TextStore, index: SearchIndex, q: str, rows: list[int]) -> None:
    found = find_rows(store, "text", index, q)
    assert found.rows == rows and found.total == len(rows) and found.searched == "index"


def test_beginnings_are_written_out_as_the_words_there_are(index: SearchIndex) -> None:
    assert parse_query("Émancip*", index.words_from) == '("emancipated" OR "emancipation")'
    assert parse_query("pe* -zzz*", index.words_from) == '(("peace") NOT ("zzz" *))'
    assert index.words_from("two words") is None and index.words_from("qq") == []


@given(
    st.lists(st.text(alphabet='ab é*-"OR', max_size=12), min_size=1, max_size=12),
    st.sampled_from(["a", "b*", '"a b"', "a OR é", "a -b", "éa*"]),
)
@settings(deadline=None, max_examples=40)
def test_the_index_and_reading_find_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], q: str
) -> None:
    folder = tmp_path_factory.mktemp("same")
    store = store_of(folder / "text", rows)
    build_index(lambda start: store.texts("text", start), store.n_rows, "text", folder / "search")
    with SearchIndex(folder / "search") as index:
        assert find_rows(store, "text", index, q).rows == find_rows(store, "text", None, q).rows


def test_pages_and_ranks(store: TextStore, index: SearchIndex) -> None:
    first = find_rows(store, "text", index, "war OR peace", limit=2)
    assert first.rows == [0, 1] and first.next_offset == 3 and first.total == 4
    second = find_rows(store, "text", index, "war OR peace", limit=2, offset=3)
    assert second.rows == [3, 5] and second.next_offset is None
    ranked = find_rows(store, "text", index, "peace", order="rank", limit=1)
    assert ranked.rows == [5] and ranked.next_offset == 1  # it says it twice
    assert find_rows(store, "text", index, "peace", order="rank", limit=1, offset=1).rows == [3]


@pytest.mark.parametrize(
    ("q", "said"),
    [
        ('the "civil war', "quotation mark at character 5 is never closed"),
        ("(war", "bracket at character 1 is never closed"),
        ("war)", "at character 4 closes nothing"),
        ("-war", "only what a row must not hold"),
        ("war -", "holds no letter or digit|Nothing follows"),
        ("!!!", "holds no letter or digit"),
        ("war OR", "no word to look for"),
        ("   ", "no word to look for"),
        ("(" * 40 + "war" + ")" * 40, "nests brackets"),
    ],
)
def test_a_wrong_query_is_told_what_is_wrong(q: str, said: str) -> None:
    with pytest.raises(StudioError, match=said) as caught:
        parse_query(q)
    assert caught.value.code == "query_invalid" and caught.value.status == 422


@settings(deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="ab \"()*-'OR NOTAND^:{}+,.NEAR", max_size=40)))
def test_whatever_is_typed_is_a_query_or_one_clear_error(q: str) -> None:
    try:
        expression = parse_query(q)
    except StudioError as error:
        assert error.code == "query_invalid"
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='{TOKENIZER}')")
        connection.execute("INSERT INTO words(rowid, text) VALUES (0, 'a b')")
        connection.execute("SELECT rowid FROM words WHERE words MATCH ?", (expression,)).fetchall()


def test_what_is_found_is_marked(store: TextStore, index: SearchIndex) -> None:
    page = page_of_rows(store, "text", offset=0, limit=10, q="peace OR cafe", index=index)
    marked = {
        row.index: [row.values["text"][mark.start : mark.end] for mark in row.marks] for row in page.items
    }
    assert marked == {3: ["Café", "peace"], 5: ["peace", "peace"]}
    assert spans(parse_query("a"), ["\x02 a \x03 a"]) == [[(2, 3), (6, 7)]]
    assert marks_in("The CIVIL war", '"civil war"', "words") == [(4, 13)]


def test_long_rows_are_cut_around_the_first_match(tmp_path: Path) -> None:
    store = store_of(tmp_path / "long", ["word " * 1_000 + "needle " + "word " * 1_000])
    row = page_of_rows(store, "text", offset=0, limit=1, q="needle", mode="text", characters=400).items[0]
    assert len(row.values["text"]) == 400 and row.cut["text"].length == 10_007
    assert [row.values["text"][mark.start : mark.end] for mark in row.marks] == ["needle"]


def test_exact_text_and_patterns_are_scanned(store: TextStore) -> None:
    assert find_rows(store, "text", None, "CIVIL W", mode="text").rows == [0]
    found = find_rows(store, "text", None, r"\d{4};|plenty,", mode="regex")
    assert found.rows == [2, 5] and found.searched == "scan" and found.total == 2
    assert found.marks([ROWS[5]]) == [[(10, 17)]]
    first = find_rows(store, "text", None, "peace", mode="text", limit=1)
    assert first.rows == [3] and first.next_offset == 5
    with pytest.raises(StudioError, match="not a regular expression"):
        find_rows(store, "text", None, "(", mode="regex")


def test_without_an_index_words_are_read_for_and_that_is_said(store: TextStore) -> None:
    found = find_rows(store, "text", None, "civil OR emancip*")
    assert found.rows == [0, 1, 2] and found.searched == "scan" and found.total == 3
    assert "Without a search index" in (found.note or "")
    assert found.marks([ROWS[0]]) == [[(4, 9)]]
    with pytest.raises(StudioError, match="ranked only by a search index"):
        find_rows(store, "text", None, "war", order="rank")


def test_a_build_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mistudio.datasets import search_index

    monkeypatch.setattr(search_index, "_COMMIT_BYTES", 1_000)
    rows = [f"row number {number} of many" for number in range(2_000)]
    store = store_of(tmp_path / "text", rows)
    starts: list[int] = []

    def batches(start: int) -> Any:
        starts.append(start)
        return store.texts("text", start, batch_rows=100)

    def stop_half_way(done: float, total: float | None, unit: str, stage: str) -> None:
        if done >= 1_000:
            raise KeyboardInterrupt

    folder = tmp_path / "search"
    with pytest.raises(KeyboardInterrupt):
        build_index(batches, store.n_rows, "text", folder, stop_half_way)
    for _ in range(2):  # the second finds everything done, as after a kill at the very end
        build_index(batches, store.n_rows, "text", folder)
    assert starts[0] == 0 and 800 <= starts[1] <= 1_000
    with SearchIndex(folder) as index:
        assert index.first_rows(parse_query("many"), 1, 5) == ([0], 2_000, True)
        assert index.rows_from(parse_query("1999"), 0, 5) == [1_999]
    # Of another column: nothing of it is kept.
    build_index(batches, store.n_rows, "other", folder)
    assert starts[-1] == 0


_KILLED = """
import os, signal, sys
from pathlib import Path
from mistudio.datasets import search_index
from mistudio.datasets.text_store import TextStore

search_index._COMMIT_BYTES = 1_000
store = TextStore(Path(sys.argv[1]))

def kill(done, total, unit, stage):
    if done >= 1_000:
        os.kill(os.getpid(), signal.SIGKILL)

search_index.build_index(
    lambda start: store.texts("text", start, batch_rows=100), store.n_rows, "text", Path(sys.argv[2]), kill
)
"""


def test_a_build_that_was_killed_outright_is_whole_in_the_end(tmp_path: Path) -> None:
    store = store_of(tmp_path / "text", [f"row number {number} of many" for number in range(2_000)])
    folder = tmp_path / "search"
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "text"), str(folder)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    build_index(lambda start: store.texts("text", start), store.n_rows, "text", folder)
    with SearchIndex(folder) as index:
        assert index.first_rows(parse_query("many"), 2, 5) == ([0, 1], 2_000, True)
        found = [index.rows_from(parse_query(str(number)), 0, 5) for number in range(0, 2_000, 50)]
    assert found == [[number] for number in range(0, 2_000, 50)]


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / FILE).write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StudioError, match="damaged"):
        SearchIndex(folder)


def test_damage_further_in_is_named_when_it_is_met(tmp_path: Path) -> None:
    rows = [f"word{number} of many" for number in range(20_000)]
    store = store_of(tmp_path / "text", rows)
    folder = tmp_path / "search"
    build_index(lambda start: store.texts("text", start), store.n_rows, "text", folder)
    whole = (folder / FILE).read_bytes()
    half = len(whole) // 2
    (folder / FILE).write_bytes(whole[:half] + b"\0" * (len(whole) - half))
    with SearchIndex(folder) as index, pytest.raises(StudioError, match="damaged"):
        find_rows(store, "text", index, "many")
        find_rows(store, "text", index, "word1*")
