"""Reading token sequences through a model: the one place that decides which activations count, in which order.

Caches are filled with it, and a training without a cache reads it directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.errors import ActivationsRefused
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.sequences import Ids, TokenSequences
from mistudio.engine.sizes import GROUP_TOKENS

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel


@dataclass
class HarvestCounts:
    """What was seen and what was left out, in tokens."""

    seen: int = 0
    special: int = 0
    padding: int = 0
    outlier: int = 0
    kept: int = 0


@dataclass(frozen=True)
class ActivationChunk:
    """The activations that count of one group of sequences.

    activations: per hook `[n, d]` on the model's device, float32 unless they were read into other buffers; rows of
    all hooks belong to the same tokens.
    sequences, positions, tokens: `[n]` int64 on the CPU: where each row comes from.
    next: how many sequences of the order have been read after this chunk: where to go on.
    """

    activations: dict[str, Tensor]
    sequences: Tensor
    positions: Tensor
    tokens: Tensor
    next: int
    counts: HarvestCounts = field(default_factory=HarvestCounts)


def group_size(sequences: TokenSequences, settings: HarvestSettings) -> int:
    """Sequences in a group: whole forward passes, about `GROUP_TOKENS` tokens."""
    passes = max(1, GROUP_TOKENS // (sequences.context * settings.batch_sequences))
    return passes * settings.batch_sequences


def read_activations(
    model: LanguageModel,
    sequences: TokenSequences,
    hooks: Sequence[str],
    settings: HarvestSettings,
    order: Ids,
    start: int = 0,
) -> Iterator[ActivationChunk]:
    """Activations of the sequences in `order`, group by group, from the `start`-th of them on.

    What comes depends on the arguments only, so a reader that stopped goes on at `chunk.next` exactly.
    `settings.n_tokens` is the caller's to count. Raises HookNotFound before the first chunk, TokensRefused,
    ActivationsRefused.
    """
    for name in hooks:
        model.hook_point(name)
    size = group_size(sequences, settings)
    for at in range(start, len(order), size):
        chosen = order[at : at + size]
        yield read_chunk(model, sequences, hooks, settings, chosen, at + len(chosen))


def read_chunk(
    model: LanguageModel,
    sequences: TokenSequences,
    hooks: Sequence[str],
    settings: HarvestSettings,
    chosen: Ids,
    next: int = 0,
    *,
    into: dict[str, Tensor] | None = None,
    passed: Callable[[int], None] | None = None,
) -> ActivationChunk:
    """The activations that count of the `chosen` sequences, in memory at once.

    `into`: buffers, per hook `[at least the sequences' tokens, d]`, whose first rows they are written to.
    `passed`: told after each pass of the model how many there are so far.
    Raises ActivationsRefused naming the hook and the place where an activation is NaN or infinite.
    """
    from mistudio.lm import harvest

    ids, lengths = sequences.take(chosen)
    n_tokens = int(lengths.sum())
    ids = torch.from_numpy(np.ascontiguousarray(ids, np.int64))
    rows = [ids[i, :length] for i, length in enumerate(lengths.tolist())]
    counts = HarvestCounts(seen=n_tokens)
    special = torch.tensor(sorted(model.special_ids), dtype=torch.long)
    buffers = into or {
        hook: torch.empty(n_tokens, model.hook_point(hook).d, device=model.device) for hook in hooks
    }
    totals: list[Tensor] = []
    which, positions, kept_ids = list[Tensor](), list[Tensor](), list[Tensor]()
    for batch in harvest(
        model,
        rows,
        hooks,
        batch_size=settings.batch_sequences,
        skip_special=settings.skip_special_tokens,
        outlier_norm_multiple=settings.outlier_multiple,
    ):
        real = torch.arange(batch.tokens.shape[1]) < batch.lengths.unsqueeze(1)
        counts.padding += int((~real).sum())
        unwanted = torch.zeros_like(real)
        if settings.skip_special_tokens:
            unwanted = torch.isin(batch.tokens, special) & real
        if settings.skip_bos and sequences.bos_id is not None:
            unwanted[:, 0] |= batch.tokens[:, 0] == sequences.bos_id
        counts.special += int(unwanted.sum())
        counts.outlier += int((real & ~unwanted & ~batch.mask).sum())
        mask = batch.mask & ~unwanted
        row, place = mask.nonzero(as_tuple=True)
        flat = (row * mask.shape[1] + place).to(model.device)
        end = counts.kept + len(row)
        for hook in hooks:
            found = batch.activations[hook].flatten(0, 1).index_select(0, flat)
            totals.append(found.sum(dtype=torch.float32))
            buffers[hook][counts.kept : end] = found
        counts.kept = end
        which.append(batch.sequence_index[row])
        positions.append(place)
        kept_ids.append(batch.tokens[mask])
        if passed is not None:
            passed(end)
    chunk = ActivationChunk(
        {hook: buffers[hook][: counts.kept] for hook in hooks},
        torch.from_numpy(np.asarray(chosen, np.int64))[torch.cat(which)],
        torch.cat(positions),
        torch.cat(kept_ids),
        next,
        counts,
    )
    # One sum over all is far cheaper than looking at each value, and NaN or infinity in any makes it one too.
    if not bool(torch.stack(totals).isfinite().all()):
        _refuse_infinite(chunk)
    return chunk


def _refuse_infinite(chunk: ActivationChunk) -> None:
    """Raises ActivationsRefused for the first row that is not finite (the sum of finite ones may overflow)."""
    for hook, rows in chunk.activations.items():
        finite = rows.isfinite().all(dim=1).cpu()
        if not bool(finite.all()):
            row = int((~finite).nonzero()[0, 0])
            what = "NaN" if bool(rows[row].isnan().any()) else "infinite"
            raise ActivationsRefused(
                f"The activation of {hook} is {what} at sequence {int(chunk.sequences[row])}, position "
                f"{int(chunk.positions[row])} (token {int(chunk.tokens[row])}): the model overflowed there.",
                "Load the model in float32 or bfloat16, or leave that sequence out.",
            )
