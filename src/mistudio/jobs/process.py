"""The process of one job, as its supervisor sees it: start it, hear it, ask it, end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any, Literal

import psutil

from mistudio.jobs.joblog import JobLog


class JobProcess:
    """A child that leads its own session and process group, so that its own children end with it.

    `on_report(report)` is called for each report, in a thread of this object; `on_end()` after the last one.
    """

    def __init__(
        self,
        job_id: str,
        *,
        hello: Mapping[str, Any],
        environment: Mapping[str, str],
        log: JobLog,
        on_report: Callable[[dict[str, Any]], None],
        on_end: Callable[[], None],
    ) -> None:
        reports, reports_end = os.pipe()
        alive_end, self._alive = os.pipe()
        try:
            self._popen = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "mistudio.job_process",
                    job_id,
                    str(reports_end),
                    str(alive_end),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(reports_end, alive_end),
                start_new_session=True,
                env=dict(environment),
                bufsize=0,
            )
        except OSError:
            os.close(reports)
            os.close(self._alive)
            raise
        finally:
            os.close(reports_end)
            os.close(alive_end)
        self.pid = self._popen.pid
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._requests: IO[bytes] = self._popen.stdin
        self._output: IO[bytes] = self._popen.stdout
        self._threads = [
            threading.Thread(target=log.pump, args=(self._output,), name=f"log {job_id}", daemon=True),
            threading.Thread(
                target=self._hear, args=(reports, on_report, on_end), name=f"reports {job_id}", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()
        self._say(hello)

    def ask(self, request: Literal["cancel", "interrupt", "stop"]) -> None:
        """Put a request to the job. One that has just ended does not hear it."""
        self._say({"ask": request})

    def terminate(self) -> None:
        """Send SIGTERM to the job and its children."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the job and its children."""
        self._signal(signal.SIGKILL)

    def memory(self) -> int:
        """Bytes that it holds now; 0 when it has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._popen.poll() is not None

    def close(self) -> int:
        """End what is left of the process group, take in the last reports; the exit status (-N: signal N)."""
        self._signal(signal.SIGKILL)
        code = self._popen.wait()
        for thread in self._threads:
            thread.join(timeout=5)
        with contextlib.suppress(OSError):
            self._requests.close()
        self._output.close()
        os.close(self._alive)
        return code

    def _signal(self, number: signal.Signals) -> None:
        # The watching shell keeps the group's number taken until the group is killed.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _say(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._requests.write(json.dumps(message).encode() + b"\n")

    @staticmethod
    def _hear(reports: int, on_report: Callable[[dict[str, Any]], None], on_end: Callable[[], None]) -> None:
        with os.fdopen(reports, "rb") as pipe:
            for line in pipe:
                if line.endswith(b"\n"):  # a killed process leaves half a line
                    on_report(json.loads(line))
        on_end()
