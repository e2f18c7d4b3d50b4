"""The job process's end of its two pipes: reports go out as JSON lines, requests come in."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from typing import IO, Any

from pydantic_core import to_json

from mistudio.jobs.context import Asked

LATEST_SECONDS = 0.1


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


class PipeReporter:
    """Writes reports to the supervisor; of those with a key at most ten a second, the newest always."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # the job's own children must not hold it open
        self._pipe = os.fdopen(fd, "wb", buffering=0)
        self._lock = threading.Lock()
        self._latest: dict[str, dict[str, Any]] = {}
        self._waiting = threading.Event()
        threading.Thread(target=self._flush_regularly, name="report", daemon=True).start()

    def report(self, report: dict[str, Any]) -> None:
        """Send this report, after all that came before it. NaN and infinity are sent as null."""
        line = to_json(report, inf_nan_mode="null", fallback=_plain) + b"\n"
        with self._lock:
            self._flush()
            self._write(line)

    def latest(self, key: str, report: dict[str, Any]) -> None:
        """Send this report within a tenth of a second, unless a newer one of the same key replaces it."""
        with self._lock:
            self._latest[key] = report
        self._waiting.set()

    def _flush(self) -> None:
        waiting, self._latest = self._latest, {}
        for report in waiting.values():
            self._write(to_json(report, inf_nan_mode="null", fallback=_plain) + b"\n")

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[self._pipe.write(left) :]

    def _flush_regularly(self) -> None:
        pause = threading.Event()
        while True:
            self._waiting.wait()
            self._waiting.clear()
            with self._lock:
                self._flush()
            pause.wait(LATEST_SECONDS)


def take_requests_pipe() -> IO[bytes]:
    """The pipe that the supervisor writes to, moved away from stdin so that nothing else reads from it."""
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def read_hello(requests: IO[bytes]) -> dict[str, Any]:
    """The first line: settings, attempt and device. Sent through the pipe, since it may hold secrets."""
    return json.loads(requests.readline())


def listen_to(requests: IO[bytes], asked: Asked) -> None:
    """Note what the supervisor asks, in a thread; when it is gone, so is this process."""
    heard: dict[str, Callable[[], None]] = {
        "cancel": asked.cancel.set,
        "interrupt": asked.interrupt.set,
        "stop": asked.stop.set,
    }

    def listen() -> None:
        for line in requests:
            heard[json.loads(line)["ask"]]()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=listen, name="requests", daemon=True).start()
