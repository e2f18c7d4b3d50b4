"""How far long work is, how fast, and for how long still. Imports no PyTorch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

FIRST_ROWS = "Read the first activations"
HELD_OUT_ROWS = "Read the held-out activations"
_WINDOW_SECONDS = 20.0
_WORTH_SAYING_SECONDS = 1.0
_SPEED_SECONDS = 120.0


@dataclass(frozen=True)
class Progress:
    """One report. `rate` is in units per second over the last twenty seconds, or what is to be expected
    of what is left where work comes in bursts; unknown numbers are None."""

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
        self._newest = Progress(stage, 0, total, unit)

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
        self._newest = Progress(self._stage, done, self._total, self._unit, rate, left, note)
        self._report(self._newest)

    def meanwhile(self, doing: str) -> None:
        """Report what goes on before the next units are done."""
        if self._report is not None:
            self._report(replace(self._newest, doing=doing))


class RowsPace:
    """Reports of activations that a model reads, as a stage of their own."""

    def __init__(self, report: OnProgress | None, stage: str) -> None:
        self._report, self._stage = report, stage
        self._pace: Pace | None = None

    def rows(self, read: int, total: int) -> None:
        """`read` of `total` activations are there."""
        if self._pace is None:
            self._pace = Pace(self._report, self._stage, total, "activations")
        self._pace.at(read)


class AlongsidePace:
    """Reports of a training that takes its steps on pools of activations, with the model reading one between them.

    The first pool is a stage of its own. Time left is what is still to be read at the speed of the model and what is
    still to be trained on at the speed of the steps, and the rate is what comes of both: one that was measured over
    either alone would be wrong by a factor.
    """

    def __init__(self, report: OnProgress | None, stage: str, total: int, begun: int) -> None:
        self._report, self._stage, self._total, self._done = report, stage, total, begun
        self._first: RowsPace | None = RowsPace(report, FIRST_ROWS)
        self._note = ""
        self._mark = self._began = time.monotonic()
        self._reading, self._stepping = _Speed(), _Speed()
        self._read = self._pool = self._unused = 0

    def rows(self, read: int, total: int) -> None:
        """`read` of the `total` activations of a pool are there."""
        now = time.monotonic()
        if read == 0:
            self._began, self._read = now, 0
        else:
            self._reading.add(read - self._read, now - self._mark)
        self._mark, self._read, self._pool, self._unused = now, read, total, read
        if self._first is not None:
            self._first.rows(read, total)
        elif now - self._began >= _WORTH_SAYING_SECONDS:
            self._tell(f"reading {read:,} of {total:,} activations")

    def at(self, done: int, note: str = "") -> None:
        """Steps have been taken on `done` tokens."""
        now = time.monotonic()
        if self._first is not None:  # from here on steps count
            self._first = None
            self._tell()
        if done > self._done:
            self._stepping.add(done - self._done, now - self._mark)
            self._unused -= done - self._done
        self._mark, self._done, self._note = now, done, note
        self._tell()

    def meanwhile(self, doing: str) -> None:
        """Report what goes on before the next steps."""
        self._tell(doing)

    def _tell(self, doing: str = "") -> None:
        if self._report is None:
            return
        left, rest = self._seconds_left(), self._total - self._done
        rate = rest / left if left else self._stepping.rate
        self._report(Progress(self._stage, self._done, self._total, "tokens", rate, left, self._note, doing))

    def _seconds_left(self) -> float | None:
        rest = self._total - self._done
        if self._stepping.rate is None:
            return None
        left = rest / self._stepping.rate
        missing = rest - self._unused - (self._pool - self._read)
        elsewhere = self._unused < -self._pool  # of a cache that the model has filled meanwhile
        if self._reading.rate is None or elsewhere:
            return left
        pools = -(-max(0, missing) // self._pool)
        return left + (self._pool - self._read + pools * self._pool) / self._reading.rate


class _Speed:
    """Units a second, of about the last two minutes."""

    def __init__(self) -> None:
        self._units = self._seconds = 0.0

    def add(self, units: int, seconds: float) -> None:
        self._units, self._seconds = self._units + units, self._seconds + seconds
        if self._seconds > _SPEED_SECONDS:
            self._units, self._seconds = self._units / 2, self._seconds / 2

    @property
    def rate(self) -> float | None:
        return self._units / self._seconds if self._units and self._seconds else None
