"""Feature absorption on the first-letter task, after SAEBench 0.6.0.

Chanin et al. 2024 (arXiv 2409.14507) define it; thresholds, probes and the two scores are those of SAEBench's source.
What differs is only how words and examples are drawn (see `spelling`), that test words are scored on the activations
that the probes are tested on, and that k-sparse probes go to their optimum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from mistudio.engine.evaluation.logistic import f1_score, fit
from mistudio.engine.evaluation.report import LetterAbsorption
from mistudio.engine.evaluation.settings import EvaluationSettings
from mistudio.engine.evaluation.sites import Site
from mistudio.engine.evaluation.spelling import LETTERS, SpellingHalf, spelling_data
from mistudio.lm.model import LanguageModel
from mistudio.sae import SAE, Latents

MAX_K = 10
F1_JUMP = 0.03
PROBE_F1 = 0.6
ENOUGH_LETTERS = 20
FULL_COSINE, FRACTION_COSINE = 0.025, 0.1
PROPORTION = 0.4
ABSORBERS = 3
_OFF = 1e-8

Progress = Callable[[str, float, float], None]


@dataclass
class AbsorptionFound:
    """One dictionary's result."""

    letters: list[LetterAbsorption] = field(default_factory=list[LetterAbsorption])
    metrics: dict[str, float | None] = field(default_factory=dict[str, float | None])
    notes: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


