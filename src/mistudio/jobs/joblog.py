"""The log of a job: everything its process writes, each line with its time, in one file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import IO

from mistudio.settings import Settings

MAX_LOG_BYTES = 50_000_000
_MAX_LINE_BYTES = 64_000


def log_path(settings: Settings, job_id: str) -> Path:
    """Where the log of this job lies; all its attempts share one file."""
    return settings.data_dir / "jobs" / f"{job_id}.log"


class JobLog:
    """Appends to a job's log. A full disk or a full log never stops the job: what does not fit is dropped."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._left = max_bytes - self._file.tell()
        self._lock = Lock()

    def write(self, line: str | bytes) -> None:
        """Append one line, stamped with the present time in UTC."""
        raw = line.encode("utf-8", "replace") if isinstance(line, str) else line
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z "
        whole = stamp.encode() + raw.rstrip(b"\r\n") + b"\n"
        with self._lock:
            if self._left <= 0 or self._file.closed:
                return
            self._left -= len(whole)
            if self._left <= 0:
                whole = f"{stamp}The log is full: nothing more is written to it.\n".encode()
            try:
                self._file.write(whole)
            except OSError:
                self._left = 0

    def pump(self, pipe: IO[bytes]) -> None:
        """Write down what comes out of `pipe` until its end.

        A progress bar that redraws itself with carriage returns leaves its last state only.
        """
        rest = b""
        while chunk := os.read(pipe.fileno(), 65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self.write(_last_drawn(line))
            rest = _last_drawn(rest)
            if len(rest) > _MAX_LINE_BYTES:
                self.write(rest)
                rest = b""
        if rest:
            self.write(rest)

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        with self._lock:
            self._file.close()


def _last_drawn(line: bytes) -> bytes:
    drawn = line.rstrip(b"\r")
    return drawn.rsplit(b"\r", 1)[-1] + line[len(drawn) :]


def read_log(path: Path, tail: int | None = None) -> str:
    """The log's text, or its last `tail` lines; empty if nothing was written yet."""
    if not path.is_file():
        return ""
    if tail is None:
        return path.read_text("utf-8", "replace")
    if tail <= 0:
        return ""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        size = 8_192
        while True:
            start = max(0, end - size)
            file.seek(start)
            block = file.read(end - start)
            lines = block.splitlines(keepends=True)
            if start == 0 or len(lines) > tail:
                return b"".join(lines[-tail:]).decode("utf-8", "replace")
            size *= 4
