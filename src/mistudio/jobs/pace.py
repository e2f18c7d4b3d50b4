"""How fast a job goes and how long it still takes: the one place where rate and time left are computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SMOOTHING_SECONDS = 10.0


@dataclass
class Pace:
    """Progress of one run. `rate` is in units a second, `seconds_left` counts for the present stage.

    The rate is the units done over the time taken, both summed with weights that fade by a factor e every ten
    seconds; it starts anew with each stage, and what was done before this run began does not count. Work that comes
    in bursts says its rate itself, and what it is `doing` between them.
    """

    done: float | None = None
    total: float | None = None
    unit: str | None = None
    stage: str | None = None
    rate: float | None = None
    doing: str = ""

    def __post_init__(self) -> None:
        self._at: float | None = None
        self._units = 0.0
        self._seconds = 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until this stage is done; None where total or rate are not known."""
        if self.total is None or self.done is None or not self.rate:
            return None
        return max(0.0, self.total - self.done) / self.rate

    def update(
        self,
        done: float,
        total: float | None,
        unit: str | None,
        stage: str | None,
        at: float,
        doing: str = "",
        rate: float | None = None,
    ) -> None:
        """Take in one report, made at `at` seconds of a steady clock."""
        same = (unit, stage) == (self.unit, self.stage) and self.done is not None and done >= self.done
        if not same:
            self._units = self._seconds = 0.0
            self.rate = None
        elif self._at is not None and at > self._at and self.done is not None:
            fade = math.exp(-(at - self._at) / SMOOTHING_SECONDS)
            self._units = self._units * fade + (done - self.done)
            self._seconds = self._seconds * fade + (at - self._at)
            self.rate = self._units / self._seconds
        elif self._at is not None:
            self._units += done - (self.done or 0.0)  # several reports at one instant
        if rate is not None:
            self.rate = rate
        self.done, self.total, self.unit, self.stage, self._at = done, total, unit, stage, at
        self.doing = doing

    def columns(self) -> dict[str, Any]:
        """The values of the job's progress columns."""
        shown = {name: getattr(self, name) for name in ("done", "total", "unit", "rate", "seconds_left")}
        return shown | {"stage": f"{self.stage}, {self.doing}" if self.stage and self.doing else self.stage}
