"""How a latent's histogram of activations is laid out."""

from __future__ import annotations

from typing import Any

BINS = 64
"""Bins of equal width from 0 to 2^exponent, the power of two above the latent's maximum: half of them or more lie
below that maximum."""


def histogram_edges(exponent: int, maximum: float, counts: Any) -> tuple[list[float], list[int]]:
    """Edges and counts of one latent's histogram, without the empty bins above its maximum."""
    width = 2.0**exponent / BINS
    used = min(BINS, int(maximum / width) + 1)
    return [width * i for i in range(used + 1)], [int(n) for n in counts[:used]]
