"""What a dictionary in training does to the model's predictions when it is spliced in, measured at intervals."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mistudio.engine.evaluation.behaviour import Ablation, measure_behaviour, pad
from mistudio.engine.evaluation.sites import Site
from mistudio.engine.runs import Run, SettingsRefused
from mistudio.engine.sizes import SPLICED_TOKENS
from mistudio.engine.sources import ActivationSource, Observed
from mistudio.lm.model import LanguageModel
from mistudio.lm.splice import Splicer
from mistudio.sae import SAE

TOKENS = 2_048
"""Held-out tokens that are spliced each time, always the same."""
COLUMNS = ("ce_loss_with_sae", "ce_loss_score", "kl_div_with_sae")


class SplicedLoss:
    """Measures dictionaries of one model on the same held-out sequences, again and again.

    Each time costs one pass of the model for all dictionaries and, for every one, what lies behind its hook point; what
    the ablations do is measured once.
    """

    def __init__(self, model: LanguageModel, sequences: list[Tensor], *, skip_special: bool = True) -> None:
        self.model = model
        self.sequences = [ids[:SPLICED_TOKENS] for ids in sequences]
        self._special = torch.tensor(sorted(model.special_ids), dtype=torch.long) if skip_special else None
        self._batch = max(1, SPLICED_TOKENS // max(len(ids) for ids in self.sequences))
        self._ablations: dict[Ablation, list[float]] = {}
        self._means: dict[tuple[str, ...], Tensor] = {}

    def measure(self, saes: Sequence[SAE], sites: Sequence[Site]) -> list[dict[str, float]]:
        """The COLUMNS of each dictionary in the model's own units."""
        for site in sites:
            if site.writes not in self._means:
                self._means[site.writes] = self._mean(site)
        found = measure_behaviour(
            self.model,
            {str(number): sae.to(self.model.device) for number, sae in enumerate(saes)},
            {str(number): site for number, site in enumerate(sites)},
            self._means,
            self.sequences,
            batch_size=self._batch,
            special=self._special,
            progress=lambda _: None,
            ablations=self._ablations,
        )
        return [{name: one[name] for name in COLUMNS} for one in found.values()]

    @torch.no_grad()
    def _mean(self, site: Site) -> Tensor:
        """x̄ [d_out] of what is written, over the tokens that count."""
        splicer = Splicer(self.model, site.hooks)
        total, n = torch.zeros(0), 0
        for start in range(0, len(self.sequences), self._batch):
            tokens, real = pad(self.sequences[start : start + self._batch])
            counts = real if self._special is None else real & ~torch.isin(tokens, self._special)
            run = splicer.run(tokens, real.to(self.model.device))
            rows = site.y(run.activations)[counts.to(self.model.device)].double().sum(0)
            total = rows if n == 0 else total + rows
            n += int(counts.sum())
        return total / max(n, 1)


def spliced_loss_of(source: ActivationSource, runs: list[Run]) -> SplicedLoss | None:
    """What measures these runs; None where none of them asks for it or, unless they insist, nothing can.

    Raises SettingsRefused where a run insists and there is no model at hand, or nothing is held out.
    """
    if all(run.config.evaluate_every == 0 for run in runs):
        return None
    found = source.held_out_text(TOKENS) if isinstance(source, Observed) else None
    insisting = [run for run in runs if run.config.evaluate_every]
    if found is None and insisting:
        raise SettingsRefused(
            f"“{insisting[0].title}” is to be spliced into the model every {insisting[0].config.evaluate_every:,} "
            "steps, and its activations come without a model and held-out tokens.",
            "Train alongside the model (or give a cache its model and tokens) and hold tokens out, or leave "
            "evaluate_every empty.",
        )
    return None if found is None else SplicedLoss(*found)
