"""What splicing dictionaries into a model does to its predictions: cross-entropy and KL."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mistudio.engine.evaluation.sites import Site
from mistudio.lm.model import LanguageModel
from mistudio.lm.splice import SplicedPass, Splicer
from mistudio.sae import SAE

Ablation = tuple[str, tuple[str, ...]]
"""What stands in the place of the activations ("zero" or "mean"), and at which hook points."""


class _Baseline:
    """The model's own predictions for one batch, and how far others are from them.

    KL(p ‖ p̂) = lse(l̂) − lse(l) − Σ p·(l̂ − l) for logits l, l̂: exactly 0 where they are equal, without taking
    logarithms of probabilities. One sequence at a time, so that temporaries are [S, vocab].
    """

    def __init__(self, logits: Tensor, tokens: Tensor, counts: Tensor, real: Tensor) -> None:
        self.logits = logits
        self.counts = counts
        self.predicts = counts[:, :-1] & real[:, 1:]
        self.tokens = tokens.to(logits.device)
        self.n_ce, self.n_kl = int(self.predicts.sum()), int(counts.sum())
        self.ce = sum(
            float(self._ce(row, b, torch.logsumexp(row, -1))) for b, row in enumerate(self._rows(logits))
        )

    def _rows(self, logits: Tensor) -> list[Tensor]:
        return [row.float() for row in logits]

    def _ce(self, row: Tensor, b: int, lse: Tensor) -> Tensor:
        chosen = row[:-1].gather(1, self.tokens[b, 1:, None]).squeeze(1)
        return ((lse[:-1] - chosen) * self.predicts[b]).sum(dtype=torch.float64)

    def compare(self, logits: Tensor) -> tuple[float, float]:
        """Sums of CE and KL over the positions that count, for other logits [B,S,vocab]."""
        ce = kl = 0.0
        for b in range(logits.shape[0]):
            old, new = self.logits[b].float(), logits[b].float()
            lse_old, lse_new = torch.logsumexp(old, -1), torch.logsumexp(new, -1)
            ce += float(self._ce(new, b, lse_new))
            moved = ((old - lse_old[:, None]).exp_() * (new - old)).sum(-1)
            kl += float(((lse_new - lse_old - moved) * self.counts[b]).sum(dtype=torch.float64))
        return ce, kl


@torch.no_grad()
def measure_behaviour(
    model: LanguageModel,
    saes: Mapping[str, SAE],
    sites: Mapping[str, Site],
    means: Mapping[tuple[str, ...], Tensor],
    sequences: Sequence[Tensor],
    *,
    batch_size: int,
    special: Tensor | None,
    progress: Callable[[int], None],
    ablations: dict[Ablation, list[float]] | None = None,
) -> dict[str, dict[str, float]]:
    """CE and KL of every dictionary by name, each with the sums' number of tokens `n_kl` and its `seconds`.

    `means` holds x̄ [d_out] by the hook points written. One whole pass per batch serves all dictionaries; each of
    them, and the two ablations of each place, then runs only what lies behind its hook point. The ablations' sums are
    left in `ablations`, and taken from there by a later call on the same sequences.
    """
    splicer = Splicer(model, [hook for site in sites.values() for hook in site.hooks])
    places = list(dict.fromkeys(site.writes for site in sites.values()))
    known = {} if ablations is None else ablations
    unknown = [writes for writes in places if ("zero", writes) not in known]
    sums: dict[object, list[float]] = {name: [0.0, 0.0] for name in saes}
    for writes in unknown:
        sums["zero", writes] = known["zero", writes] = [0.0, 0.0]
        sums["mean", writes] = known["mean", writes] = [0.0, 0.0]
    seconds = dict.fromkeys(saes, 0.0)
    original, n_ce, n_kl = 0.0, 0, 0

    def add(key: object, found: tuple[float, float]) -> None:
        sums[key][0] += found[0]
        sums[key][1] += found[1]

    for start in range(0, len(sequences), batch_size):
        tokens, real = pad(sequences[start : start + batch_size])
        counts = real if special is None else real & ~torch.isin(tokens, special)
        counts, real = counts.to(model.device), real.to(model.device)
        run = splicer.run(tokens, real)
        baseline = _Baseline(run.logits, tokens, counts, real)
        original, n_ce, n_kl = original + baseline.ce, n_ce + baseline.n_ce, n_kl + baseline.n_kl
        for writes in unknown:
            site = next(s for s in sites.values() if s.writes == writes)
            y = site.y(run.activations)
            for ablation, value in (
                ("zero", torch.zeros_like(y)),
                # Where a dictionary is not spliced in, the mean is not either: it is what it has to beat.
                ("mean", torch.where(counts[..., None], means[writes].to(y), y)),
            ):
                add((ablation, writes), baseline.compare(run.logits_with(site.split(value))))
        for name, sae in saes.items():
            began = time.perf_counter()
            logits = run.logits_with(spliced(sae, sites[name], run, counts))
            add(name, baseline.compare(logits))
            seconds[name] += time.perf_counter() - began
        progress(min(start + batch_size, len(sequences)))

    found: dict[str, dict[str, float]] = {}
    for name in saes:
        zero, mean = known["zero", sites[name].writes], known["mean", sites[name].writes]
        ce, kl = sums[name]
        found[name] = {
            **_behaviour(original, ce, kl, zero, mean, n_ce, n_kl),
            "n_kl": n_kl,
            "seconds": seconds[name],
        }
    return found


def spliced(sae: SAE, site: Site, run: SplicedPass, counts: Tensor) -> dict[str, Tensor]:
    """What a dictionary puts at its hook points: x̂ where `counts` [B,S] is true, elsewhere what was there."""
    x, y = site.x(run.activations)[counts], site.y(run.activations).clone()
    y[counts] = sae.decode(sae.encode(x), sae.check(x)).to(y)
    return site.split(y)


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Tokens `[B,S]` padded on the right, and `[B,S]` true at real ones."""
    width = max(len(ids) for ids in sequences)
    tokens = torch.stack([torch.cat([ids, ids[:1].expand(width - len(ids))]) for ids in sequences])
    real = torch.arange(width) < torch.tensor([len(ids) for ids in sequences]).unsqueeze(1)
    return tokens, real


def _behaviour(
    original: float, ce: float, kl: float, zero: list[float], mean: list[float], n_ce: int, n_kl: int
) -> dict[str, float]:
    n_ce, n_kl = max(n_ce, 1), max(n_kl, 1)
    model, sae, zeros, means = original / n_ce, ce / n_ce, zero[0] / n_ce, mean[0] / n_ce
    kl_sae, kl_zero, kl_mean = kl / n_kl, zero[1] / n_kl, mean[1] / n_kl
    return {
        "ce_loss_without_sae": model,
        "ce_loss_with_sae": sae,
        "ce_loss_with_ablation": zeros,
        "ce_loss_with_mean": means,
        "ce_loss_score": _share(zeros - sae, zeros - model),
        "ce_loss_score_mean": _share(means - sae, means - model),
        "kl_div_with_sae": kl_sae,
        "kl_div_with_ablation": kl_zero,
        "kl_div_with_mean": kl_mean,
        "kl_div_score": _share(kl_zero - kl_sae, kl_zero),
        "kl_div_score_mean": _share(kl_mean - kl_sae, kl_mean),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