@dataclass(frozen=True)
class _Task:
    """The task at one hook point: activations, and a probe with its scores of test words [n, 26]."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    probe: Tensor
    scores: Tensor
    f1: list[float]


def measure_absorption(
    model: LanguageModel,
    saes: Mapping[str, SAE],
    sites: Mapping[str, Site],
    settings: EvaluationSettings,
    progress: Progress,
) -> dict[str, AbsorptionFound]:
    """By dictionary. One pass over the words serves all of them, one probe all of a hook point."""
    able = [name for name in saes if sites[name].reconstructs and len(sites[name].reads) == 1]
    hooks = list(dict.fromkeys(sites[name].reads[0] for name in able))
    found = {name: AbsorptionFound() for name in saes}
    for name in saes:
        if name not in able:
            found[name].notes.append("Absorption is measured on SAEs that reconstruct one hook point only.")
    if not able:
        return found
    progress("Show words", 0, 1)
    train, test = spelling_data(
        model, hooks, words=settings.words, prompts=settings.spelling_prompts, seed=settings.seed
    )
    tasks: dict[str, _Task] = {}
    for done, name in enumerate(able):
        hook = sites[name].reads[0]
        if hook not in tasks:
            progress("Train letter probes", done, len(able))
            tasks[hook] = _task(train, test, hook, settings.seed)
        progress("Find absorption", done, len(able))
        began = time.perf_counter()
        found[name] = _measure(saes[name], tasks[hook], settings.seed)
        found[name].seconds = time.perf_counter() - began
    return found


def _task(train: SpellingHalf, test: SpellingHalf, hook: str, seed: int) -> _Task:
    x, unseen = train.activations[hook], test.activations[hook]
    y, truth = train.letters.to(x.device), test.letters.to(x.device)
    weight, bias = train_letter_probe(x, y, seed)
    scores = unseen @ weight.T + bias
    f1 = [f1_score(scores[:, i] > 0, truth == i) for i in range(len(LETTERS))]
    return _Task((x, y), (unseen, truth), weight, scores, f1)


def train_letter_probe(x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """One logistic regression per letter on x [n, d] with letters y [n]: weights [26, d] and biases [26].

    As SAEBench trains it: Adam for 50 epochs, batches of 64, learning rate 10⁻² falling to 10⁻⁵, weight decay 10⁻⁴,
    rare letters weighted up.
    """
    probe = _linear(x.shape[1], seed).to(x.device)

    def logits(rows: Tensor) -> Tensor:
        return functional.linear(x[rows], probe.weight, probe.bias)

    _train(probe, logits, y, batch=64, decay=1e-4, penalty=0.0, seed=seed)
    return probe.weight.detach(), probe.bias.detach()


def train_sparse_probe(latents: Latents, y: Tensor, seed: int) -> Tensor:
    """The same on latents of n words with an L1 penalty of 10⁻² on the weights [26, d_sae], which are returned.

    Batches of 4,096 (a sixth of the words where these are fewer than SAEBench's usual 24,000, since too few steps would
    leave the ranking to the initialisation), weight decay 10⁻⁶; the cost goes with active latents, not with d_sae.
    """
    probe = _linear(latents.d_sae, seed).to(y.device)

    def logits(rows: Tensor) -> Tensor:
        values, indices, offsets = _rows(latents, rows)
        return (
            functional.embedding_bag(
                indices, probe.weight.T, offsets[:-1], mode="sum", per_sample_weights=values
            )
            + probe.bias
        )

    batch = min(4_096, max(64, len(y) // 6))
    _train(probe, logits, y, batch=batch, decay=1e-6, penalty=1e-2, seed=seed)
    return probe.weight.detach()


def _linear(width: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, len(LETTERS))


def _train(
    probe: nn.Linear,
    logits: Callable[[Tensor], Tensor],
    y: Tensor,
    *,
    batch: int,
    decay: float,
    penalty: float,
    seed: int,
    epochs: int = 50,
) -> None:
    targets = functional.one_hot(y, len(LETTERS)).float()
    seen = targets.sum(0)
    rarity = torch.where(seen > 0, (len(y) - seen) / seen.clamp_min(1), 1.0)
    optimiser = torch.optim.Adam(probe.parameters(), lr=1e-2, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, (1e-5 / 1e-2) ** (1 / epochs))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=generator).to(y.device).split(batch):
            optimiser.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(logits(rows), targets[rows], pos_weight=rarity)
            if penalty:
                loss = loss + penalty * probe.weight.abs().sum(1).mean()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimiser.step()
        schedule.step()


def _rows(latents: Latents, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values, indices and offsets of some words' latents, in the order of `rows`."""
    starts = latents.offsets[rows]
    counts = latents.offsets[rows + 1] - starts
    offsets = torch.zeros(len(rows) + 1, dtype=torch.long, device=rows.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    places = torch.arange(int(offsets[-1]), device=rows.device)
    places = places + (starts - offsets[:-1]).repeat_interleave(counts)
    return latents.values[places], latents.indices[places], offsets


def _columns(latents: Latents, chosen: Tensor) -> Tensor:
    """[n, k] values of the chosen latents [k]."""
    place = torch.full((latents.d_sae,), -1, dtype=torch.long, device=chosen.device)
    place[chosen] = torch.arange(len(chosen), device=chosen.device)
    here = place[latents.indices]
    hit = here >= 0
    x = latents.values.new_zeros(latents.n_tokens, len(chosen))
    x[latents.tokens[hit], here[hit]] = latents.values[hit]
    return x


def main_latents(train: Latents, y: Tensor, test: Latents, truth: Tensor, ranked: Tensor) -> Tensor:
    """The first k of `ranked` [10]: k grows while one more raises a k-sparse probe's F1 on test words by more than
    0.03. y and truth: [n] bool, whether a word begins with the letter."""
    x, unseen = _columns(train, ranked).cpu(), _columns(test, ranked).cpu()
    best, kept = -100.0, 0
    for k in range(1, len(ranked) + 1):
        weights, bias = fit(x[:, :k], y.cpu(), balanced=True)
        f1 = f1_score(unseen[:, :k].double() @ weights + bias > 0, truth.cpu())
        if f1 <= best + F1_JUMP:
            break
        best, kept = f1, k
    return ranked[:kept]


@torch.no_grad()
def _measure(sae: SAE, task: _Task, seed: int) -> AbsorptionFound:
    (x, y), (unseen, truth) = task.train, task.test
    train, test = _encode(sae, x), _encode(sae, unseen)
    with torch.enable_grad():
        sparse = train_sparse_probe(train, y, seed)
    letters: list[LetterAbsorption] = []
    for i, letter in enumerate(LETTERS):
        words = ((truth == i) & (task.scores[:, i] > 0)).nonzero().squeeze(1)
        if not len(words):
            continue
        ranked = sparse[i].topk(min(MAX_K, sae.d_sae)).indices
        main = main_latents(train, y == i, test, truth == i, ranked)
        full, fraction = absorption(sae, unseen[words], task.probe[i], main)
        letters.append(
            LetterAbsorption(
                letter=letter,
                probe_f1=task.f1[i],
                words=len(words),
                main_latents=main.tolist(),
                full=float(full.double().mean()),
                fraction=float(fraction.double().mean()),
                evaluated=task.f1[i] > PROBE_F1,
            )
        )
    return _summary(letters)


def _encode(sae: SAE, x: Tensor, batch: int = 4_096) -> Latents:
    return Latents.concatenate([sae.encode(part) for part in x.split(batch)])


def _summary(letters: list[LetterAbsorption]) -> AbsorptionFound:
    good = [letter for letter in letters if letter.evaluated]
    metrics: dict[str, float | None] = dict.fromkeys(
        ("absorption_full", "absorption_fraction", "absorption_split_latents"), None
    )
    metrics["absorption_letters"] = len(good)
    if len(good) < ENOUGH_LETTERS:
        return AbsorptionFound(
            letters,
            metrics,
            [
                f"No absorption score: the model shows the first letter of {len(good)} letters' words well enough, "
                f"of the {ENOUGH_LETTERS} that SAEBench asks for."
            ],
        )
    metrics["absorption_full"] = sum(letter.full for letter in good) / len(good)
    metrics["absorption_fraction"] = sum(letter.fraction for letter in good) / len(good)
    metrics["absorption_split_latents"] = sum(len(letter.main_latents) for letter in good) / len(good)
    return AbsorptionFound(letters, metrics)


def absorption(sae: SAE, x: Tensor, probe: Tensor, main: Tensor) -> tuple[Tensor, Tensor]:
    """Full absorption [n] bool and absorption fraction [n] of words' activations x [n, d].

    `probe` [d] is the letter's direction, `main` [k] the letter's main latents. Latents contribute zᵢ·⟨dᵢ, p⟩ to the
    projection ⟨x, p⟩ on the unit probe p (SAEBench's zᵢ·cos(dᵢ, p), for directions of length 1).
    """
    probe = functional.normalize(probe.float(), dim=0).to(sae.W_dec)
    cosines = functional.cosine_similarity(sae.W_dec, probe[None], dim=1)
    z = sae.encode(x).dense()
    parts = z * (sae.W_dec @ probe)
    total = x.to(probe) @ probe
    of_main = parts[:, main].sum(1)

    others = torch.ones(sae.d_sae, dtype=torch.bool, device=x.device)
    others[main] = False
    absorbing = parts.clamp_min(0) * (others & (cosines >= FRACTION_COSINE))
    taken = absorbing.topk(min(ABSORBERS, sae.d_sae), dim=1).values.sum(1)
    unaccounted = torch.minimum(taken, total - of_main)
    fraction = (unaccounted / (unaccounted + of_main)).clamp(0, 1)
    fraction = torch.where(of_main <= 0, 1.0, fraction)
    none = (of_main >= total) | (taken / total < PROPORTION)
    fraction = torch.where(none, 0.0, fraction)

    largest, which = parts.max(1)
    silent = (z[:, main].abs() < _OFF).all(1)
    full = silent & (cosines[which] >= FULL_COSINE) & (total >= 0) & (largest / total >= PROPORTION)
    return full, fraction
