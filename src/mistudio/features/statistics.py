"""Per latent, while tokens go by: how often it fires, how strongly, and a histogram that needs no range beforehand.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mistudio.features.histogram import BINS

_UNSET = -32_768


class LatentStatistics:
    """Counts over a stream of sparse latents, exact and independent of how the stream is cut into batches.

    count [m] int64: tokens on which the latent was active; total [m] float64: sum of its activations;
    maximum [m] float32; histogram [m, BINS] int32; exponent [m] int32. The histogram's range doubles when a larger
    value comes: with a power of two as range, merging pairs of bins gives exactly the bins of the wider range.
    """

    def __init__(self, d_sae: int, device: torch.device | str = "cpu") -> None:
        self.d_sae = d_sae
        self.n_tokens = 0
        self.count = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self.total = torch.zeros(d_sae, dtype=torch.float64, device=device)
        self.maximum = torch.zeros(d_sae, dtype=torch.float32, device=device)
        self.histogram = torch.zeros(d_sae, BINS, dtype=torch.int32, device=device)
        self.exponent = torch.full((d_sae,), _UNSET, dtype=torch.int32, device=device)

    def add(self, indices: Tensor, values: Tensor, n_tokens: int) -> None:
        """Add the active latents of `n_tokens` tokens: indices [nnz] int64, values [nnz] float > 0."""
        self.n_tokens += n_tokens
        if not len(indices):
            return
        self.count += torch.bincount(indices, minlength=self.d_sae)
        self.total.index_add_(0, indices, values.double())
        self.maximum.scatter_reduce_(0, indices, values.float(), "amax")
        self._widen()
        # Scaling by a power of two is exact in float64, so a value's bin does not depend on when it came.
        scale = torch.exp2((BINS.bit_length() - 1 - self.exponent).double())
        bins = (values.double() * scale[indices]).long()
        ones = torch.ones_like(indices, dtype=torch.int32)
        self.histogram.view(-1).index_add_(0, indices * BINS + bins, ones)

    def _widen(self) -> None:
        needed = torch.frexp(self.maximum).exponent.to(torch.int32)
        fired = self.maximum > 0
        shift = torch.where(fired & (self.exponent != _UNSET), needed - self.exponent, 0)
        for step in range(min(int(shift.max()), BINS.bit_length() - 1)):
            rows = (shift > step).nonzero()[:, 0]
            merged = self.histogram[rows].view(-1, BINS // 2, 2).sum(-1, dtype=torch.int32)
            self.histogram[rows] = torch.cat([merged, torch.zeros_like(merged)], 1)
        self.exponent = torch.where(fired, needed, self.exponent)

    def columns(self) -> dict[str, Any]:
        """The results as numpy columns [m, …], as the example store keeps them."""
        count = self.count.cpu().numpy()
        return {
            "count": count,
            "frequency": count / max(1, self.n_tokens),
            "maximum": self.maximum.cpu().numpy(),
            "mean": (self.total.cpu().numpy() / np.maximum(count, 1)).astype(np.float32),
            "histogram": self.histogram.cpu().numpy().astype(np.uint32),
            "histogram_exponent": torch.where(self.count > 0, self.exponent, 0)
            .cpu()
            .numpy()
            .astype(np.int16),
        }

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, to be given to `restore`."""
        return {
            "n_tokens": torch.tensor([self.n_tokens]),
            "count": self.count,
            "total": self.total,
            "maximum": self.maximum,
            "histogram": self.histogram,
            "exponent": self.exponent,
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        self.n_tokens = int(state["n_tokens"][0])
        for name in ("count", "total", "maximum", "histogram", "exponent"):
            setattr(self, name, state[name].to(self.count.device))
