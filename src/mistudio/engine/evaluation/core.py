"""One call that measures any number of dictionaries on one model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.errors import ActivationsRefused, EngineError, TokensUnfit
from mistudio.engine.evaluation.behaviour import measure_behaviour
from mistudio.engine.evaluation.report import Histogram, Report
from mistudio.engine.evaluation.settings import EvaluationSettings
from mistudio.engine.evaluation.sites import Site, site_of
from mistudio.engine.evaluation.structure import (
    encoder_decoder_cosines,
    frequency_histogram,
    histogram,
    max_decoder_cosines,
)
from mistudio.engine.progress import OnProgress, Progress
from mistudio.engine.progress_bars import progress_bar
from mistudio.engine.sequences import Tokens, as_sequences
from mistudio.lm.harvesting import harvest
from mistudio.lm.model import LanguageModel
from mistudio.sae import SAE, Evaluation

Step = Callable[[str, float, float], None]
"""(stage, done, of how many): called often."""


@overload
def evaluate(
    saes: SAE,
    model: LanguageModel,
    tokens: Tokens,
    *,
    settings: EvaluationSettings | None = ...,
    hook: str | None = ...,
    progress: bool | OnProgress | None = ...,
) -> Report: ...
@overload
def evaluate(
    saes: Mapping[str, SAE],
    model: LanguageModel,
    tokens: Tokens,
    *,
    settings: EvaluationSettings | None = ...,
    hook: str | None = ...,
    progress: bool | OnProgress | None = ...,
) -> dict[str, Report]: ...
@overload
def evaluate(
    saes: Sequence[SAE],
    model: LanguageModel,
    tokens: Tokens,
    *,
    settings: EvaluationSettings | None = ...,
    hook: str | None = ...,
    progress: bool | OnProgress | None = ...,
) -> list[Report]: ...
def evaluate(
    saes: SAE | Sequence[SAE] | Mapping[str, SAE],
    model: LanguageModel,
    tokens: Tokens,
    *,
    settings: EvaluationSettings | None = None,
    hook: str | None = None,
    progress: bool | OnProgress | None = None,
) -> Report | list[Report] | dict[str, Report]:
    """Measure one dictionary, several, or several by name, on the same tokens in the same passes of the model.

    `tokens` are sequences of token ids (a tensor `[n, context]`, lists, a token store) or texts, read from the
    beginning as far as `settings` say: give such as the dictionaries were not trained on. `hook` is where to measure
    dictionaries that do not say it themselves. Every pass serves all dictionaries, at however many hook points; only
    the blocks behind a hook point run once more for each, with it spliced in. `progress`: see `progress_bar`.

    Returns a Report, a list or a dictionary of them, as `saes` was given. Raises DictionaryMisplaced, HookNotFound,
    TokensRefused, TokensUnfit, and NothingToEvaluate.
    """
    settings = settings or EvaluationSettings()
    one, named = _named(saes)
    with progress_bar(progress) as report:

        def step(stage: str, done: float, total: float) -> None:
            if report is not None:
                report(Progress(stage, int(done), int(total), UNITS.get(stage, "dictionaries")))

        reports = _evaluate(named, model, tokens, settings, hook, step)
    if one:
        return next(iter(reports.values()))
    return reports if isinstance(saes, Mapping) else list(reports.values())


UNITS = {"Reconstruct": "sequences", "Splice into the model": "sequences", "Probe texts": "sets"}


class NothingToEvaluate(EngineError):
    """No dictionaries, or no tokens that count."""

    code = "nothing_to_evaluate"


def _named(saes: SAE | Sequence[SAE] | Mapping[str, SAE]) -> tuple[bool, dict[str, SAE]]:
    if isinstance(saes, SAE):
        return True, {str(saes.metadata.get("name") or "SAE"): saes}
    named = dict(saes) if isinstance(saes, Mapping) else {f"{i + 1}": sae for i, sae in enumerate(saes)}
    if not named:
        raise NothingToEvaluate("There is no dictionary to evaluate.", "Give at least one.")
    return False, named


def _evaluate(
    saes: dict[str, SAE],
    model: LanguageModel,
    tokens: Tokens,
    settings: EvaluationSettings,
    hook: str | None,
    progress: Step,
) -> dict[str, Report]:
    sites = {name: site_of(name, sae, model, hook) for name, sae in saes.items()}
    sequences = take(model, tokens, settings)
    measured, means, seconds = _reconstruct(saes, sites, model, sequences, settings, progress)
    n_tokens = next(iter(measured.values())).n_tokens
    metrics: dict[str, dict[str, float | None]] = {n: dict(e.result().as_dict()) for n, e in measured.items()}
    notes: dict[str, list[str]] = {name: [] for name in saes}
    spliced_tokens = 0
    if settings.spliced_tokens:
        special = _special(model) if settings.skip_special else None
        few = _up_to(sequences, settings.spliced_tokens)
        began = time.perf_counter()
        behaviour = measure_behaviour(
            model,
            saes,
            sites,
            means,
            few,
            batch_size=settings.batch_size,
            special=special,
            progress=lambda done: progress("Splice into the model", done, len(few)),
        )
        for name, found in behaviour.items():
            spliced_tokens = int(found.pop("n_kl"))
            seconds[name]["splice"] = found.pop("seconds")
            seconds[name]["splice_all"] = time.perf_counter() - began
            metrics[name].update(found)
    histograms: dict[str, dict[str, Histogram]] = {}
    for name, sae in saes.items():
        progress("Compare directions", len(histograms), len(saes))
        found, histograms[name] = _structure(sae, sites[name], measured[name], settings.seed)
        metrics[name].update(found)
        metrics[name].pop("n_tokens")
    extra = _extras(saes, sites, model, settings, progress, metrics, notes, seconds)
    return {
        name: Report(
            name=name,
            model=model.source,
            reads=list(sites[name].reads),
            writes=list(sites[name].writes),
            architecture=sae.architecture.kind,
            d_in=sae.d_in,
            d_out=sae.d_out,
            d_sae=sae.d_sae,
            tokens=n_tokens,
            spliced_tokens=spliced_tokens,
            metrics=metrics[name],
            histograms=histograms[name],
            notes=notes[name],
            settings=settings,
            seconds={part: round(value, 3) for part, value in seconds[name].items()},
            **extra[name],
        )
        for name, sae in saes.items()
    }


def _reconstruct(
    saes: dict[str, SAE],
    sites: dict[str, Site],
    model: LanguageModel,
    sequences: list[Tensor],
    settings: EvaluationSettings,
    progress: Step,
) -> tuple[dict[str, Evaluation], dict[tuple[str, ...], Tensor], dict[str, dict[str, float]]]:
    """Metrics of every dictionary, x̄ by the hook points written, and seconds, from one pass that stops at the
    deepest hook point."""
    hooks = list(dict.fromkeys(hook for site in sites.values() for hook in site.hooks))
    measured = {name: Evaluation() for name in saes}
    seconds = {name: {"encode": 0.0} for name in saes}
    began, done = time.perf_counter(), 0
    batches = harvest(
        model,
        sequences,
        hooks,
        batch_size=settings.batch_size,
        skip_special=settings.skip_special,
        outlier_norm_multiple=settings.outlier_norm_multiple,
    )
    for batch in batches:
        rows = {hook: batch.rows(hook) for hook in hooks}
        _refuse_infinite(rows, done, len(batch.tokens))
        for name, sae in saes.items():
            start = time.perf_counter()
            x, y = sites[name].x(rows), sites[name].y(rows)
            if len(x):
                x = sae.check(x)
                latents = sae.encode(x)
                measured[name].update_with(y, latents, sae.decode(latents, x))
            seconds[name]["encode"] += time.perf_counter() - start
        done += len(batch.tokens)
        progress("Reconstruct", done, len(sequences))
    if any(evaluation.n_tokens == 0 for evaluation in measured.values()):
        raise NothingToEvaluate(
            "None of the tokens given counts: they are all special tokens.",
            "Give text, or set skip_special to false.",
        )
    whole = time.perf_counter() - began
    for name in saes:
        seconds[name]["pass"] = whole
    means = {sites[name].writes: evaluation.mean for name, evaluation in measured.items()}
    return measured, means, seconds


def _refuse_infinite(rows: dict[str, Tensor], first: int, n: int) -> None:
    for hook, values in rows.items():
        if not bool(values.isfinite().all()):
            what = "NaN" if bool(values.isnan().any()) else "infinite"
            raise ActivationsRefused(
                f"An activation of {hook} is {what} in one of the sequences {first} to {first + n - 1}: the model "
                "overflowed there.",
                "Load the model in float32 or bfloat16, or leave these sequences out.",
            )


def _structure(
    sae: SAE, site: Site, evaluation: Evaluation, seed: int
) -> tuple[dict[str, float], dict[str, Histogram]]:
    nearest = max_decoder_cosines(sae, seed)
    found = {"max_decoder_cosine": float(nearest.mean())}
    shown = {
        "log_frequency": frequency_histogram(evaluation.frequency, evaluation.n_tokens),
        "max_decoder_cosine": histogram(nearest, -1, 1),
    }
    if site.reconstructs:
        agreement = encoder_decoder_cosines(sae)
        found["encoder_decoder_cosine"] = float(agreement.mean())
        shown["encoder_decoder_cosine"] = histogram(agreement, -1, 1)
    return found, shown


def _extras(
    saes: dict[str, SAE],
    sites: dict[str, Site],
    model: LanguageModel,
    settings: EvaluationSettings,
    progress: Step,
    metrics: dict[str, dict[str, float | None]],
    notes: dict[str, list[str]],
    seconds: dict[str, dict[str, float]],
) -> dict[str, dict[str, Any]]:
    """Absorption and probing where asked for: their details by dictionary; numbers go into `metrics`."""
    extra: dict[str, dict[str, Any]] = {name: {} for name in saes}
    if settings.absorption:
        from mistudio.engine.evaluation.absorption import measure_absorption

        began = time.perf_counter()
        for name, found in measure_absorption(model, saes, sites, settings, progress).items():
            extra[name]["letters"] = found.letters
            notes[name] += found.notes
            metrics[name].update(found.metrics)
            seconds[name].update(absorption=found.seconds, absorption_all=time.perf_counter() - began)
    if settings.probing:
        from mistudio.engine.evaluation.probing import measure_probing

        began = time.perf_counter()
        for name, (results, found, took) in measure_probing(model, saes, sites, settings, progress).items():
            extra[name]["probe_sets"] = results
            metrics[name].update(found)
            seconds[name].update(probing=took, probing_all=time.perf_counter() - began)
    return extra


def _special(model: LanguageModel) -> Tensor:
    return torch.tensor(sorted(model.special_ids), dtype=torch.long)


def take(model: LanguageModel, tokens: Tokens, settings: EvaluationSettings) -> list[Tensor]:
    """Sequences up to the number of tokens that is to be measured (special ones included).

    Raises NothingToEvaluate where there are none, TokensUnfit.
    """
    left = max(settings.tokens, settings.spliced_tokens)
    try:
        sequences = as_sequences(tokens, model, n_tokens=left)
    except TokensUnfit as error:
        raise NothingToEvaluate(f"There are no tokens to evaluate on: {error.message}", error.hint) from None
    taken: list[Tensor] = []
    for start in range(0, sequences.n_sequences, 64):
        rows, lengths = sequences.take(np.arange(start, min(start + 64, sequences.n_sequences)))
        for row, length in zip(rows, lengths, strict=True):
            if length and left > 0:
                taken.append(torch.from_numpy(np.asarray(row[: int(length)], np.int64)))
                left -= int(length)
        if left <= 0:
            break
    return taken


def _up_to(sequences: list[Tensor], tokens: int) -> list[Tensor]:
    few: list[Tensor] = []
    for ids in sequences:
        if tokens <= 0:
            break
        few.append(ids)
        tokens -= len(ids)
    return few
