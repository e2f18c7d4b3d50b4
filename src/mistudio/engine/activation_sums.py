"""Running sums over activations, from which every figure about them follows: one pass, small, storable and exact.

What the sums mean is said once, in `engine.activation_figures`, which also turns them into figures without PyTorch.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.activation_figures import (
    BINS_PER_OCTAVE,
    LOUD,
    MASSIVE_RATIO,
    MASSIVE_VALUE,
    POSITION_BUCKETS,
    SMALLEST_BIN,
)

TOP = 12
"""Tokens whose largest values are kept with their place."""
# Values that are worked on at once: on a CPU what its caches hold, on a GPU what keeps it busy.
_CPU_VALUES = 1 << 17
_GPU_VALUES = 1 << 24
_ARRAYS = ("shift", "s1", "s2", "s3", "s4", "loud", "peak")


class HookSums:
    """Sums over the activations `[n, d]` that `add` is given, at one hook.

    Powers are summed about `shift`, the mean of the first rows, so that a dimension whose mean is far from 0 loses no
    digits; blocks are summed in float32 and added up in float64. The same chunks in the same order give the same bits,
    also when a `state` was stored and taken up again between them.
    """

    def __init__(self, d: int, state: dict[str, Any] | None = None) -> None:
        self.d = d
        self.n = 0
        self._norm = [0.0, 0.0, 0.0]
        self._norm_counts: dict[int, int] = {}
        # Tokens with a norm, Σ kurtosis, Σ Hoyer sparsity; tokens whose dimensions differ.
        self._shape = [0.0, 0.0, 0.0]
        self._spread = 0.0
        self._zeros = 0
        self._massive = [0, 0]
        self._massive_dimensions: dict[int, int] = {}
        self._top: list[list[float]] = []
        self._positions = np.zeros((2, POSITION_BUCKETS))
        self._arrays: dict[str, Tensor] = {}
        if state is not None:
            self._restore(state)

    @torch.no_grad()
    def add(self, rows: Tensor, sequences: Tensor, positions: Tensor, tokens: Tensor) -> None:
        """Take in rows `[n, d]` of any float type on any device; the others, `[n]` on the CPU, say whence they are."""
        step = max(1, (_CPU_VALUES if rows.device.type == "cpu" else _GPU_VALUES) // self.d)
        norms = [
            self._block(rows[at : at + step].float(), at, sequences, positions, tokens)
            for at in range(0, len(rows), step)
        ]
        if norms:
            self._add_norms(torch.cat(norms).double().cpu().numpy(), positions.numpy())
        self.n += len(rows)

    def _block(self, x: Tensor, at: int, sequences: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
        """Take in one block; returns the norms of its rows `[n]`."""
        if not self._arrays:
            self._arrays = {
                name: torch.zeros(self.d, dtype=torch.float64, device=x.device) for name in _ARRAYS
            }
            self._arrays["shift"] = x.mean(0).double()
        arrays = {name: array.to(x.device) for name, array in self._arrays.items()}
        self._arrays = arrays
        y = x - arrays["shift"].float()
        y2 = y * y
        arrays["s1"] += y.sum(0)
        arrays["s2"] += y2.sum(0)
        arrays["s3"] += (y2 * y).sum(0)
        arrays["s4"] += y2.mul_(y2).sum(0)

        size = x.abs()
        largest = size.amax(1)
        flags = torch.empty_like(size)  # comparisons into floats are several times as fast as into booleans
        arrays["loud"] += torch.ge(size, LOUD, out=flags).sum(0)
        zeros = torch.eq(size, 0, out=flags).sum(1)
        torch.maximum(arrays["peak"], size.amax(0).double(), out=arrays["peak"])
        absolute = size.sum(1)

        centred = x - x.mean(1, keepdim=True)
        centred.mul_(centred)
        variance = centred.mean(1)
        fourth = centred.mul_(centred).mean(1)
        norms = torch.linalg.vector_norm(x, dim=1)
        # What is left of equal numbers is rounding; 1e-18 keeps fourth powers within float32.
        spread = (variance > 1e-12 * norms * norms / self.d) & (variance > 1e-18)
        full = norms > 0
        root = self.d**0.5
        hoyer = (root - absolute[full] / norms[full]) / max(root - 1, 1e-12)
        kurtosis = fourth[spread] / variance[spread] ** 2
        sums = torch.stack(
            [
                full.sum().double(),
                kurtosis.double().sum(),
                hoyer.double().sum(),
                spread.sum().double(),
                zeros.double().sum(),
                largest.max().double(),
            ]
        ).tolist()
        self._shape[0] += sums[0]
        self._shape[1] += sums[1]
        self._shape[2] += sums[2]
        self._spread += sums[3]
        self._zeros += int(sums[4])
        if sums[5] > MASSIVE_VALUE:
            self._add_massive(size, largest)
        self._add_top(x, largest, at, sequences, positions, tokens)
        return norms

    def _add_massive(self, size: Tensor, largest: Tensor) -> None:
        candidates = size[largest > MASSIVE_VALUE]
        limit = (MASSIVE_RATIO * candidates.median(1).values).clamp_min(MASSIVE_VALUE)
        found = (candidates > MASSIVE_VALUE) & (candidates >= limit.unsqueeze(1))
        self._massive[0] += int(found.sum())
        self._massive[1] += int(found.any(1).sum())
        counts = found.sum(0)
        for dimension in counts.nonzero()[:, 0].tolist():
            before = self._massive_dimensions.get(dimension, 0)
            self._massive_dimensions[dimension] = before + int(counts[dimension])

    def _add_top(
        self,
        x: Tensor,
        largest: Tensor,
        at: int,
        sequences: Tensor,
        positions: Tensor,
        tokens: Tensor,
    ) -> None:
        values, rows = largest.topk(min(TOP, len(largest)))
        if len(self._top) == TOP and float(values[0]) <= abs(self._top[-1][0]):
            return
        for row in rows.tolist():
            dimension = int(x[row].abs().argmax())
            self._top.append(
                [
                    float(x[row, dimension]),
                    dimension,
                    int(sequences[at + row]),
                    int(positions[at + row]),
                    int(tokens[at + row]),
                    float(x[row].abs().median()),
                ]
            )
        self._top.sort(key=lambda one: -abs(one[0]))
        del self._top[TOP:]

    def _add_norms(self, norms: np.ndarray[Any, Any], positions: np.ndarray[Any, Any]) -> None:
        self._norm[0] += float(norms.sum())
        self._norm[1] += float(np.vdot(norms, norms))
        self._norm[2] = max(self._norm[2], float(norms.max()))
        with np.errstate(divide="ignore"):
            bins = np.floor(np.log2(norms) * BINS_PER_OCTAVE)
        bins = np.maximum(bins, SMALLEST_BIN).astype(np.int64)
        for bin, count in zip(*np.unique(bins, return_counts=True), strict=True):
            self._norm_counts[int(bin)] = self._norm_counts.get(int(bin), 0) + int(count)
        bucket = np.zeros(len(norms), np.int64)
        later = positions[: len(norms)] > 0
        bucket[later] = 1 + np.floor(np.log2(positions[: len(norms)][later])).astype(np.int64)
        bucket = np.minimum(bucket, POSITION_BUCKETS - 1)
        self._positions[0] += np.bincount(bucket, norms, POSITION_BUCKETS)
        self._positions[1] += np.bincount(bucket, minlength=POSITION_BUCKETS)

    def state(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        arrays = self._arrays or {name: torch.zeros(self.d, dtype=torch.float64) for name in _ARRAYS}
        stacked = torch.stack([arrays[name] for name in _ARRAYS]).cpu().numpy().astype("<f8")
        return {
            "n": self.n,
            "d": self.d,
            "arrays": base64.b64encode(stacked.tobytes()).decode(),
            "norm": list(self._norm),
            "norm_counts": {str(bin): count for bin, count in self._norm_counts.items()},
            "shape": [*self._shape, self._spread],
            "zeros": self._zeros,
            "massive": list(self._massive),
            "massive_dimensions": {str(dim): count for dim, count in self._massive_dimensions.items()},
            "top": [list(one) for one in self._top],
            "positions": self._positions.tolist(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.n = int(state["n"])
        if self.n:
            stacked = np.frombuffer(base64.b64decode(state["arrays"]), "<f8").reshape(len(_ARRAYS), self.d)
            self._arrays = {
                name: torch.from_numpy(row.copy()) for name, row in zip(_ARRAYS, stacked, strict=True)
            }
        self._norm = list(state["norm"])
        self._norm_counts = {int(bin): count for bin, count in state["norm_counts"].items()}
        self._shape = list(state["shape"][:3])
        self._spread = state["shape"][3]
        self._zeros = int(state["zeros"])
        self._massive = list(state["massive"])
        self._massive_dimensions = {int(dim): count for dim, count in state["massive_dimensions"].items()}
        self._top = [list(one) for one in state["top"]]
        self._positions = np.array(state["positions"])
