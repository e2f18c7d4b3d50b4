"""How fast this machine trains, from the runs that it has finished: the model's pass and the steps priced apart.

A token of a sweep costs `a` seconds for each operation of the model's pass and `b` for each of the dictionaries' steps.
Both are fitted to what finished runs took, those of like cost and long ones counting most, so that runs from a cache
and sweeps of other sizes inform each other. Without runs a stated assumption stands in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ASSUMED_FLOPS = 60e9
"""Operations a second on a machine that has finished no run yet: two cores of a server in float32."""
# How much the belief that both kinds of operation take equally long counts against one run of equal cost.
_PRIOR = 1e-3
_START_SECONDS = 30.0
"""A run that took so long counts half: what a short one took is its start in good part."""


@dataclass(frozen=True)
class MeasuredRun:
    """What a finished sweep of this machine took: operations for each token of its stream, tokens a second, and the
    seconds of all."""

    name: str
    model_flops: float
    step_flops: float
    tokens_per_second: float
    seconds: float = math.inf

    @property
    def flops(self) -> float:
        """Operations for each token."""
        return self.model_flops + self.step_flops


@dataclass(frozen=True)
class Rate:
    """Tokens a second of a sweep that has not run, and in words where that is known from."""

    tokens_per_second: float
    basis: str


def rate_of(model_flops: float, step_flops: float, measured: Sequence[MeasuredRun]) -> Rate:
    """The speed of a sweep whose token costs so many operations in the model and in all steps together."""
    flops = model_flops + step_flops
    if not measured:
        basis = f"an assumed {ASSUMED_FLOPS / 1e9:.0f} billion operations a second: no training has been measured on "
        return Rate(ASSUMED_FLOPS / flops, basis + "this machine yet")
    a, b = _prices(measured, flops)
    parts = [("the model", 1 / a)] * (model_flops > 0) + [("training steps", 1 / b)]
    said = " and ".join(f"{speed / 1e9:.3g} billion operations a second in {what}" for what, speed in parts)
    nearest = min(measured, key=lambda run: abs(math.log(run.flops / flops)))
    others = f" and {len(measured) - 1} more" if len(measured) > 1 else ""
    return Rate(
        1 / (a * model_flops + b * step_flops),
        f"measured on this machine in “{nearest.name}”{others}: {said}",
    )


def _prices(measured: Sequence[MeasuredRun], flops: float) -> tuple[float, float]:
    """Seconds for an operation of the model and of a step: least squares of relative errors, both positive."""
    weights = [
        1 / (0.05 + math.log(run.flops / flops) ** 2) / (1 + _START_SECONDS / run.seconds) for run in measured
    ]
    total = sum(weights)
    # In units of what an operation took on the whole, so that both unknowns are near 1.
    unit = (
        sum(w / (run.tokens_per_second * run.flops) for w, run in zip(weights, measured, strict=True)) / total
    )
    rows = [
        (
            w / total,
            unit * run.model_flops * run.tokens_per_second,
            unit * run.step_flops * run.tokens_per_second,
        )
        for w, run in zip(weights, measured, strict=True)
    ]
    aa = sum(w * m * m for w, m, _ in rows) + _PRIOR
    bb = sum(w * s * s for w, _, s in rows) + _PRIOR
    ab = sum(w * m * s for w, m, s in rows) - _PRIOR
    a_1, b_1 = sum(w * m for w, m, _ in rows), sum(w * s for w, _, s in rows)
    determinant = aa * bb - ab * ab
    a, b = (a_1 * bb - b_1 * ab) / determinant, (b_1 * aa - a_1 * ab) / determinant
    return unit * max(a, 0.05), unit * max(b, 0.05)
