"""Giving dead latents a new start (Bricken et al. 2023, "Towards Monosemanticity", appendix on neuron resampling).

Each takes a token of the batch, drawn with a probability that grows with the square of its loss: the decoder points
from the decoder bias to it, at the length of living decoders' mean (1 where norms are fixed), the encoder too, at a
share of the living encoders' mean length; the bias is 0, other weights are as at the start of a training. Their paper
draws from a sample of 819,200 tokens; here it is the step's batch.
"""

import torch
from torch import Tensor

from mistudio.sae.config import Resample
from mistudio.sae.dictionary import SAE
from mistudio.sae.distributed import Ranks
from mistudio.sae.normalise import NormalisedBatch

_SAMPLE = 1024
"""Tokens to which what an architecture adds is fitted anew."""


def due(config: Resample, step: int, total_steps: int) -> bool:
    """Whether dead latents are resampled after the given step (counted from 1)."""
    return step % config.resample_interval == 0 and step <= config.resample_until * total_steps


@torch.no_grad()
def resample(
    sae: SAE,
    batch: NormalisedBatch,
    reconstruction: Tensor,
    dead: Tensor,
    config: Resample,
    generator: torch.Generator,
    ranks: Ranks,
) -> Tensor:
    """Resample the latents `dead` [m]; returns their numbers [n]. The batch and its reconstruction are this rank's."""
    shards = sae.shards
    latents = dead.nonzero()[:, 0]
    per_shard = shards.counts(latents.shape[0], dead.device)
    if not sum(per_shard):
        return latents
    losses = torch.cat(ranks.gather((reconstruction - batch.y).double().square().sum(1))).cpu()
    tokens = _drawn(losses.square(), sum(per_shard), generator)
    first = sum(per_shard[: shards.rank])
    tokens = tokens[first : first + per_shard[shards.rank]] if shards.size > 1 else tokens
    x, y = (_rows(values, tokens, ranks) for values in (batch.x, batch.y))

    living = ~dead
    n_living = shards.sum(living.sum())
    decoder_length: Tensor | float = 1.0
    if sae.decoder_norm == "free":
        decoder_length = shards.sum(sae.decoder_norms()[living].sum()) / n_living.clamp_min(1)
    encoder_length = shards.sum(sae.W_enc[living].norm(dim=1).sum()) / n_living.clamp_min(1)
    if not bool(n_living):
        encoder_length = shards.sum(sae.W_enc.norm(dim=1).mean()) / shards.size

    tiny = torch.finfo(x.dtype).tiny
    sae.W_dec[latents] = y - sae.b_dec
    sae.W_dec[latents] *= (decoder_length / sae.decoder_norms()[latents])[:, None]
    seen = sae.centre(x)
    sae.W_enc[latents] = (
        seen * (config.encoder_scale * encoder_length / seen.norm(dim=1).clamp_min(tiny))[:, None]
    )
    sae.b_enc[latents] = 0
    some = max(1, _SAMPLE // ranks.size)
    sae.activation.restart(sae, latents, sae.centre(torch.cat(ranks.gather(batch.x[:some]))))
    return latents


def _drawn(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` tokens [count], drawn by their weights [N]; different ones as far as there are enough."""
    weights = weights / weights.sum() if bool(weights.sum() > 0) else torch.ones_like(weights)
    usable = int((weights > 0).sum())
    # multinomial takes at most 2^24 kinds, more than any batch has
    return torch.multinomial(weights, count, replacement=count > usable, generator=generator)


def _rows(values: Tensor, tokens: Tensor, ranks: Ranks) -> Tensor:
    """The rows `tokens` [n] of the whole batch, of which this rank has `values` [N_r, d]."""
    if ranks.size == 1:
        return values[tokens.to(values.device)]
    counts = ranks.counts(values.shape[0], values.device)
    start = sum(counts[: ranks.rank])
    mine = (tokens >= start) & (tokens < start + values.shape[0])
    out = values.new_zeros(tokens.shape[0], values.shape[1])
    out[mine.to(values.device)] = values[(tokens[mine] - start).to(values.device)]
    return ranks.sum(out)
