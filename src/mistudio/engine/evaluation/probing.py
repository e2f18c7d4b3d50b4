"""Sparse probing by SAEBench's method: few latents, averaged over a text, against the activations' own channels.

Karvonen et al. 2025, "SAEBench", §4; the method follows the source of release 0.6.0. What differs: the texts (ours come
with the package, SAEBench's from a hub), their number, and the optimiser (ours goes to the optimum). Shared with it:
texts cut off at 128 tokens, means over tokens that are not special, each class against equally many texts of the
others, selection by the largest difference of class means, L2-regularised logistic regression with C = 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mistudio.engine.evaluation.logistic import accuracy, fit
from mistudio.engine.evaluation.probe_sets import ProbeSet, probe_sets
from mistudio.engine.evaluation.report import ProbeSetResult
from mistudio.engine.evaluation.settings import EvaluationSettings
from mistudio.engine.evaluation.sites import Site
from mistudio.lm.harvesting import harvest
from mistudio.lm.model import LanguageModel
from mistudio.sae import SAE

KS = (1, 2, 5)
_Half = dict[str, Tensor]
"""Class → mean activations of its texts [n, width]."""


@torch.no_grad()
def measure_probing(
    model: LanguageModel,
    saes: Mapping[str, SAE],
    sites: Mapping[str, Site],
    settings: EvaluationSettings,
    progress: Callable[[str, float, float], None],
) -> dict[str, tuple[list[ProbeSetResult], dict[str, float | None], float]]:
    """By dictionary: results of every probe set, their means as metrics, and seconds of its own.

    One pass of the model over the texts serves all dictionaries. The activations' own channels are probed once for
    each place that is read.
    """
    results: dict[str, list[ProbeSetResult]] = {name: [] for name in saes}
    seconds = dict.fromkeys(saes, 0.0)
    sets = probe_sets()
    for done, texts in enumerate(sets):
        progress("Probe texts", done, len(sets))
        means = _mean_activations(model, saes, sites, texts, settings, seconds)
        baselines: dict[tuple[str, ...], tuple[dict[int, float], float]] = {}
        for name in saes:
            reads = sites[name].reads
            if reads not in baselines:
                train, test = means[reads]
                baselines[reads] = _by_k(train, test, settings.seed), _all(train, test, settings.seed)
            began = time.perf_counter()
            latents = _by_k(*means[name], settings.seed)
            seconds[name] += time.perf_counter() - began
            channels, everything = baselines[reads]
            results[name].append(
                ProbeSetResult(
                    name=texts.name,
                    classes=list(texts.train),
                    latents=latents,
                    channels=channels,
                    all_channels=everything,
                )
            )
    progress("Probe texts", len(sets), len(sets))
    return {name: (found, _metrics(found), seconds[name]) for name, found in results.items()}


def _metrics(results: list[ProbeSetResult]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for k in KS:
        found[f"sparse_probing_top_{k}"] = _mean([r.latents[k] for r in results])
        found[f"sparse_probing_model_top_{k}"] = _mean([r.channels[k] for r in results])
    found["sparse_probing_model_all"] = _mean([r.all_channels for r in results])
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _mean_activations(
    model: LanguageModel,
    saes: Mapping[str, SAE],
    sites: Mapping[str, Site],
    texts: ProbeSet,
    settings: EvaluationSettings,
    seconds: dict[str, float],
) -> dict[object, tuple[_Half, _Half]]:
    """(train, test) by dictionary's name, and by hook points read for the activations themselves."""
    places = list(dict.fromkeys(site.reads for site in sites.values()))
    halves = [(texts.train, settings.probe_texts), (texts.test, max(1, settings.probe_texts // 2))]
    flat: list[tuple[int, str, list[int]]] = []
    for half, (classes, n) in enumerate(halves):
        for label, written in classes.items():
            flat += [(half, label, _ids(model, text, settings.probe_context)) for text in written[:n]]
    widths = {reads: saes[next(n for n in saes if sites[n].reads == reads)].d_in for reads in places}
    table: dict[object, Tensor] = {reads: torch.zeros(len(flat), widths[reads]) for reads in places}
    table |= {name: torch.zeros(len(flat), sae.d_sae) for name, sae in saes.items()}
    hooks = list(dict.fromkeys(hook for reads in places for hook in reads))
    for batch in harvest(model, [ids for _, _, ids in flat], hooks, batch_size=settings.batch_size):
        rows = {hook: batch.rows(hook) for hook in hooks}
        counts = batch.mask.sum(1).cpu()
        owner = batch.sequence_index.repeat_interleave(counts)
        share = (1 / counts.clamp_min(1)).repeat_interleave(counts)
        for reads in places:
            x = next(sites[n] for n in saes if sites[n].reads == reads).x(rows).float().cpu()
            table[reads].index_add_(0, owner, x * share[:, None])
        for name, sae in saes.items():
            began = time.perf_counter()
            latents = sae.encode(sites[name].x(rows)).to("cpu")
            values = latents.values.float() * share[latents.tokens]
            flat_index = owner[latents.tokens] * sae.d_sae + latents.indices
            table[name].view(-1).index_add_(0, flat_index, values)
            seconds[name] += time.perf_counter() - began
    chosen = {
        (half, label): torch.tensor([i for i, row in enumerate(flat) if row[:2] == (half, label)])
        for half, label, _ in flat
    }

    def half_of(means: Tensor, half: int) -> _Half:
        return {label: means[rows] for (where, label), rows in chosen.items() if where == half}

    return {key: (half_of(means, 0), half_of(means, 1)) for key, means in table.items()}


def _ids(model: LanguageModel, text: str, context: int) -> list[int]:
    return model.tokenizer(text, truncation=True, max_length=context)["input_ids"]


def one_against_rest(half: _Half, label: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x [2n, width] and y [2n]: all n texts of a class, and n of the others, equally many of each as far as it goes."""
    positive = half[label]
    others = [means for name, means in half.items() if name != label]
    each = math.ceil(len(positive) / len(others))
    negative = torch.cat([o[torch.randperm(len(o), generator=generator)[:each]] for o in others])
    negative = negative[torch.randperm(len(negative), generator=generator)[: len(positive)]]
    y = torch.zeros(len(positive) + len(negative), dtype=torch.bool)
    y[: len(positive)] = True
    return torch.cat([positive, negative]), y


def k_sparse_accuracy(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], k: int) -> float:
    """Test accuracy of a logistic regression on the k inputs whose class means differ most on the training texts."""
    x, y = train
    chosen = (x[y].mean(0) - x[~y].mean(0)).abs().argsort(descending=True)[:k]
    weights, bias = fit(x[:, chosen], y)
    return accuracy(test[0][:, chosen], test[1], weights, bias)


def _by_k(train: _Half, test: _Half, seed: int) -> dict[int, float]:
    accuracies: dict[int, list[float]] = {k: [] for k in KS}
    for one in _contests(train, test, seed):
        for k in KS:
            accuracies[k].append(k_sparse_accuracy(*one, k))
    return {k: _mean(found) for k, found in accuracies.items()}


def _all(train: _Half, test: _Half, seed: int) -> float:
    found: list[float] = []
    for (x, y), (unseen, truth) in _contests(train, test, seed):
        scale = x.std(0).clamp_min(1e-6)
        weights, bias = fit(x / scale, y)
        found.append(accuracy(unseen / scale, truth, weights, bias))
    return _mean(found)


def _contests(
    train: _Half, test: _Half, seed: int
) -> list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (one_against_rest(train, label, generator), one_against_rest(test, label, generator))
        for label in train
    ]
