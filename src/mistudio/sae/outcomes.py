"""Putting together what was computed of one batch in parts: one after the other, or by several ranks."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mistudio.sae.architectures import StepContext, StepGradients
from mistudio.sae.dictionary import SAE
from mistudio.sae.distributed import Ranks
from mistudio.sae.normalise import NormalisedBatch

GradientsOf = Callable[[SAE, Tensor, Tensor, StepContext], StepGradients]


def in_parts(
    sae: SAE,
    batch: NormalisedBatch,
    context: StepContext,
    gradients_of: GradientsOf,
    counts: list[int],
    parts: int,
    dtype: torch.dtype,
) -> StepGradients:
    """The outcome of this rank's share of a batch, in `parts` parts one after the other.

    `counts` are the tokens of every rank. Gradients [dtype] and terms are weighted by tokens, so that those of all
    ranks add up to the whole batch's; the reconstruction is this rank's.
    """
    total, mine = sum(counts), counts[context.ranks.rank]
    working = sae.W_enc.dtype
    whole: StepGradients | None = None
    for i in range(parts):
        start, stop = _edge(mine, i, parts), _edge(mine, i + 1, parts)
        everyone = sum(_edge(n, i + 1, parts) - _edge(n, i, parts) for n in counts)
        part = batch if parts == 1 else batch.rows(start, stop)
        x, y = part.x.to(working), part.y.to(working)
        if part.y is part.x:
            y = x
        outcome = gradients_of(sae, x, y, replace(context, share=(stop - start) / everyone))
        weight = (stop - start) / total
        gradients = {name: g.to(dtype) for name, g in outcome.gradients.items()}
        if weight != 1:
            for gradient in gradients.values():
                gradient.mul_(weight)
        terms = {name: term * weight for name, term in outcome.terms.items()}
        l0 = outcome.l0 * weight
        observed = {name: v * (everyone / total) for name, v in outcome.observed.items()}
        if whole is None:
            reconstruction = outcome.reconstruction
            if parts > 1:
                reconstruction = reconstruction.new_empty(mine, reconstruction.shape[1])
                reconstruction[start:stop] = outcome.reconstruction
            whole = StepGradients(terms, gradients, reconstruction, l0, outcome.active, observed)
            continue
        for name, gradient in gradients.items():
            whole.gradients[name].add_(gradient)
        whole.reconstruction[start:stop] = outcome.reconstruction
        whole = replace(
            whole,
            terms={name: term + terms[name] for name, term in whole.terms.items()},
            l0=whole.l0 + l0,
            active=whole.active + outcome.active,
            observed={name: v + observed[name] for name, v in whole.observed.items()},
        )
    assert whole is not None
    return whole


def over_ranks(outcome: StepGradients, ranks: Ranks) -> StepGradients:
    """The whole batch's outcome from those of all ranks: gradients are summed in place.

    What ranks observe they have already agreed on.
    """
    if ranks.size == 1:
        return outcome
    for gradient in outcome.gradients.values():
        ranks.sum(gradient)
    small = ranks.sum(torch.stack([t.double() for t in (outcome.l0, *outcome.terms.values())]))
    active = ranks.sum(outcome.active)
    terms = dict(zip(outcome.terms, small[1:], strict=True))
    return replace(outcome, terms=terms, l0=small[0], active=active)


def over_shards(outcome: StepGradients, sae: SAE) -> StepGradients:
    """The same where each rank has some of the latents: counts and losses over latents are summed."""
    shards = sae.shards
    if shards.size == 1:
        return outcome
    names = [name for name in outcome.terms if name in sae.activation.latent_terms]
    small = shards.sum(torch.stack([outcome.l0.double(), *(outcome.terms[n].double() for n in names)]))
    terms = outcome.terms | dict(zip(names, small[1:], strict=True))
    return replace(outcome, terms=terms, l0=small[0])


def _edge(count: int, part: int, parts: int) -> int:
    return count * part // parts
