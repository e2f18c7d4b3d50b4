"""A job's log line by line, with levels: filtered, searched, and followed from where one has read to."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import Literal, cast, get_args

from pydantic import BaseModel, Field

from mistudio.errors import StudioError

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)
MOST_LINES = 5_000
_LINE = re.compile(
    rb"(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) "
    rb"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<source>[\w.<>-]+): )?"
)
_MARK = "── ".encode()
_READ_BYTES = 1 << 20


class LogLine(BaseModel):
    """One line of a log."""

    number: int = Field(description="Its place in the whole log, from 1.")
    at: str | None = Field(description="When it was written, UTC.")
    level: LogLevel = Field(
        description="A line that names none has that of the line before: a traceback is an error."
    )
    source: str | None = Field(description="The logger that wrote it; null where the line names none.")
    text: str
    attempt: bool = Field(description="Whether it is where an attempt begins or ends.")


class LogPage(BaseModel):
    """The newest lines that match."""

    lines: list[LogLine]
    matching: int = Field(description="Lines that match, those that are not here included.")
    total: int = Field(description="Lines of the log up to here.")
    cursor: str = Field(description="Read on from here for lines written since.")


def read_lines(
    path: Path,
    *,
    level: LogLevel = "debug",
    search: str = "",
    limit: int = 1_000,
    cursor: str = "",
) -> LogPage:
    """The newest `limit` lines of at least this level that hold `search`, in whatever case.

    cursor: of an earlier answer; only lines after it are read. A line that is still being written is left for later.
    Raises StudioError `invalid_input` for a cursor that no answer gave.
    """
    at, number, last = _place(cursor)
    found: deque[tuple[int, LogLevel, bytes]] = deque(maxlen=limit)
    least, wanted = LEVELS.index(level), search.casefold()
    matching = 0
    rest = b""
    if path.is_file():
        with path.open("rb") as file:
            if at > file.seek(0, 2):  # the log was emptied: read it anew
                at, number, last = 0, 0, "info"
            file.seek(at)
            while block := file.read(_READ_BYTES):
                *whole, rest = (rest + block).split(b"\n")
                for raw in whole:
                    at, number = at + len(raw) + 1, number + 1
                    match = _LINE.match(raw)
                    own = match["level"] if match else None
                    text = raw[match.end() :] if match else raw
                    marks = text.startswith(_MARK)
                    if own:
                        last = cast(LogLevel, own.decode().lower())
                    elif marks:
                        last = "info"
                    if LEVELS.index(last) < least and not marks:
                        continue
                    if wanted and wanted not in text.decode("utf-8", "replace").casefold():
                        continue
                    matching += 1
                    found.append((number, last, raw))
    lines = [_line(*one) for one in found]
    return LogPage(lines=lines, matching=matching, total=number, cursor=f"{at}.{number}.{last}")


def _line(number: int, level: LogLevel, raw: bytes) -> LogLine:
    match = _LINE.match(raw)
    text = raw[match.end() :] if match else raw
    return LogLine(
        number=number,
        at=match["at"].decode() if match else None,
        level=level,
        source=match["source"].decode() if match and match["source"] else None,
        text=text.decode("utf-8", "replace"),
        attempt=text.startswith(_MARK),
    )


def _place(cursor: str) -> tuple[int, int, LogLevel]:
    if not cursor:
        return 0, 0, "info"
    parts = cursor.split(".")
    if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit() and parts[2] in LEVELS:
        return int(parts[0]), int(parts[1]), parts[2]
    raise StudioError(
        "invalid_input", "The log's cursor is not one that was given before.", fields={"cursor": "unknown"}
    )
