"""How far long work is, how fast, and for how long still. Imports no PyTorch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

FIRST_ROWS = "Read the first activations"
HELD_OUT_ROWS = "Read the held-out activations"
_WINDOW_SECONDS = 20.0
_WORTH_SAYING_SECONDS = 1.0


@dataclass(frozen=True)
class Progress:
    """One report. `rate` is in units per second over the last twenty seconds, or over five of its pauses
    where work comes in bursts; unknown numbers are None."""

    stage: str
    done: int
    total: int | None
    unit: str = "tokens"
    rate: float | None = None
    seconds_left: float | None = None
    note: str = ""
    """what else there is to say, such as the newest loss"""
    doing: str = ""
    """what goes on while `done` stands still for more than a moment"""


OnProgress = Callable[[Progress], None]


class Pace:
    """Turns counts into reports with rate and time left. Every report is given on; receivers throttle as they like."""

    def __init__(
        self, report: OnProgress | None, stage: str, total: int | None, unit: str = "tokens"
    ) -> None:
        self._report, self._stage, self._total, self._unit = report, stage, total, unit
        self._seen: deque[tuple[float, int]] = deque()
        self._longest = 0.0

    def at(self, done: int, note: str = "", doing: str = "") -> None:
        """Report that `done` units are behind; what the receiver raises goes through to the caller."""
        if self._report is None:
            return
        now = time.monotonic()
        if self._seen:
            self._longest = max(self._longest, now - self._seen[-1][0])
        if not self._seen or done != self._seen[-1][1]:
            self._seen.append((now, done))
        window = max(_WINDOW_SECONDS, 5 * self._longest)
        while len(self._seen) > 2 and now - self._seen[1][0] >= window:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (done - before) / (now - began) if now > began and done > before else None
        left = None if rate is None or self._total is None else max(self._total - done, 0) / rate
        self._report(Progress(self._stage, done, self._total, self._unit, rate, left, note, doing))


class ReadingPace:
    """Reports of the activations that are read between two steps: a stage of its own before the first step, and what
    is being done within the stage `within` later on, when it takes over a second."""

    def __init__(self, report: OnProgress | None, stage: str, within: Pace | None = None) -> None:
        self._report, self._stage, self._within = report, stage, within
        self._own: Pace | None = None
        self._began = 0.0
        self.done: int | None = None
        """of the stage `within`; None before it has begun"""
        self.note = ""

    def at(self, rows: int, total: int) -> None:
        """`rows` of `total` activations are read."""
        if self.done is None or self._within is None:
            if self._own is None:
                self._own = Pace(self._report, self._stage, total, "activations")
            self._own.at(rows)
            return
        now = time.monotonic()
        if rows == 0:
            self._began = now
        if now - self._began >= _WORTH_SAYING_SECONDS:
            self._within.at(self.done, self.note, f"reading {rows:,} of {total:,} activations")
