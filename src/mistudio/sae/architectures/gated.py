"""Gated SAE (Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated Sparse Autoencoders", arXiv
2404.16014)."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistudio.sae import kernels, search
from mistudio.sae.architectures.base import (
    Architecture,
    StepContext,
    StepGradients,
    reconstruct,
    squared_error,
    warmed_up,
)
from mistudio.sae.architectures.sparse_step import SparseStep, add_norm_gradients, dense_gradients
from mistudio.sae.config import GatedConfig
from mistudio.sae.latents import Latents, row_offsets

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class Gated(Architecture[GatedConfig]):
    """With a = W_enc·x: the gate is π = a + b_enc, the magnitude ReLU(exp(r_mag)·a + b_mag), and z is the
    magnitude where π > 0, else 0.

    Loss (their section 3.2): Σ‖y − ŷ‖²/N + λ·Σ ReLU(π)·‖d‖/N + Σ‖y − ŷ_gate‖²/N, where ŷ_gate decodes ReLU(π)
    with the decoder held constant.
    """

    latent_parameters = ("r_mag", "b_mag")
    latent_terms = ("l1_loss",)

    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents whose gate is open."""
        gate = search.encode_above(seen, sae.W_enc, sae.b_enc, 0.0)
        values = self._magnitudes(sae, gate)
        kept = values > 0
        counts = torch.bincount(gate.tokens[kept], minlength=gate.n_tokens)
        return Latents(values[kept], gate.indices[kept], row_offsets(counts), gate.d_sae)

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """Dense latents [N, m]."""
        a = seen @ sae.W_enc.T
        magnitude = sae.get_parameter("r_mag").exp() * a + sae.get_parameter("b_mag")
        return magnitude.relu() * (a + sae.b_enc > 0)

    def sparsity_coefficient(self, sae: "SAE", step: int) -> float:
        """λ at the given step (counted from 0)."""
        return warmed_up(self.config.l1_coefficient, step, self.config.l1_warmup_steps)

    def terms(
        self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and ŷ in dense autograd."""
        seen = sae.centre(x)
        z = self.activate(sae, seen)
        gate = (seen @ sae.W_enc.T + sae.b_enc).relu()
        reconstruction = reconstruct(sae, z, x)
        by_gate = sae.shards.summed(gate @ sae.W_dec.detach()) + sae.b_dec.detach()
        if sae.W_skip is not None:
            by_gate = by_gate + x @ sae.W_skip.detach().T
        norms = sae.ranking_norms()
        penalised = gate if norms is None else gate * norms
        weight = self.sparsity_coefficient(sae, context.step)
        terms = {
            "mse_loss": squared_error(reconstruction - y),
            "l1_loss": weight * penalised.sum() / x.shape[0],
            "gate_loss": squared_error(by_gate - y),
        }
        return terms, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients through open gates only."""
        seen = sae.centre(x)
        gate = search.encode_above_if_sparse(seen, sae.W_enc, sae.b_enc, 0.0)
        if sae.shards.any(gate is None) or gate is None:
            return dense_gradients(self, sae, x, y, context)
        magnitudes = self._magnitudes(sae, gate)
        step = SparseStep(sae, x, y, seen, replace(gate, values=magnitudes))
        growth = sae.get_parameter("r_mag").exp()[gate.indices]
        a = gate.values - sae.b_enc[gate.indices]
        d_magnitude = step.value_gradients() * (magnitudes > 0)

        by_gate = sae.shards.sum(kernels.decode(gate, sae.W_dec)).add_(sae.b_dec)
        if sae.W_skip is not None:
            by_gate.addmm_(x, sae.W_skip.T)
        gate_error = by_gate.sub_(y)
        weight = self.sparsity_coefficient(sae, context.step) / x.shape[0]
        norms = sae.ranking_norms()
        penalty = gate.values.new_full(gate.values.shape, weight)
        if norms is not None:
            penalty *= norms[gate.indices]
        d_gate = kernels.products(gate, gate_error * (2 / x.shape[0]), sae.W_dec) + penalty

        gradients = step.parameter_gradients(d_magnitude * growth + d_gate)
        # the sums so far are those of a, through which b_dec acts; the gate's own bias sees d_gate only
        gradients["b_enc"] = step.by_latent.sums(d_gate)
        gradients["r_mag"] = step.by_latent.sums(d_magnitude * growth * a)
        gradients["b_mag"] = step.by_latent.sums(d_magnitude)
        terms = {
            "mse_loss": step.squared_error,
            "l1_loss": torch.dot(gate.values, penalty),
            "gate_loss": squared_error(gate_error),
        }
        if norms is not None:
            add_norm_gradients(sae, gradients["W_dec"], step.by_latent.sums(gate.values) * weight, norms)
        return step.outcome(terms, gradients, active=magnitudes > 0)

    def _magnitudes(self, sae: "SAE", gate: Latents) -> Tensor:
        a = gate.values - sae.b_enc[gate.indices]
        growth = sae.get_parameter("r_mag").exp()[gate.indices]
        return (growth * a + sae.get_parameter("b_mag")[gate.indices]).relu()

    def scale_latents(self, sae: "SAE", factors: Tensor) -> None:
        """Only magnitudes grow; gates stay as they are."""
        sae.get_parameter("r_mag").add_(factors.log())
        sae.get_parameter("b_mag").mul_(factors)
