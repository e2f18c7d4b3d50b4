"""One batch through active latents, forward and backward: what the fast steps of all architectures share."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mistudio.sae import kernels
from mistudio.sae.architectures.base import (
    Architecture,
    StepContext,
    StepGradients,
    reference_gradients,
    squared_error,
)
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

DENSE_BLOCK_TOKENS = 512


class SparseStep:
    """The reconstruction by given latents, its error, and gradients at a cost proportional to active latents.

    `latents` may hold entries whose value is 0: places at which a gradient is wanted though they write
    nothing. The sums are those of `kernels`.
    """

    def __init__(self, sae: "SAE", x: Tensor, y: Tensor, seen: Tensor, latents: Latents) -> None:
        self.sae, self.x, self.seen, self.latents = sae, x, seen, latents
        self.reconstruction = sae.shards.sum(kernels.decode(latents, sae.W_dec)).add_(sae.b_dec)
        if sae.W_skip is not None:
            self.reconstruction.addmm_(x, sae.W_skip.T)
        self.error = self.reconstruction - y
        self.g = self.error * (2 / x.shape[0])
        """∂(Σ‖ŷ − y‖²/N)/∂ŷ [N, d_out]"""

    @property
    def squared_error(self) -> Tensor:
        """Σ‖ŷ − y‖² / N: scalar."""
        return squared_error(self.error)

    @cached_property
    def by_latent(self) -> ByLatent:
        """The active entries grouped by latent."""
        return ByLatent.of(self.latents)

    def value_gradients(self) -> Tensor:
        """∂/∂zᵢ of the squared error, for each entry: [nnz]."""
        return kernels.products(self.latents, self.g, self.sae.W_dec)

    def parameter_gradients(self, pre_gradients: Tensor) -> dict[str, Tensor]:
        """Gradients of the common weights, given those of the entries' pre-activations [nnz]."""
        b_enc = self.by_latent.sums(pre_gradients)
        found = {
            "W_enc": self.by_latent.weight_gradients(pre_gradients, self.seen),
            "W_dec": self.by_latent.weight_gradients(self.latents.values, self.g),
            "b_enc": b_enc,
        }
        return found | output_gradients(self.sae, self.x, self.g, b_enc)

    def outcome(
        self,
        terms: dict[str, Tensor],
        gradients: dict[str, Tensor],
        *,
        active: Tensor | None = None,
        observed: dict[str, Tensor] | None = None,
    ) -> StepGradients:
        """All of it as a step's outcome; `active` [nnz] bool marks the entries that count, by default all."""
        indices = self.latents.indices if active is None else self.latents.indices[active]
        counts = torch.bincount(indices, minlength=self.sae.d_sae)
        l0 = torch.tensor(indices.shape[0] / self.x.shape[0], dtype=torch.float64, device=indices.device)
        order = [name for name, _ in self.sae.named_parameters()]
        ordered = {name: gradients[name] for name in order}
        return StepGradients(terms, ordered, self.reconstruction, l0, counts, observed or {})


def output_gradients(sae: "SAE", x: Tensor, g: Tensor, b_enc_gradient: Tensor) -> dict[str, Tensor]:
    """Gradients of b_dec (through the output, and the encoder's input where that is centred) and W_skip."""
    b_dec = g.sum(0)
    if sae.apply_b_dec_to_input:
        b_dec -= sae.shards.sum(b_enc_gradient.to(sae.W_enc) @ sae.W_enc)
    return {"b_dec": b_dec} if sae.W_skip is None else {"b_dec": b_dec, "W_skip": g.T @ x}


def add_norm_gradients(sae: "SAE", W_dec_gradient: Tensor, weights: Tensor, norms: Tensor) -> None:
    """Add the gradient of Σᵢ wᵢ·‖dᵢ‖ with respect to the directions dᵢ; weights and norms [m]."""
    if sae.n_sites == 1:
        W_dec_gradient.addcmul_(sae.W_dec, (weights / norms)[:, None])
        return
    sites = sae.W_dec.unflatten(1, (sae.n_sites, -1))
    directions = sites / sites.norm(dim=2, keepdim=True).clamp_min(torch.finfo(sites.dtype).tiny)
    W_dec_gradient.addcmul_(directions.flatten(1), weights[:, None])


def dense_gradients(
    architecture: Architecture[Any], sae: "SAE", x: Tensor, y: Tensor, context: StepContext
) -> StepGradients:
    """The reference in blocks of tokens, for losses that are means over tokens: while so many latents are active that
    sparse products do not pay, at a bounded memory."""
    parts: list[StepGradients] = []
    shares: list[float] = []
    for block_x, block_y in zip(x.split(DENSE_BLOCK_TOKENS), y.split(DENSE_BLOCK_TOKENS), strict=True):
        parts.append(reference_gradients(architecture, sae, block_x, block_y, context))
        shares.append(block_x.shape[0] / x.shape[0])
    whole = parts[0]
    for gradient in whole.gradients.values():
        gradient.mul_(shares[0])
    terms = {name: term * shares[0] for name, term in whole.terms.items()}
    l0, active = whole.l0 * shares[0], whole.active
    for part, share in zip(parts[1:], shares[1:], strict=True):
        for name, gradient in part.gradients.items():
            whole.gradients[name].add_(gradient, alpha=share)
        terms = {name: terms[name] + term * share for name, term in part.terms.items()}
        l0, active = l0 + part.l0 * share, active + part.active
    reconstruction = torch.cat([part.reconstruction for part in parts])
    return replace(whole, terms=terms, reconstruction=reconstruction, l0=l0, active=active)
