"""Standard SAE: ReLU and a sparsity penalty (Bricken et al. 2023; decoder-norm weighting after Anthropic's April 2024
update)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mistudio.sae import search
from mistudio.sae.architectures.base import (
    Architecture,
    StepContext,
    StepGradients,
    reconstruct,
    squared_error,
    warmed_up,
)
from mistudio.sae.architectures.sparse_step import (
    DENSE_BLOCK_TOKENS,
    SparseStep,
    add_norm_gradients,
    output_gradients,
)
from mistudio.sae.config import StandardConfig
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

_ROOT_EPSILON = 1e-6
"""Keeps the slope of √w and wᵖ finite at 0."""


class Standard(Architecture[StandardConfig]):
    """z = ReLU(pre). Loss: Σ‖y − ŷ‖²/N + λ·Σ φ(zᵢ‖dᵢ‖)/N, with λ growing over the warm-up and φ one of w, √(w + ε),
    tanh(c·w), (w + ε)ᵖ (each less its value at 0).

    Early in training about half of all latents are active, and the dense products are the faster ones; the
    step takes the sparse form as soon as a batch is sparse enough for it to pay.
    """

    latent_terms = ("l1_loss",)

    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Sparse latents of what the encoder sees, [N, d_in]."""
        return search.encode_above(seen, sae.W_enc, sae.b_enc, 0.0)

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """Dense latents [N, m]."""
        return functional.relu(seen @ sae.W_enc.T + sae.b_enc)

    def penalty_weight(self, step: int) -> float:
        """λ at the given step (counted from 0)."""
        return warmed_up(self.config.l1_coefficient, step, self.config.l1_warmup_steps)

    def sparsity_coefficient(self, sae: "SAE", step: int) -> float:
        """λ at the given step (counted from 0)."""
        return self.penalty_weight(step)

    def exponent(self, progress: float) -> float:
        """p of the p_anneal penalty: 1 until `p_start` of the training, then falling linearly to `p_end`."""
        start, end = self.config.p_start, self.config.p_end
        return 1 - (1 - end) * max(0.0, progress - start) / (1 - start)

    def penalty(self, w: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        """φ(w) and φ′(w) for w ≥ 0, of w's shape."""
        match self.config.penalty:
            case "l1":
                return w, torch.ones_like(w)
            case "tanh":
                saturated = torch.tanh(self.config.tanh_scale * w)
                return saturated, self.config.tanh_scale * (1 - saturated.square())
            case "sqrt" | "p_anneal":
                p = 0.5 if self.config.penalty == "sqrt" else self.exponent(progress)
                grown = w + _ROOT_EPSILON
                return grown.pow(p) - _ROOT_EPSILON**p, p * grown.pow(p - 1)

    def terms(
        self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and ŷ in dense autograd."""
        norms = sae.ranking_norms()
        z = self.activate(sae, sae.centre(x))
        reconstruction = reconstruct(sae, z, x)
        cost, _ = self.penalty(z if norms is None else z * norms, context.progress)
        l1 = self.penalty_weight(context.step) * cost.sum() / x.shape[0]
        return {"mse_loss": squared_error(reconstruction - y), "l1_loss": l1}, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients, sparse where that is the faster form."""
        seen = sae.centre(x)
        latents = search.encode_above_if_sparse(seen, sae.W_enc, sae.b_enc, 0.0)
        if sae.shards.any(latents is None) or latents is None:
            return self._dense_gradients(sae, x, y, seen, context)
        norms = sae.ranking_norms()
        weight = self.penalty_weight(context.step) / x.shape[0]
        step = SparseStep(sae, x, y, seen, latents)
        of_entry = None if norms is None else norms[latents.indices]
        w = latents.values if of_entry is None else latents.values * of_entry
        cost, slope = self.penalty(w, context.progress)
        slope = slope * weight
        pull = slope if of_entry is None else slope * of_entry
        gradients = step.parameter_gradients(step.value_gradients().add_(pull))
        if norms is not None:
            weights = step.by_latent.sums(slope * latents.values)
            add_norm_gradients(sae, gradients["W_dec"], weights, norms)
        return step.outcome({"mse_loss": step.squared_error, "l1_loss": cost.sum() * weight}, gradients)

    def _dense_gradients(
        self, sae: "SAE", x: Tensor, y: Tensor, seen: Tensor, context: StepContext
    ) -> StepGradients:
        """In blocks of tokens, so that what is as wide as the dictionary stays small and is not paged in anew."""
        norms = sae.ranking_norms()
        weight = self.penalty_weight(context.step) / x.shape[0]
        found = {name: torch.zeros_like(sae.get_parameter(name)) for name in ("W_enc", "W_dec", "b_enc")}
        norm_weights = torch.zeros_like(sae.b_enc)
        reconstruction, g = torch.empty_like(y), torch.empty_like(y)
        total = x.new_zeros(())
        counts = torch.zeros(sae.d_sae, dtype=torch.int64, device=x.device)
        for start in range(0, x.shape[0], DENSE_BLOCK_TOKENS):
            part = slice(start, start + DENSE_BLOCK_TOKENS)
            z = torch.addmm(sae.b_enc, seen[part], sae.W_enc.T).relu_()
            reconstruction[part] = reconstruct(sae, z, x[part])
            g[part] = (reconstruction[part] - y[part]) * (2 / x.shape[0])
            active = z > 0
            cost, slope = self.penalty(z if norms is None else z * norms, context.progress)
            slope = slope * weight
            dz = torch.addmm(slope if norms is None else slope * norms, g[part], sae.W_dec.T).mul_(active)
            found["W_enc"].addmm_(dz.T, seen[part])
            found["W_dec"].addmm_(z.T, g[part])
            found["b_enc"] += dz.sum(0)
            if norms is not None:
                norm_weights += (slope * z).sum(0)
            total += cost.sum() * weight
            counts += active.sum(0, dtype=torch.int32)  # into 64 bits is several times slower
        gradients = {**found, **output_gradients(sae, x, g, found["b_enc"])}
        if norms is not None:
            add_norm_gradients(sae, gradients["W_dec"], norm_weights, norms)
        terms = {"mse_loss": squared_error(reconstruction - y), "l1_loss": total}
        return StepGradients(terms, gradients, reconstruction, counts.sum().double() / x.shape[0], counts)
