"""An axis of a figure drawn by hand: values to pixels, and round ticks."""

from __future__ import annotations

import math


class Axis:
    """Maps values from `low` to `high` to pixels from `start` to `end`.

    margin: share of the range that is left free at both ends. flat: what is left free where there is no range and the
    one value is 0. intervals: about how many the ticks make.
    """

    def __init__(
        self,
        low: float,
        high: float,
        start: float,
        end: float,
        *,
        logarithmic: bool,
        margin: float = 0.06,
        flat: float = 0.1,
        intervals: int = 5,
    ) -> None:
        self._log, self._start, self._end, self._intervals = logarithmic, start, end, intervals
        low, high = (math.log10(one) if logarithmic else one for one in (low, high))
        apart = margin * (high - low) if high > low else 0.05 * abs(high) or flat
        self._low, self._high = low - apart, high + apart

    def __call__(self, value: float) -> float:
        place = math.log10(value) if self._log else value
        return self._start + (place - self._low) / (self._high - self._low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        if not self._log:
            return self._linear(self._low, self._high)
        low, high = 10**self._low, 10**self._high
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
            found = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
            if len(found) >= self._intervals - 1:
                return found
        return self._linear(low, high)

    def _linear(self, low: float, high: float) -> list[float]:
        rough = (high - low) / self._intervals
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(times * unit for times in (1, 2, 5, 10) if times * unit >= rough)
        return [round(n * step, 12) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
