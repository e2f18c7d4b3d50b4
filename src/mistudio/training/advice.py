"""What a training's settings let one expect, said before it starts: warnings that explain themselves.

Rules of thumb, each with its reason; none of them refuses anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mistudio.sae.config import TrainerConfig, active_per_token
from mistudio.training.schemas import Advice

LEARNING_RATE = 2e-4
"""Adam's learning rate at 2^14 latents in the scaling rule of Gao et al. 2024 (arXiv 2406.04093, figure 3), which has
it fall with one over the root of the number of latents; EleutherAI's sparsify takes both from there."""
FAR = 4.0
"""Factor from the rule at which a learning rate is called far from it: optima are flat, within 2 all is well."""
FEW_FIRINGS = 1_000
"""Tokens on which the mean latent is active in a whole training below which many are hardly trained."""
REPEATS = 4


def rule_of_learning_rate(d_sae: int) -> float:
    """The learning rate that the scaling rule gives for a dictionary of this width."""
    return LEARNING_RATE / (d_sae / 2**14) ** 0.5


def advise(runs: Sequence[tuple[TrainerConfig, int]], distinct: int, held_out: int) -> list[Advice]:
    """What is to be said of these SAEs (settings and width of the activations), each thing once.

    distinct: tokens there are to train on. held_out: tokens that are kept for the measure.
    """
    counts: dict[tuple[str | None, str], Advice] = {}
    total = 0
    for config, d_in in runs:
        total += 1
        for one in _of_one(config, d_in, distinct):
            key = (one.setting, one.message.partition(":")[0])
            before = counts.get(key)
            if before is not None:  # the worse case stands for both
                worse = max(before, one, key=lambda advice: advice.suggestion or 0)
                one = worse.model_copy(update={"saes": before.saes + 1})
            counts[key] = one
    found = list(counts.values())
    spliced = sum(bool(config.evaluate_every) for config, _ in runs)
    if held_out == 0 and spliced:
        found.append(
            Advice(
                message="Splicing into the model is measured on held-out tokens, and none is held out: there would be "
                "no curve of CE recovered. Hold some out, or set “Splice into the model every” to 0.",
                setting="held_out_tokens",
                suggestion=16_384,
                saes=spliced,
            )
        )
    elif held_out == 0:
        found.append(
            Advice(
                message="Nothing is held out, so the finished SAE is not measured on tokens that it has not seen.",
                setting="held_out_tokens",
                suggestion=16_384,
                saes=total,
            )
        )
    return found


def _of_one(config: TrainerConfig, d_in: int, distinct: int) -> Iterable[Advice]:
    yield from _length(config, distinct)
    yield from _sparsity(config, d_in)
    yield from _schedule(config)


def _length(config: TrainerConfig, distinct: int) -> Iterable[Advice]:
    repeats = config.total_tokens / max(distinct, 1)
    if repeats > REPEATS:
        yield Advice(
            message=f"{config.total_tokens:,} training tokens from {distinct:,} distinct ones: each is seen "
            f"{repeats:.1f} times. Beyond about {REPEATS} the dictionary learns this text rather than the model.",
            setting="config.total_tokens",
            suggestion=REPEATS * distinct,
        )
    active = active_per_token(config.architecture, config.d_sae)
    firings = config.total_tokens * active / config.d_sae
    if active < config.d_sae and firings < FEW_FIRINGS:
        yield Advice(
            message=f"Too few tokens for this width: with {active:,} of {config.d_sae:,} latents active on a token, "
            f"the mean latent sees {firings:,.0f} of {config.total_tokens:,} tokens, rare ones hardly any. Below about "
            f"{FEW_FIRINGS:,} many stay untrained or dead: train longer, or make the dictionary narrower.",
            setting="config.total_tokens",
            suggestion=_rounded(FEW_FIRINGS * config.d_sae / active),
        )
    if config.dead_latent_window > config.total_tokens:
        yield Advice(
            message=f"A latent counts as dead after {config.dead_latent_window:,} tokens, and the training has only "
            f"{config.total_tokens:,}: none can be noticed, so nothing brings dead ones back.",
            setting="config.dead_latent_window",
            suggestion=_rounded(config.total_tokens / 10),
        )


def _sparsity(config: TrainerConfig, d_in: int) -> Iterable[Advice]:
    active = active_per_token(config.architecture, config.d_sae)
    name = "k" if hasattr(config.architecture, "k") else "target_l0"
    if active < config.d_sae and active > d_in // 4:
        yield Advice(
            message=f"{active:,} active latents are many for activations of {d_in:,} dimensions: with more than about "
            "a quarter of the width, nearly any directions reconstruct well, and latents need not mean anything. "
            "Usual are 20 to 150.",
            setting=f"config.architecture.{name}",
            suggestion=max(1, min(64, d_in // 8)),
        )
    if config.d_sae < d_in:
        yield Advice(
            message=f"{config.d_sae:,} latents are fewer than the {d_in:,} dimensions of the activations: such a "
            "dictionary compresses instead of taking apart. Usual are 8 to 32 times the width.",
            setting="config.d_sae",
            suggestion=8 * d_in,
        )


def _schedule(config: TrainerConfig) -> Iterable[Advice]:
    rule = rule_of_learning_rate(config.d_sae)
    if config.optimizer.kind in ("adam", "muon") and not rule / FAR <= config.learning_rate <= rule * FAR:
        high = config.learning_rate > rule
        yield Advice(
            message=f"A learning rate of {config.learning_rate:g} is {'above' if high else 'below'} the scaling rule "
            f"by a factor of {max(config.learning_rate / rule, rule / config.learning_rate):.3g}. The rule is "
            f"2e-4 / √(latents / 16,384), here {rule:.2g} (Gao et al. 2024, figure 3). "
            + (
                "Latents may die early, or the training diverge."
                if high
                else "The training may end before it has converged."
            ),
            setting="config.learning_rate",
            suggestion=float(f"{rule:.2g}"),
        )
    if config.total_steps <= config.warmup_steps:
        yield Advice(
            message=f"The warm-up of {config.warmup_steps:,} steps is as long as the training of "
            f"{config.total_steps:,}: the learning rate never reaches its full size.",
            setting="config.warmup_steps",
            suggestion=config.total_steps // 20,
        )
    for name in ("sparsity_warmup_steps", "l1_warmup_steps"):
        steps = getattr(config.architecture, name, 0)
        if steps >= config.total_steps:
            yield Advice(
                message=f"The penalty grows for {steps:,} steps, and the training has {config.total_steps:,}: it never "
                "has its full weight.",
                setting=f"config.architecture.{name}",
                suggestion=config.total_steps // 10,
            )


def _rounded(number: float) -> int:
    """Two significant digits, upwards."""
    size = 10 ** max(len(str(int(number))) - 2, 0)
    return -int(-number // size) * size
