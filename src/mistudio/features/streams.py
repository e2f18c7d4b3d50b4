"""Where a pass takes its activations from: a cache, or the model as it reads. Whole sequences either way.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mistudio.activations.harvesting import stream_activations
from mistudio.activations.schemas import HarvestSettings
from mistudio.features.schemas import ExtractionSettings
from mistudio.store import ActivationCache, TokenStore

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

_CACHE_ROWS = 16_384


@dataclass(frozen=True)
class Batch:
    """Activations x [n, d] of whole sequences; sequences, positions [n] int64: where each comes from.

    left_out: tokens that were read and do not count (BOS and other specials, outliers); next: where to go on.
    """

    x: Tensor
    sequences: Tensor
    positions: Tensor
    left_out: int
    next: int


def from_model(
    model: LanguageModel,
    tokens: TokenStore,
    hook: str,
    settings: ExtractionSettings,
    n_tokens: int,
    start: int = 0,
) -> Iterator[Batch]:
    """Activations as the model reads, in a seeded random order of the sequences; `n_tokens` are still wanted.

    `start` is the `next` of an earlier batch. Raises HookNotFound, TokensRefused.
    """
    harvest = HarvestSettings(
        order="shuffled",
        seed=settings.seed,
        batch_sequences=settings.batch_sequences,
        skip_bos=settings.skip_bos,
        skip_special_tokens=settings.skip_special_tokens,
        outlier_multiple=settings.outlier_multiple,
    )
    left = n_tokens
    for chunk in stream_activations(model, tokens, [hook], harvest, start=start):
        n = whole_sequences(chunk.sequences, left)
        yield Batch(
            chunk.activations[hook][:n],
            chunk.sequences[:n],
            chunk.positions[:n],
            chunk.counts.special + chunk.counts.outlier,
            chunk.next,
        )
        left -= n
        if left <= 0:
            return


def from_cache(
    cache: ActivationCache, hook: str, n_tokens: int, device: torch.device | str, start: int = 0
) -> Iterator[Batch]:
    """Activations in the order of the cache; `n_tokens` are still wanted. `start` is the `next` of an earlier batch."""
    left = n_tokens
    while start < cache.n_tokens and left > 0:
        stop = _end_of_sequence(cache, start, _CACHE_ROWS)
        rows = cache.tokens(start, stop)
        sequences = torch.from_numpy(rows.sequence.astype(np.int64))
        positions = torch.from_numpy(rows.position.astype(np.int64))
        n = whole_sequences(sequences, left)
        x = torch.from_numpy(cache.read(hook, start, start + n)).to(device)
        yield Batch(x, sequences[:n], positions[:n], 0, start + n)
        start, left = start + n, left - n


def _end_of_sequence(cache: ActivationCache, start: int, rows: int) -> int:
    """The last end of a sequence within `rows` rows from `start`, or the first one after that."""
    while True:
        stop = min(start + rows, cache.n_tokens)
        sequence: Any = cache.tokens(start, stop).sequence
        ends = np.flatnonzero(sequence[1:] != sequence[:-1])
        if stop == cache.n_tokens:
            return stop
        if len(ends):
            return start + int(ends[-1]) + 1
        rows *= 2


def whole_sequences(sequences: Tensor, wanted: int) -> int:
    """How many of the tokens `sequences` [n] come to `wanted` or just above it without cutting a sequence."""
    if wanted >= len(sequences):
        return len(sequences)
    after = (sequences[wanted:] != sequences[wanted - 1]).nonzero()
    return wanted + int(after[0, 0]) if len(after) else len(sequences)
