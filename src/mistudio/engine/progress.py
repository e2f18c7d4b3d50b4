"""How far long work is, how fast, and for how long still. Imports no PyTorch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_SECONDS = 20.0


@dataclass(frozen=True)
class Progress:
    """One report. `rate` is in units per second over the last twenty seconds; unknown numbers are None."""

    stage: str
    done: int
    total: int | None
    unit: str = "tokens"
    rate: float | None = None
    seconds_left: float | None = None
    note: str = ""
    """what else there is to say, such as the newest loss"""


OnProgress = Callable[[Progress], None]


class Pace:
    """Turns counts into reports with rate and time left. Every report is given on; receivers throttle as they like."""

    def __init__(
        self, report: OnProgress | None, stage: str, total: int | None, unit: str = "tokens"
    ) -> None:
        self._report, self._stage, self._total, self._unit = report, stage, total, unit
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, done: int, note: str = "") -> None:
        """Report that `done` units are behind; what the receiver raises goes through to the caller."""
        if self._report is None:
            return
        now = time.monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        rate = (done - before) / (now - began) if now > began and done > before else None
        left = None if rate is None or self._total is None else max(self._total - done, 0) / rate
        self._report(Progress(self._stage, done, self._total, self._unit, rate, left, note))
