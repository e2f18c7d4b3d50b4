"""A job's log with levels: filtered, searched, followed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.errors import StudioError
from mistudio.jobs.joblog import JobLog
from mistudio.jobs.loglines import read_lines

LINES = [
    "── Train something: attempt 1 on host ──",
    "INFO job: Going on from the checkpoint of step 1,000.",
    "DEBUG httpx: GET something",
    "WARNING py.warnings: Überlauf in a cast",
    "  a line of the warning's own",
    "ERROR job: failed: The loss became nan.",
    "Traceback (most recent call last):",
    '  File "trainer.py", line 3, in step',
    "── failed: The loss became nan. ──",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "jb.log"
    writer = JobLog(path)
    for line in LINES:
        writer.write(line)
    writer.close()
    return path


def test_lines_without_a_level_have_that_of_the_line_before(log: Path) -> None:
    page = read_lines(log)
    assert [line.level for line in page.lines] == [
        *("info", "info", "debug", "warning", "warning", "error", "error", "error", "info"),
    ]
    assert [line.attempt for line in page.lines] == [True, *[False] * 7, True]
    assert page.lines[3].source == "py.warnings"
    assert page.lines[3].text == "Überlauf in a cast"
    assert page.total == page.matching == 9
    errors = read_lines(log, level="error")
    assert [line.number for line in errors.lines] == [1, 6, 7, 8, 9]


def test_search_is_blind_to_case_and_keeps_the_newest(log: Path) -> None:
    assert [line.number for line in read_lines(log, search="ÜBERLAUF").lines] == [4]
    page = read_lines(log, search="a", limit=2)
    assert [line.number for line in page.lines] == [8, 9]
    assert page.matching == len(read_lines(log, search="A", limit=9).lines)
    assert read_lines(log, search="nowhere").lines == []
    assert read_lines(log.with_name("none.log")).total == 0


def test_following_reads_each_line_once_and_none_by_halves(log: Path) -> None:
    page = read_lines(log)
    with log.open("ab") as file:
        file.write(b"2026-01-01T00:00:00.000Z half a li")
        file.flush()
        more = read_lines(log, cursor=page.cursor)
        assert more.lines == []
        file.write(b"ne\n")
    more = read_lines(log, cursor=more.cursor)
    assert [(line.number, line.text, line.at) for line in more.lines] == [
        (10, "half a line", "2026-01-01T00:00:00.000Z")
    ]
    with pytest.raises(StudioError, match="cursor"):
        read_lines(log, cursor="3.x")


@given(st.lists(st.binary(max_size=200).filter(lambda raw: b"\n" not in raw), max_size=30))
def test_whatever_a_process_prints_is_shown_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, written: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("log") / "jb.log"
    writer = JobLog(path)
    for raw in written:
        writer.write(raw)
    writer.close()
    page = read_lines(path)
    assert [line.number for line in page.lines] == list(range(1, len(written) + 1))
    whole = path.read_bytes().decode("utf-8", "replace").split("\n")[:-1]
    for line, text in zip(page.lines, whole, strict=True):
        assert text.endswith(line.text)
        assert line.at is not None and text.startswith(line.at)
