"""What the activations at a hook look like, from the sums that a harvest kept: figures and the data of plots.

Imports no PyTorch. What each figure means stands in `engine.activation_metrics`. Notation: x is a token's activation
vector of d numbers, xⱼ its dimension j, ⟨·⟩ the mean over the n kept tokens.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

BINS_PER_OCTAVE = 16
"""Norms are counted in bins whose edges are 2^(i/16): 4.4 % wide."""
SMALLEST_BIN = -40 * BINS_PER_OCTAVE
"""Norms below 2^-40, zero among them, are counted together."""
POSITION_BUCKETS = 24
"""Positions 0, 1, 2–3, 4–7, 8–15, … of a sequence."""

LOUD, LOUD_SHARE, LOUD_HOOKS = 6.0, 0.06, 0.25
"""Dettmers et al. 2022 (LLM.int8(), arXiv 2208.07339): a magnitude of at least 6 at 6 % or more of the positions, in
25 % or more of the layers, makes a dimension an outlier."""
SIGMAS = 3.0
"""Kovaleva et al. 2021 (BERT Busters, arXiv 2105.06990) call what lies more than 3σ from the mean an outlier; they
looked at weights, here the same rule is put to the dimensions' mean activations."""
MASSIVE_VALUE, MASSIVE_RATIO = 100.0, 1000.0
"""Sun et al. 2024 (arXiv 2402.17762): a magnitude above 100 and at least 1,000 times the median one."""

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class OutlierDimension:
    """A dimension that one of the two rules calls an outlier.

    loud: by Dettmers' rule at this hook. far: by the 3σ rule. share: of tokens with |xⱼ| ≥ 6. sigmas: how far ⟨xⱼ⟩
    lies from the mean over dimensions, in standard deviations over dimensions.
    """

    dimension: int
    mean: float
    std: float
    peak: float
    share: float
    sigmas: float
    loud: bool
    far: bool


@dataclass(frozen=True)
class LargeValue:
    """The largest value of a token, and where it is from. median: of the magnitudes of that token's other values."""

    value: float
    dimension: int
    sequence: int
    position: int
    token: int
    median: float
    massive: bool


@dataclass(frozen=True)
class HookFigures:
    """The figures of one hook, over its kept tokens; see `activation_metrics.ACTIVATION_METRICS`.

    error: relative RMS error of the stored precision.
    """

    mean_norm: float
    max_norm: float
    rms: float
    error: float
    std_norm: float
    norm_percentiles: dict[str, float]
    mean: float
    std: float
    mean_share: float
    token_kurtosis: float | None
    dimension_kurtosis: float | None
    rms_kurtosis: float | None
    zeros: float
    hoyer: float | None
    peak: float
    loud_dimensions: int
    far_dimensions: int
    massive_values: int
    massive_tokens: int
    massive_dimensions: int


@dataclass(frozen=True)
class HookPlots:
    """What the plots of one hook show.

    norm_edges `[b + 1]`, norm_counts `[b]`: how many tokens have which norm. position_starts, position_norms: mean norm
    by position in the sequence; a bucket reaches up to the next one's start. Per dimension `[d]`: mean, std, peak
    (largest magnitude), share (of tokens with |xⱼ| ≥ 6), kurtosis (null where it does not vary).
    """

    n: int
    d: int
    norm_edges: list[float]
    norm_counts: list[int]
    position_starts: list[int]
    position_norms: list[float]
    position_counts: list[int]
    mean: list[float]
    std: list[float]
    peak: list[float]
    share: list[float]
    kurtosis: list[float | None]
    outliers: list[OutlierDimension]
    largest: list[LargeValue]
    massive_dimensions: dict[int, int]


@dataclass(frozen=True)
class ModelOutlier:
    """A dimension that is loud at `hooks` of the `of` hook points of one kind (`place`) that were harvested."""

    place: str
    dimension: int
    hooks: int
    of: int


