"""The full-text index of a data set: an FTS5 table that holds no text, whose row ids are row numbers.

Words are what FTS5's unicode61 takes for them: runs of letters and digits, compared without case and accents.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mistudio.errors import StudioError
from mistudio.store import disk_errors, folder_bytes
from mistudio.store.atomic import sync_folder

TOKENIZER = "unicode61 remove_diacritics 2"
FILE = "index.sqlite"
PATIENCE_SECONDS = 10.0
_COMMIT_BYTES = 64 << 20
_MERGE_PAGES = 2_000
_MOST_RANKED = 20_000
_MOST_ALTERNATIVES = 3_000
_MARKS = [("\x02", "\x03"), ("\ue000", "\ue001"), ("\U000f0000", "\U000f0001"), ("\U00100000", "\U00100001")]

Progress = Callable[[float, float | None, str, str], None]
"""Called with (done, total, unit, stage); may raise to leave."""


def _unheard(_done: float, _total: float | None, _unit: str, _stage: str) -> None:
    pass


def build_index(
    batches: Callable[[int], Iterator[tuple[int, list[str]]]],
    n_rows: int,
    key: str,
    folder: Path,
    progress: Progress = _unheard,
) -> None:
    """Build the index in a folder of its own, going on where an earlier run left it.

    `batches(start)` gives (first row, texts) from a row on; `key` says which text it is.
    `progress(done, total, unit, stage)` may raise to leave.
    Raises DiskFull.
    """
    with disk_errors(folder):
        folder.mkdir(exist_ok=True)
        with closing(_open_part(folder / FILE, key, n_rows)) as connection:
            try:
                _index_rows(connection, batches, n_rows, progress)
                _merge(connection, progress)
                _list_words(connection, progress)
            except sqlite3.OperationalError as error:
                if "full" not in str(error):
                    raise
                raise OSError(errno.ENOSPC, "no space is left for the search index") from error
        with (folder / FILE).open("rb") as file:
            os.fsync(file.fileno())
        sync_folder(folder)


def _open_part(path: Path, key: str, n_rows: int) -> sqlite3.Connection:
    """The index being built, anew unless it is of the same text."""
    about = (key, n_rows)
    if path.exists():
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            found = connection.execute("SELECT text_key, n_rows FROM about").fetchone()
        except sqlite3.DatabaseError:
            found = None
        if found == about:
            _tune(connection)
            return connection
        connection.close()
        shutil.rmtree(path.parent)
        path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size = 8192")
    _tune(connection)
    connection.execute("BEGIN")
    connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='{TOKENIZER}')")
    # Larger pieces in memory mean fewer to merge on the disk.
    connection.execute("INSERT INTO words(words, rank) VALUES ('hashsize', ?)", (_COMMIT_BYTES,))
    connection.execute("CREATE TABLE about (text_key TEXT, n_rows INTEGER, next_row INTEGER)")
    connection.execute("INSERT INTO about VALUES (?, ?, 0)", about)
    connection.execute("COMMIT")
    return connection


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")


def _index_rows(
    connection: sqlite3.Connection,
    batches: Callable[[int], Iterator[tuple[int, list[str]]]],
    n_rows: int,
    progress: Progress,
) -> None:
    start = int(connection.execute("SELECT next_row FROM about").fetchone()[0])
    progress(start, n_rows, "rows", "Index")
    pending = 0
    connection.execute("BEGIN")
    for first, texts in batches(start):
        connection.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", enumerate(texts, first))
        pending += sum(map(len, texts))
        if pending > _COMMIT_BYTES:
            connection.execute("UPDATE about SET next_row = ?", (first + len(texts),))
            connection.execute("COMMIT")
            connection.execute("BEGIN")
            pending = 0
        progress(first + len(texts), n_rows, "rows", "Index")
    connection.execute("UPDATE about SET next_row = ?", (n_rows,))
    connection.execute("COMMIT")


def _merge(connection: sqlite3.Connection, progress: Progress) -> None:
    """Bring all pieces into one, some pages at a time."""
    pages, step = 0, -_MERGE_PAGES
    while True:
        progress(pages, None, "pages", "Merge")
        before = connection.total_changes
        connection.execute("INSERT INTO words(words, rank) VALUES ('merge', ?)", (step,))
        if connection.total_changes - before < 2:
            return
        pages, step = pages + _MERGE_PAGES, _MERGE_PAGES


def _list_words(connection: sqlite3.Connection, progress: Progress) -> None:
    """A table of all words and the number of rows that hold them: what begins so is looked up there."""
    progress(0, None, "words", "List words")
    connection.execute("BEGIN")
    connection.execute("CREATE VIRTUAL TABLE temp.seen USING fts5vocab(main, words, 'row')")
    connection.execute("DROP TABLE IF EXISTS vocabulary")  # of a run that was killed at its very end
    connection.execute("CREATE TABLE vocabulary (word TEXT PRIMARY KEY, n_rows INTEGER) WITHOUT ROWID")
    connection.execute("INSERT INTO vocabulary SELECT term, doc FROM temp.seen")
    connection.execute("COMMIT")


class SearchIndex:
    """A finished index, open for reading. Close it."""

    def __init__(self, folder: Path) -> None:
        self.bytes = folder_bytes(folder)
        # The file never changes under its name, so SQLite need not look for locks or journals.
        self._connection = sqlite3.connect(
            f"{(folder / FILE).absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        try:
            self._connection.execute("PRAGMA mmap_size = 1073741824")
            found = self._connection.execute("SELECT text_key, n_rows FROM about").fetchone()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise _damaged() from error
        self.text_key, self.n_rows = str(found[0]), int(found[1])

    def __enter__(self) -> SearchIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def rows_from(self, expression: str, start: int, limit: int) -> list[int]:
        """The first `limit` matching rows from row `start` on, in order. Raises StudioError `search_too_long`."""
        with self._patience():
            found = self._connection.execute(
                "SELECT rowid FROM words WHERE words MATCH ? AND rowid >= ? ORDER BY rowid LIMIT ?",
                (expression, start, limit),
            )
            return [row[0] for row in found]

    def ranked(self, expression: str, skip: int, limit: int) -> tuple[list[int], bool]:
        """Matching rows by BM25, best first, and whether all matches were ranked (else the first 20,000 of them).

        Raises StudioError `search_too_long`.
        """
        with self._patience():
            scores = self._connection.execute(
                "SELECT rowid, bm25(words) FROM words WHERE words MATCH ? LIMIT ?",
                (expression, _MOST_RANKED + 1),
            ).fetchall()
        everything = len(scores) <= _MOST_RANKED
        scores = sorted(scores[:_MOST_RANKED], key=lambda pair: (pair[1], pair[0]))
        return [row for row, _ in scores[skip : skip + limit]], everything

    def first_rows(self, expression: str, limit: int, seconds: float) -> tuple[list[int], int, bool]:
        """The first `limit` matching rows; how many match, and whether all were counted within `seconds`.

        Raises StudioError `search_too_long`.
        """
        with self._patience():
            found = self._connection.execute(
                "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rowid", (expression,)
            )
            rows = [row[0] for row in found.fetchmany(limit)]
            deadline = time.monotonic() + seconds
            counted = len(rows)
            while some := found.fetchmany(1_000):
                counted += len(some)
                if time.monotonic() > deadline:
                    return rows, counted, False
        return rows, counted, True

    def words_from(self, beginning: str) -> list[str] | None:
        """All indexed words that begin so; None where they are too many to name, or it is not one word.

        FTS5 looks them up by itself, too, but reads every place of each of them before it answers.
        """
        words = _words_in(beginning)
        if len(words) != 1:
            return None
        with self._patience():
            found = self._connection.execute(
                "SELECT word FROM vocabulary WHERE word >= ? AND word < ? LIMIT ?",
                (words[0], words[0] + chr(0x10FFFF), _MOST_ALTERNATIVES + 1),
            ).fetchall()
        return [row[0] for row in found] if len(found) <= _MOST_ALTERNATIVES else None

    @contextmanager
    def _patience(self) -> Generator[None]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "interrupted" not in str(error):
                raise _damaged() from error
            raise StudioError(
                "search_too_long",
                f"The search was given up after {PATIENCE_SECONDS:g} seconds.",
                hint="Look for longer or rarer words.",
                status=422,
            ) from error
        finally:
            self._connection.set_progress_handler(None, 0)


def _damaged() -> StudioError:
    return StudioError("index_torn", "The search index is damaged.", hint="Build it again.", status=500)


def _words_in(text: str) -> list[str]:
    """The words of a text as the index would have them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE page USING fts5(text, tokenize='{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE seen USING fts5vocab(page, 'row')")
        connection.execute("INSERT INTO page VALUES (?)", (text,))
        return [row[0] for row in connection.execute("SELECT term FROM seen")]


class TextMatcher:
    """Which of some texts match an expression, as the index would say if it held them. Close it."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.execute(
            f"CREATE VIRTUAL TABLE page USING fts5(text, content='', tokenize='{TOKENIZER}')"
        )

    def close(self) -> None:
        """Free its memory."""
        self._connection.close()

    def matches(self, texts: list[str]) -> list[int]:
        """Places of the texts that match."""
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO page(rowid, text) VALUES (?, ?)", enumerate(texts))
        found = self._connection.execute(
            "SELECT rowid FROM page WHERE page MATCH ? ORDER BY rowid", (self._expression,)
        ).fetchall()
        self._connection.execute("ROLLBACK")
        return [row[0] for row in found]


def spans(expression: str, texts: list[str]) -> list[list[tuple[int, int]]]:
    """Where each text matches: [start, end) in characters, as the index itself understands the expression."""
    marks = next((m for m in _MARKS if not any(mark in text for mark in m for text in texts)), None)
    found: list[list[tuple[int, int]]] = [[] for _ in texts]
    if marks is None:
        return found
    begin, end = marks
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE page USING fts5(text, tokenize='{TOKENIZER}')")
        connection.executemany("INSERT INTO page(rowid, text) VALUES (?, ?)", enumerate(texts))
        marked = connection.execute(
            "SELECT rowid, highlight(page, 0, ?, ?) FROM page WHERE page MATCH ?", (begin, end, expression)
        )
        for row, text in marked:
            before, *pieces = text.split(begin)
            at = len(before)
            for piece in pieces:
                hit, _, rest = piece.partition(end)
                found[row].append((at, at + len(hit)))
                at += len(hit) + len(rest)
    return found
