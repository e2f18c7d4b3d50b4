"""Several processes at one training, started by `torchrun --nproc-per-node N train.py`.

In `train.py` every rank makes the same calls:

    with joined() as place:
        model = load_language_model("…", device=place.device)
        source = SpreadSource(model, tokens, [hook], ranks=place.ranks)
        train_runs(source, runs, folders=folders, device=place.device, ranks=place.ranks)

The model's passes are spread over ranks by sequence, and what they give is gathered: every rank sees the same stream
of batches, the one that a single process would see. Of each batch a rank then takes its part (or all of it, where
the latents are spread instead). A `CacheSource` needs no spreading, and `harvest(…, ranks=place.ranks)` fills a cache
together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mistudio.engine.reading import ActivationChunk
from mistudio.engine.runs import Run, SettingsRefused
from mistudio.engine.sequences import Ids
from mistudio.engine.sources import ModelSource
from mistudio.engine.spreading import read_together
from mistudio.sae.distributed import Place, Ranks, Split, joined

__all__ = ["Place", "Ranks", "SpreadSource", "joined", "refuse_idle_ranks"]


class SpreadSource(ModelSource):
    """A `ModelSource` of which every rank reads a part of each group of sequences and gets the others' activations.
    Their order is that of a single process: see `read_together`.
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
        if self._ranks.size == 1:
            return super().read(chosen, next, into, passed)
        hooks = list(self.hooks)
        dtype = into[hooks[0]].dtype
        found = read_together(
            self.model, self.sequences, hooks, self.settings, chosen, next, self._ranks, dtype
        )
        n = len(found.tokens)
        for hook in hooks:
            into[hook][:n] = found.activations[hook]
        if passed is not None:
            passed(n)
        return replace(found, activations={hook: into[hook][:n] for hook in hooks})


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
