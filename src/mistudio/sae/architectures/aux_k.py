"""AuxK: dead latents learn to model what the live ones leave over (Gao et al. 2024, arXiv 2406.04093, appendix A.2).

The term is c·Σ‖e − ê‖²/Σ‖e − ē‖² with the error e = y − ŷ held constant, and ê its reconstruction by the
strongest `aux_k` dead latents of each token.
"""

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from mistudio.sae import kernels, search
from mistudio.sae.architectures import selection
from mistudio.sae.architectures.base import StepContext
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents
from mistudio.sae.sizes import SPARSE_PAYS_BELOW

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class AuxK(Protocol):
    """The settings that it needs."""

    aux_coefficient: float
    aux_k: int


def acts(config: AuxK, sae: "SAE", context: StepContext) -> bool:
    """Whether the term is there in this step."""
    return config.aux_coefficient > 0 and sae.shards.any(bool(context.dead.any()))


def term(config: AuxK, sae: "SAE", pre: Tensor, error: Tensor, context: StepContext) -> Tensor:
    """The term by definition, from dense pre-activations [N, m] and ŷ − y [N, d]."""
    if not acts(config, sae, context):
        return error.new_zeros(())
    dead = context.dead.nonzero()[:, 0]
    norms = sae.ranking_norms()
    e = -error.detach()
    z = strongest(pre[:, dead], None if norms is None else norms[dead], min(config.aux_k, dead.shape[0]))
    return config.aux_coefficient / _spread(e, context) * (e - z @ sae.W_dec[dead]).square().sum()


def add_gradients(
    config: AuxK,
    sae: "SAE",
    seen: Tensor,
    error: Tensor,
    context: StepContext,
    gradients: dict[str, Tensor],
) -> Tensor:
    """Add the term's gradients in place (dead latents' own weights only); return its value."""
    if not acts(config, sae, context):
        return error.new_zeros(())
    dead = context.dead.nonzero()[:, 0]
    norms = sae.ranking_norms()
    e = -error
    W_enc, W_dec, b_enc = sae.W_enc[dead], sae.W_dec[dead], sae.b_enc[dead]
    dead_norms = None if norms is None else norms[dead]
    k = min(config.aux_k, dead.shape[0])
    latents = search.encode_top_k(seen, W_enc, b_enc, k, dead_norms) if k else _none(seen)
    latents = selection.of_tokens(latents, dead_norms, config.aux_k, sae.shards)
    sparse = k < SPARSE_PAYS_BELOW * dead.shape[0]
    z = None if sparse else latents.dense().to(W_dec.dtype)
    miss = sae.shards.sum(kernels.decode(latents, W_dec) if z is None else z @ W_dec).sub_(e)
    scale = config.aux_coefficient / _spread(e, context)
    g = miss * (2 * scale)
    if z is None:
        by_latent = ByLatent.of(latents)
        dv = kernels.products(latents, g, W_dec)
        found = {
            "W_dec": by_latent.weight_gradients(latents.values, g),
            "W_enc": by_latent.weight_gradients(dv, seen),
            "b_enc": by_latent.sums(dv),
        }
    else:
        dz = (g @ W_dec.T).mul_(z > 0)
        found = {"W_dec": z.T @ g, "W_enc": dz.T @ seen, "b_enc": dz.sum(0)}
    for name, gradient in found.items():
        gradients[name].index_add_(0, dead, gradient.to(gradients[name]))
    if sae.apply_b_dec_to_input:
        gradients["b_dec"].sub_(sae.shards.sum(found["b_enc"].to(W_enc) @ W_enc))
    return scale * _squares(miss)


def strongest(pre: Tensor, norms: Tensor | None, k: int) -> Tensor:
    """ReLU of the k entries of each row of pre [n, m] that are largest (times norms), 0 elsewhere; differentiable."""
    ranked = pre if norms is None else pre * norms.detach()
    indices = ranked.topk(k, dim=1, sorted=False).indices
    return torch.zeros_like(pre).scatter(1, indices, pre.gather(1, indices).relu())


def _spread(e: Tensor, context: StepContext) -> Tensor:
    """This process's share of Σ‖e − ē‖² over the batch, at least the smallest positive number so that a perfect fit
    gives 0 and not NaN."""
    mean = context.ranks.sum(e.sum(0)) * (context.share / e.shape[0])
    return context.ranks.sum(_squares(e - mean)).clamp_min(torch.finfo(e.dtype).tiny) * context.share


def _squares(values: Tensor) -> Tensor:
    """The sum of squares, in float32 at least: scalar."""
    return values.norm(dtype=torch.promote_types(values.dtype, torch.float32)).square()


def _none(seen: Tensor) -> Latents:
    offsets = torch.zeros(seen.shape[0] + 1, dtype=torch.int64, device=seen.device)
    return Latents(seen.new_zeros(0), offsets.new_zeros(0), offsets, 0)