class HookSummary:
    """The stored sums of one hook, read."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.n, self.d = int(state["n"]), int(state["d"])
        self._state = state
        stacked = np.frombuffer(base64.b64decode(state["arrays"]), "<f8").reshape(-1, self.d)
        shift, s1, s2, s3, s4, loud, self.peak = stacked
        n = max(1, self.n)
        off = s1 / n
        self.mean: Array = shift + off
        self.variance: Array = np.maximum(s2 / n - off**2, 0)
        fourth = (s4 - 4 * off * s3 + 6 * off**2 * s2) / n - 3 * off**4
        with np.errstate(divide="ignore", invalid="ignore"):
            # A dimension that does not vary has no kurtosis; what is left of its variance is rounding.
            still = self.variance <= 1e-12 * (self.mean**2 + 1e-30)
            self.kurtosis: Array = np.where(still, np.nan, fourth / self.variance**2)
        self.share: Array = loud / n
        spread = float(self.mean.std())
        self.sigmas: Array = (self.mean - self.mean.mean()) / spread if spread > 0 else np.zeros(self.d)
        self.loud: Array = self.share >= LOUD_SHARE
        self.far: Array = np.abs(self.sigmas) > SIGMAS

    def figures(self, error: float) -> HookFigures:
        """The figures; `error` is what the stored precision cost."""
        state, n = self._state, max(1, self.n)
        total, squares, largest = state["norm"]
        full, kurtosis, hoyer, spread = state["shape"]
        square = self.variance + self.mean**2
        whole = float(square.mean())
        mean = float(self.mean.mean())
        return HookFigures(
            mean_norm=total / n,
            max_norm=largest,
            rms=math.sqrt(squares / (n * self.d)),
            error=error,
            std_norm=math.sqrt(max(0.0, squares / n - (total / n) ** 2)),
            norm_percentiles=self._percentiles(),
            mean=mean,
            std=math.sqrt(max(0.0, whole - mean**2)),
            mean_share=float((self.mean**2).sum() / square.sum()) if whole > 0 else 0.0,
            token_kurtosis=kurtosis / spread if spread else None,
            dimension_kurtosis=_finite(np.nanmedian(self.kurtosis)) if self.varies else None,
            rms_kurtosis=float((square**2).mean() / whole**2) if whole > 0 else None,
            zeros=state["zeros"] / (n * self.d),
            hoyer=hoyer / full if full else None,
            peak=float(self.peak.max()),
            loud_dimensions=int(self.loud.sum()),
            far_dimensions=int(self.far.sum()),
            massive_values=int(state["massive"][0]),
            massive_tokens=int(state["massive"][1]),
            massive_dimensions=len(state["massive_dimensions"]),
        )

    @property
    def varies(self) -> bool:
        """Whether any dimension takes more than one value."""
        return bool(np.isfinite(self.kurtosis).any())

    def _bins(self) -> tuple[list[int], list[int]]:
        counts = {int(bin): int(count) for bin, count in self._state["norm_counts"].items()}
        if not counts:
            return [], []
        bins = list(range(min(counts), max(counts) + 1))
        return bins, [counts.get(bin, 0) for bin in bins]

    def _percentiles(self) -> dict[str, float]:
        """From the bins, interpolated within one: off by 4.4 % at most."""
        bins, counts = self._bins()
        if not bins:
            return {}
        below = np.concatenate([[0], np.cumsum(counts)])
        found: dict[str, float] = {}
        for percent in PERCENTILES:
            wanted = percent / 100 * below[-1]
            at = min(int(np.searchsorted(below, wanted)) - 1, len(bins) - 1)
            inside = (wanted - below[at]) / max(1, counts[at])
            found[str(percent)] = float(
                min(2.0 ** ((bins[at] + inside) / BINS_PER_OCTAVE), self._state["norm"][2])
            )
        return found

    def plots(self) -> HookPlots:
        """The data of the plots."""
        bins, counts = self._bins()
        norms, seen = (np.array(part) for part in self._state["positions"])
        starts = [0, *(1 << (bucket - 1) for bucket in range(1, POSITION_BUCKETS))]
        used = [bucket for bucket in range(POSITION_BUCKETS) if seen[bucket] > 0]
        return HookPlots(
            n=self.n,
            d=self.d,
            norm_edges=[_short(2.0 ** (bin / BINS_PER_OCTAVE)) for bin in [*bins, bins[-1] + 1]]
            if bins
            else [],
            norm_counts=counts,
            position_starts=[starts[bucket] for bucket in used],
            position_norms=[_short(norms[bucket] / seen[bucket]) for bucket in used],
            position_counts=[int(seen[bucket]) for bucket in used],
            mean=[_short(value) for value in self.mean],
            std=[_short(value) for value in np.sqrt(self.variance)],
            peak=[_short(value) for value in self.peak],
            share=[_short(value) for value in self.share],
            kurtosis=[_short(value) if math.isfinite(value) else None for value in self.kurtosis.tolist()],
            outliers=self._outliers(),
            largest=[self._large(one) for one in self._state["top"]],
            massive_dimensions={
                int(dimension): int(count)
                for dimension, count in sorted(
                    self._state["massive_dimensions"].items(), key=lambda item: -item[1]
                )[:MOST_DIMENSIONS]
            },
        )

    def _outliers(self) -> list[OutlierDimension]:
        """At most 32, by how far and how loud they are."""
        found = np.flatnonzero(self.loud | self.far)
        order = sorted(found.tolist(), key=lambda j: (-abs(float(self.sigmas[j])), -float(self.share[j])))
        return [
            OutlierDimension(
                dimension=j,
                mean=_short(self.mean[j]),
                std=_short(math.sqrt(self.variance[j])),
                peak=_short(self.peak[j]),
                share=_short(self.share[j]),
                sigmas=_short(self.sigmas[j]),
                loud=bool(self.loud[j]),
                far=bool(self.far[j]),
            )
            for j in order[:MOST_DIMENSIONS]
        ]

    @staticmethod
    def _large(one: list[float]) -> LargeValue:
        value, dimension, sequence, position, token, median = one
        massive = abs(value) > MASSIVE_VALUE and abs(value) >= MASSIVE_RATIO * median
        return LargeValue(value, int(dimension), int(sequence), int(position), int(token), median, massive)


def outliers_of_the_model(summaries: Mapping[str, HookSummary]) -> list[ModelOutlier]:
    """Dimensions that are loud in a quarter of the layers or more, for each kind of hook point with several layers."""
    places: dict[tuple[str, int], list[HookSummary]] = {}
    for hook, summary in summaries.items():
        place = hook.split(".", 2)[2] if hook.startswith("blocks.") else hook
        places.setdefault((place, summary.d), []).append(summary)
    found: list[ModelOutlier] = []
    for (place, _), group in places.items():
        if len(group) < 2:
            continue
        loud = np.sum([summary.loud for summary in group], axis=0)
        order = np.argsort(-loud, kind="stable")[:MOST_DIMENSIONS]
        found += [
            ModelOutlier(place, int(j), int(loud[j]), len(group))
            for j in order
            if loud[j] > 0 and loud[j] >= LOUD_HOOKS * len(group)
        ]
    return found


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _short(value: Any) -> float:
    """Six significant digits: what a plot can show, at half of the bytes."""
    return float(f"{float(value):.6g}")
