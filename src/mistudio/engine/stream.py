"""What a training reads: batches of activations at several hook points, in an order that can be taken up anywhere.

A source gives batches in an order that its settings and a seed fix, and says with each batch where to go on after it,
so that a training that is resumed sees exactly what an unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.sequences import Ids, TokenSequences
from mistudio.lm.hooks import parse_hook

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

Position = dict[str, Any]
"""Where a stream of batches goes on, as JSON can hold it."""


@dataclass(frozen=True)
class Batch:
    """One batch of activations.

    activations: per hook `[n, d]` float32; row `i` of every hook belongs to the same token. On the device of the model
    or, from a cache, on the CPU. n is the batch size (fewer only where a source says so).
    position: where to go on after this batch.
    """

    activations: dict[str, Tensor]
    position: Position

    def __len__(self) -> int:
        return len(next(iter(self.activations.values())))


@dataclass(frozen=True)
class Sample:
    """Rows of a source's buffer.

    activations: per hook `[n, d]` on the device of the model or the CPU, in any precision.
    sequences, positions, tokens: `[n]` int64 on the CPU: where each row comes from.
    """

    activations: dict[str, Tensor]
    sequences: Tensor
    positions: Tensor
    tokens: Tensor


class ActivationSource(Protocol):
    """A resumable, endless stream of batches for one or many hook points, and rows that it never gives.

    What a training records of itself needs more of a source (`Observed`); one that does not have it is trained on all
    the same.
    """

    @property
    def hooks(self) -> Mapping[str, int]:
        """Each hook point and the width of its activations."""
        ...

    def batches(self, batch_size: int, seed: int, position: Position | None = None) -> Iterator[Batch]:
        """Batches without end. With the `position` of an earlier batch they go on right after it, to the bit."""
        ...

    def held_out(self, n: int | None = None) -> dict[str, Tensor] | None:
        """Activations that are never in a batch, per hook `[m, d]` float32 on the CPU, at most `n` rows; None when
        nothing is held out."""
        ...

    def metadata(self, hook: str) -> dict[str, Any]:
        """What an SAE of this hook says of its origin, in SAELens' keys."""
        ...


@runtime_checkable
class Observed(Protocol):
    """A source of which a training can show more than its curves."""

    def sample(self, n: int, at: int) -> Sample | None:
        """Up to `n` rows that batches are drawn from, whole sequences together, for a look at step `at`; the same
        rows whenever that step is reached. None before the first batch."""
        ...

    def held_out_text(self, n_tokens: int) -> tuple[LanguageModel, list[Tensor]] | None:
        """The model and held-out sequences of `n_tokens` tokens or a little more, as ids; None where there is no model
        at hand or nothing is held out."""
        ...


def saelens_hook(hook: str) -> tuple[str, int | None]:
    """A hook's name and head as SAELens writes them: `("blocks.3.attn.hook_z", 5)` for head 5 of it."""
    parsed = parse_hook(hook)
    return (hook.partition("[")[0], parsed.head) if parsed.head is not None else (str(parsed), None)


def sequences_up_to(sequences: TokenSequences, numbers: Ids, n_tokens: int) -> list[Tensor]:
    """The first of these sequences, as ids, up to the one that makes `n_tokens` full."""
    found: list[Tensor] = []
    total = 0
    for start in range(0, len(numbers), 64):
        ids, lengths = sequences.take(numbers[start : start + 64])
        for row, length in zip(ids, lengths.tolist(), strict=True):
            if total >= n_tokens:
                return found
            found.append(torch.from_numpy(np.array(row[:length], np.int64)))
            total += length
    return found
