"""How the directions of a dictionary lie to each other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mistudio.engine.evaluation.report import Histogram
from mistudio.sae import SAE

EXACT_UP_TO = 16_384
_BLOCK = 1_024
_BINS = 40


@torch.no_grad()
def max_decoder_cosines(sae: SAE, seed: int = 0) -> Tensor:
    """[n] max_{j≠i} cos(dᵢ, dⱼ): of every latent up to 16,384 of them, else of a random sample of as many."""
    directions = functional.normalize(sae.W_dec.float(), dim=1)
    m = directions.shape[0]
    rows = torch.arange(m)
    if m > EXACT_UP_TO:
        rows = torch.randperm(m, generator=torch.Generator().manual_seed(seed))[:EXACT_UP_TO]
    rows = rows.to(directions.device)
    found: list[Tensor] = []
    for block in rows.split(_BLOCK):
        cosines = directions[block] @ directions.T
        cosines[torch.arange(len(block), device=block.device), block] = -1
        found.append(cosines.amax(1))
    return torch.cat(found)


@torch.no_grad()
def encoder_decoder_cosines(sae: SAE) -> Tensor:
    """[d_sae] cos(eᵢ, dᵢ)."""
    return functional.cosine_similarity(sae.W_enc.float(), sae.W_dec.float(), dim=1)


def histogram(values: Tensor, low: float, high: float, bins: int = _BINS) -> Histogram:
    """Counts of values [n] in equal bins from `low` to `high`; values beyond count at the ends."""
    values = values.detach().double().cpu().clamp(low, high)
    counts = torch.histc(values, bins, low, high)
    return Histogram(
        edges=torch.linspace(low, high, bins + 1, dtype=torch.float64).tolist(),
        counts=counts.long().tolist(),
    )


def frequency_histogram(frequency: Tensor, n_tokens: int) -> Histogram:
    """Of log₁₀ of the frequencies [d_sae] of latents that were ever active, in bins of a quarter of a decade."""
    alive = frequency[frequency > 0].log10()
    low = min(-1.0, float(torch.tensor(1 / n_tokens).log10().floor()))
    return histogram(alive, low, 0.0, bins=int(-low * 4))
