"""Contestants that take turns: long runs of several programs, measured side by side on a noisy machine.

Each contestant is a process of its own (`python -m bench.peers.NAME`, given its task as JSON). It loads what it needs,
says that it is ready and waits. Then all of them run in turn for a few seconds at a time, the others stopped
(SIGSTOP), until the last has finished: whatever else the machine does meets all alike. A contestant's time is the
sum of its turns.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TURN_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
SAYS = "@bench "
"""A contestant's own lines begin with this: what libraries print is passed over."""


def take_part(prepare: Callable[[dict[str, Any]], Callable[[], Callable[[], dict[str, Any]]]]) -> None:
    """Be a contestant: `prepare(task)` loads and returns the work; the work returns what measures its outcome.

    Only the work is timed. Called by the modules in `bench.peers`.
    """
    task = json.loads(sys.argv[1])
    work = prepare(task)
    print(SAYS + "ready", flush=True)
    sys.stdin.readline()
    measure = work()
    print(SAYS + "finished", flush=True)
    sys.stdin.readline()
    print(SAYS + json.dumps(measure()), flush=True)


@dataclass
class Contestant:
    """One process and the seconds that it has run for."""

    name: str
    module: str
    task: dict[str, Any]
    seconds: float = 0.0
    outcome: dict[str, Any] = field(default_factory=dict[str, Any])
    cpu_seconds: float = 0.0
    peak_bytes: int = 0

    def start(self, threads: int) -> None:
        self._errors = Path(self.task["work"]) / f"{self.name.replace(' ', '-')}.log"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "WANDB_MODE": "disabled",
            "PYTHONPATH": str(ROOT),
        }
        with self._errors.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, json.dumps(self.task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=self.task["work"],
                preexec_fn=_end_with_parent,
            )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.hear("ready", 600.0)
        self._cpu_before = _cpu_seconds(self._process.pid)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(SAYS):
                self._lines.put(line[len(SAYS) :].strip())
        self._lines.put(None)

    def say_go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go on\n")
        self._process.stdin.flush()

    def hear(self, expected: str | None, timeout: float) -> str | None:
        """The next line, or None when none came in time. Raises RuntimeError when the process is gone."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
        if line is None or (expected is not None and line != expected):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            said = self._errors.read_text("utf-8", errors="replace")
            raise RuntimeError(f"{self.name} failed ({line}):\n{said[-4000:]}")
        return line

    def stop(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def turn(self, seconds: float) -> bool:
        """Run for a while; whether it has finished."""
        os.kill(self._process.pid, signal.SIGCONT)
        began = time.perf_counter()
        finished = self.hear("finished", seconds) is not None
        self.seconds += time.perf_counter() - began
        self.stop()
        if finished:
            self.cpu_seconds = _cpu_seconds(self._process.pid) - self._cpu_before
            self.peak_bytes = _peak_bytes(self._process.pid)
        return finished

    def measure(self) -> None:
        """Let it measure what it made, and end."""
        os.kill(self._process.pid, signal.SIGCONT)
        self.say_go_on()
        line = self.hear(None, 600.0)
        if line is None:
            raise RuntimeError(f"{self.name} did not say how it did")
        self.outcome = json.loads(line)
        self._process.wait(60)

    def end(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            self._process.kill()


def _end_with_parent() -> None:
    """A contestant that is stopped when the contest is killed would wait for ever: the kernel ends it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def compete(contestants: list[Contestant], threads: int = 2, turn_seconds: float = TURN_SECONDS) -> None:
    """Start all, let them take turns to the end, then let each measure its outcome."""
    try:
        for one in contestants:
            one.start(threads)
            one.stop()
        for one in contestants:
            one.say_go_on()
        running = list(contestants)
        while running:
            running = [one for one in running if not one.turn(turn_seconds)]
        for one in contestants:
            one.measure()
    finally:
        for one in contestants:
            one.end()


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_bytes(pid: int) -> int:
    """The most memory that a process has had (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
