"""Finding rows: words by the index, the rest by reading rows for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute
import regex

from mistudio.datasets.rows_schemas import SearchMode, SearchOrder
from mistudio.datasets.search_index import SearchIndex, TextMatcher, spans
from mistudio.datasets.search_query import parse_query
from mistudio.datasets.text_store import TextStore
from mistudio.errors import StudioError

pc: Any = pyarrow.compute  # its functions are made at run time, so type checkers do not see them

SCAN_SECONDS = 1.5
COUNT_SECONDS = 0.05
_MARK_SECONDS = 0.2
_MOST_MARKS = 1_000


@dataclass
class Found:
    """Row numbers, and where to go on; `expression` is FTS5's where the index answered, else `pattern` matches."""

    rows: list[int]
    next_offset: int | None
    searched: Literal["index", "scan"]
    total: int | None = None
    at_least: int | None = None
    note: str | None = None
    expression: str | None = None
    pattern: Any = field(default=None)

    def marks(self, texts: list[str]) -> list[list[tuple[int, int]]]:
        """Where each text matches: [start, end) in characters."""
        if self.expression is not None:
            return [marks[:_MOST_MARKS] for marks in spans(self.expression, texts)]
        return [_marks(self.pattern, text) for text in texts]


def find_rows(
    store: TextStore,
    column: str,
    index: SearchIndex | None,
    q: str,
    *,
    mode: SearchMode = "words",
    order: SearchOrder = "row",
    offset: int = 0,
    limit: int = 50,
) -> Found:
    """Rows that match `q`: from row `offset` on, or by rank from place `offset` on.

    Raises StudioError `query_invalid`, `search_too_long`, `no_search_index` for an order that needs one.
    """
    if mode == "words" and index is not None:
        found = _by_index(index, parse_query(q, index.words_from), order, offset, limit)
        found.expression = parse_query(q)
        return found
    if order == "rank":
        raise StudioError(
            "no_search_index",
            "Rows can be ranked only by a search index for words.",
            hint="Build the search index, or list the rows in their order.",
            status=409,
        )
    if mode == "words":
        expression = parse_query(q)
        with closing(TextMatcher(expression)) as matcher:
            found = _by_scan(_matching_words(store, column, matcher, offset), store.n_rows, offset, limit)
        found.expression = expression
        without = "Without a search index, rows are read one by one."
        found.note = f"{without} {found.note}" if found.note else without
        return found
    pattern = _pattern(q, mode == "regex")
    found = _by_scan(_matching(store, column, q, mode == "regex", offset), store.n_rows, offset, limit)
    found.pattern = pattern
    return found


def marks_in(text: str, q: str, mode: SearchMode) -> list[tuple[int, int]]:
    """Where one text matches: [start, end) in characters. Raises StudioError `query_invalid`."""
    if mode == "words":
        return spans(parse_query(q), [text])[0][:_MOST_MARKS]
    return _marks(_pattern(q, mode == "regex"), text)


def _by_index(index: SearchIndex, expression: str, order: SearchOrder, offset: int, limit: int) -> Found:
    found = Found([], None, "index")
    if order == "rank":
        rows, everything = index.ranked(expression, offset, limit + 1)
        found.next_offset = offset + limit if len(rows) > limit else None
        if not everything:
            found.note = "Over 20,000 rows match; the first 20,000 of them are ranked."
        if offset == 0:
            _, count, everything = index.first_rows(expression, 0, COUNT_SECONDS)
            found.total, found.at_least = (count, None) if everything else (None, count)
    elif offset == 0:
        rows, count, everything = index.first_rows(expression, limit + 1, COUNT_SECONDS)
        found.total, found.at_least = (count, None) if everything else (None, count)
        found.next_offset = rows[limit] if len(rows) > limit else None
    else:
        rows = index.rows_from(expression, offset, limit + 1)
        found.next_offset = rows[limit] if len(rows) > limit else None
    found.rows = rows[:limit]
    return found


def _by_scan(pieces: Iterator[tuple[int, list[int]]], n_rows: int, offset: int, limit: int) -> Found:
    """Read pieces, (rows read up to here, rows that match), until `limit` match or the time is over."""
    found = Found([], None, "scan")
    deadline = time.monotonic() + SCAN_SECONDS
    for end, rows in pieces:
        found.rows += rows
        if len(found.rows) > limit:
            found.next_offset = found.rows[limit]
            del found.rows[limit:]
            return found
        if time.monotonic() > deadline and end < n_rows:
            found.next_offset = end
            found.note = f"Searched up to row {end - 1:,} of {n_rows:,}."
            return found
    if offset == 0:
        found.total = len(found.rows)
    return found


def _matching_words(
    store: TextStore, column: str, matcher: TextMatcher, offset: int
) -> Iterator[tuple[int, list[int]]]:
    for first, texts in store.texts(column, offset):
        yield first + len(texts), [first + place for place in matcher.matches(texts)]


def _matching(
    store: TextStore, column: str, q: str, is_regex: bool, offset: int
) -> Iterator[tuple[int, list[int]]]:
    match = pc.match_substring_regex if is_regex else pc.match_substring
    for first, table in store.tables(offset):
        for batch in table.select([column]).to_batches(max_chunksize=10_000):
            try:
                hits = match(batch.column(0), q, ignore_case=True)
            except pa.ArrowInvalid as error:
                what = str(error).removeprefix("Invalid regular expression: ").splitlines()[0]
                raise _not_a_pattern(what) from error
            yield first + batch.num_rows, [first + i for i in pc.indices_nonzero(hits).to_pylist()]
            first += batch.num_rows


def _pattern(q: str, is_regex: bool) -> Any:
    """How matches are marked. Arrow's RE2 decides which rows match; Python's `regex` reads nearly the same syntax."""
    try:
        return regex.compile(q if is_regex else regex.escape(q), regex.IGNORECASE)
    except regex.error as error:
        raise _not_a_pattern(str(error)) from error


def _not_a_pattern(what: str) -> StudioError:
    return StudioError(
        "query_invalid",
        f"This is not a regular expression: {what}.",
        hint="Correct it, or search for exactly this text.",
        status=422,
        fields={"q": what},
    )


def _marks(pattern: Any, text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    try:
        for match in pattern.finditer(text, timeout=_MARK_SECONDS):
            if match.end() > match.start():
                found.append(match.span())
            if len(found) >= _MOST_MARKS:
                break
    except TimeoutError:
        pass  # the row matches; where, would take too long to say
    return found
