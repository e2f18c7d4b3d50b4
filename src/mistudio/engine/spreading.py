"""Reading activations together: each rank a part of every group of sequences, and all of them get the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.reading import ActivationChunk, HarvestCounts, group_size, read_chunk
from mistudio.engine.sequences import Ids, TokenSequences, sequence_order
from mistudio.sae.distributed import Ranks

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel


def read_together(
    model: LanguageModel,
    sequences: TokenSequences,
    hooks: Sequence[str],
    settings: HarvestSettings,
    chosen: Ids,
    next: int,
    ranks: Ranks,
    dtype: torch.dtype = torch.float32,
) -> ActivationChunk:
    """The activations that count of the `chosen` sequences; all ranks call it together.

    Ranks take whole forward passes in the order of a single process, so activations and their order are the same as
    far as a group has at most 32 passes (beyond, sequences of different lengths come in another order).
    """
    size = settings.batch_sequences
    _, lengths = sequences.take(chosen)
    chosen = chosen[np.argsort(-lengths, kind="stable")]
    first, last = ranks.span(-(-len(chosen) // size))
    mine = chosen[first * size : last * size]
    if len(mine):
        part = read_chunk(model, sequences, hooks, settings, mine, next)
    else:
        none = torch.zeros(0, dtype=torch.int64)
        rows = {hook: torch.zeros(0, model.hook_point(hook).d, device=model.device) for hook in hooks}
        part = ActivationChunk(rows, none, none, none, next)
    found = {hook: torch.cat(ranks.gather(part.activations[hook].to(dtype))) for hook in hooks}
    where = [
        torch.cat(ranks.gather(origin.to(model.device))).cpu()
        for origin in (part.sequences, part.positions, part.tokens)
    ]
    counts = ranks.sum(torch.tensor([*vars(part.counts).values()], device=model.device)).tolist()
    return ActivationChunk(found, where[0], where[1], where[2], next, HarvestCounts(*counts))


def lead(
    model: LanguageModel,
    sequences: TokenSequences,
    hooks: Sequence[str],
    settings: HarvestSettings,
    order: Ids,
    start: int,
    ranks: Ranks,
) -> Iterator[ActivationChunk]:
    """`read_activations` by the first rank, for which the others `follow`."""
    size = group_size(sequences, settings)
    for at in range(start, len(order), size):
        chosen = order[at : at + size]
        ranks.of_first(at)
        yield read_together(model, sequences, hooks, settings, chosen, at + len(chosen), ranks)


def follow(
    model: LanguageModel,
    sequences: TokenSequences,
    hooks: Sequence[str],
    settings: HarvestSettings,
    ranks: Ranks,
) -> None:
    """Read this rank's part of what the first one reads, until that says None."""
    order, size = sequence_order(sequences, settings), group_size(sequences, settings)
    while (at := ranks.of_first(None)) is not None:
        read_together(model, sequences, hooks, settings, order[at : at + size], at + size, ranks)
