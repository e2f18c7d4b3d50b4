"""Several processes at one training, started by `torchrun --nproc-per-node N train.py`.

In `train.py` every rank makes the same calls:

    with joined() as place:
        model = load_language_model("…", device=place.device)
        source = SpreadSource(model, tokens, [hook], ranks=place.ranks)
        train_runs(source, runs, folders=folders, device=place.device, ranks=place.ranks)

The model's passes are spread over ranks by sequence, and what they give is gathered: every rank sees the same stream
of batches, the one that a single process would see. Of each batch a rank then takes its part (or all of it, where
the latents are spread instead). A `CacheSource` needs no spreading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.reading import ActivationChunk, HarvestCounts, read_chunk
from mistudio.engine.runs import Run, SettingsRefused
from mistudio.engine.sequences import Ids
from mistudio.engine.sources import ModelSource
from mistudio.sae.distributed import Place, Ranks, Split, joined

__all__ = ["Place", "Ranks", "SpreadSource", "joined", "refuse_idle_ranks"]


class SpreadSource(ModelSource):
    """A `ModelSource` of which every rank reads a part of each group of sequences and gets the others' activations.

    Ranks take whole forward passes in the order of a single process, so activations and their order are the same as
    far as a group has at most 32 passes (beyond, sequences of different lengths come in another order).
    """

    def __init__(self, *given: Any, ranks: Ranks, **settings: Any) -> None:
        self._ranks = ranks
        super().__init__(*given, **settings)

    def read(
        self,
        chosen: Ids,
        next: int,
        into: dict[str, Tensor],
        passed: Callable[[int], None] | None = None,
    ) -> ActivationChunk:
        """The activations that count of the `chosen` sequences, read together."""
        ranks, size = self._ranks, self.settings.batch_sequences
        if ranks.size == 1:
            return super().read(chosen, next, into, passed)
        _, lengths = self.sequences.take(chosen)
        chosen = chosen[np.argsort(-lengths, kind="stable")]
        first, last = ranks.span(-(-len(chosen) // size))
        mine = chosen[first * size : last * size]
        hooks = list(self.hooks)
        if len(mine):
            part = read_chunk(self.model, self.sequences, hooks, self.settings, mine, next)
        else:
            part = self._nothing(next)
        found: dict[str, Tensor] = {}
        for hook in hooks:
            rows = torch.cat(ranks.gather(part.activations[hook].to(into[hook].dtype)))
            into[hook][: len(rows)] = rows
            found[hook] = into[hook][: len(rows)]
        device = self.model.device
        where = [
            torch.cat(ranks.gather(t.to(device))).cpu() for t in (part.sequences, part.positions, part.tokens)
        ]
        counts = ranks.sum(torch.tensor([*vars(part.counts).values()], device=device)).tolist()
        if passed is not None:
            passed(len(where[0]))
        return ActivationChunk(found, where[0], where[1], where[2], next, HarvestCounts(*counts))

    def _nothing(self, next: int) -> ActivationChunk:
        none = torch.zeros(0, dtype=torch.int64)
        rows = {hook: torch.zeros(0, d, device=self.model.device) for hook, d in self.hooks.items()}
        return ActivationChunk(rows, none, none, none, next)


def refuse_idle_ranks(runs: Sequence[Run], ranks: Ranks, split: Split) -> None:
    """Raises SettingsRefused where a rank would have no token of some batch."""
    for run in runs if split == "batch" else ():
        config = run.config
        least = min(config.batch_size, config.total_tokens % config.batch_size or config.batch_size)
        if least < ranks.size:
            raise SettingsRefused(
                f"The smallest batch of “{run.title}” has {least} tokens, fewer than the {ranks.size} ranks.",
                "Make total_tokens a multiple of batch_size.",
            )
