"""Standard SAE: ReLU and an L1 penalty (Bricken et al. 2023; decoder-norm weighting after Anthropic's
April 2024 update)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mistudio.sae import kernels
from mistudio.sae.architectures.base import (
    Architecture,
    StepContext,
    StepGradients,
    decoder_bias_gradient,
    sparse_gradients,
    squared_error,
)
from mistudio.sae.config import StandardConfig
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents, row_offsets

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class Standard(Architecture[StandardConfig]):
    """z = ReLU(pre). Loss: Σ‖x − x̂‖²/N + λ·Σ zᵢ‖dᵢ‖/N, with λ growing over the warm-up.

    Early in training about half of all latents are active, and the dense products are the faster ones; the
    step takes the sparse form as soon as a batch is sparse enough for it to pay.
    """

    def encode(self, centred: Tensor, W_enc: Tensor, b_enc: Tensor, norms: Tensor | None) -> Latents:
        """Sparse latents of what the encoder sees, [N, d]."""
        del norms
        return kernels.encode_blocks(centred, W_enc, b_enc, _positive)

    def activate(self, pre: Tensor, norms: Tensor | None) -> Tensor:
        """Dense latents [n, m]."""
        del norms
        return functional.relu(pre)

    def penalty_weight(self, step: int) -> float:
        """λ at the given step (counted from 0)."""
        warmup = self.config.l1_warmup_steps
        return self.config.l1_coefficient * (min(1.0, (step + 1) / warmup) if warmup else 1.0)

    def terms(self, sae: "SAE", x: Tensor, context: StepContext) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and x̂ in dense autograd."""
        norms = sae.ranking_norms()
        z = self.activate(sae.centre(x) @ sae.W_enc.T + sae.b_enc, norms)
        reconstruction = z @ sae.W_dec + sae.b_dec
        weighted = z if norms is None else z * norms
        l1 = self.penalty_weight(context.step) * weighted.sum() / x.shape[0]
        return {"mse_loss": squared_error(reconstruction - x), "l1_loss": l1}, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients, sparse where that is the faster form."""
        norms = sae.ranking_norms()
        weight = self.penalty_weight(context.step) / x.shape[0]
        centred = sae.centre(x)
        latents = self._encode_if_sparse(sae, centred)
        if latents is None:
            return self._dense_gradients(sae, x, centred, norms, weight)

        reconstruction = kernels.decode(latents, sae.W_dec).add_(sae.b_dec)
        error = reconstruction - x
        g = error * (2 / x.shape[0])
        value_weights = (
            latents.values.new_full(latents.values.shape, weight)
            if norms is None
            else norms[latents.indices] * weight
        )
        terms = {
            "mse_loss": squared_error(error),
            "l1_loss": torch.dot(latents.values, value_weights),
        }
        by_latent = ByLatent.of(latents)
        gradients = sparse_gradients(sae, centred, latents, by_latent, g, value_weights)
        if norms is not None:
            _add_norm_gradient(sae, gradients, by_latent.sums(latents.values) * weight, norms)
        gradients["b_dec"] = decoder_bias_gradient(sae, g, gradients["b_enc"])
        l0 = torch.tensor(latents.values.shape[0] / x.shape[0], device=x.device)
        return StepGradients(terms, gradients, reconstruction, l0, latents.fired())

    def _encode_if_sparse(self, sae: "SAE", centred: Tensor) -> Latents | None:
        """Sparse latents, or None as soon as a block of tokens turns out too dense for them to pay."""
        parts: list[Latents] = []
        for pre in kernels.pre_activations(centred, sae.W_enc, sae.b_enc):
            if int((pre > 0).sum()) > kernels.SPARSE_PAYS_BELOW * pre.numel():
                return None
            parts.append(_positive(pre))
        return Latents.concatenate(parts)

    def _dense_gradients(
        self, sae: "SAE", x: Tensor, centred: Tensor, norms: Tensor | None, weight: float
    ) -> StepGradients:
        z = torch.addmm(sae.b_enc, centred, sae.W_enc.T).relu_()
        reconstruction = torch.addmm(sae.b_dec, z, sae.W_dec)
        error = reconstruction - x
        g = error * (2 / x.shape[0])
        active = z > 0
        dz = g @ sae.W_dec.T
        dz += weight if norms is None else norms * weight
        dz *= active
        totals = z.sum(0)
        gradients = {"W_enc": dz.T @ centred, "W_dec": z.T @ g, "b_enc": dz.sum(0)}
        if norms is not None:
            _add_norm_gradient(sae, gradients, totals * weight, norms)
        gradients["b_dec"] = decoder_bias_gradient(sae, g, gradients["b_enc"])
        l1 = weight * (totals if norms is None else totals * norms).sum()
        terms = {"mse_loss": squared_error(error), "l1_loss": l1}
        return StepGradients(terms, gradients, reconstruction, active.sum() / x.shape[0], active.any(0))


def _add_norm_gradient(sae: "SAE", gradients: dict[str, Tensor], weights: Tensor, norms: Tensor) -> None:
    """Gradient of Σᵢ wᵢ·‖dᵢ‖ with respect to the directions dᵢ, added to that of W_dec."""
    gradients["W_dec"].addcmul_(sae.W_dec, (weights / norms)[:, None])


def _positive(pre: Tensor) -> Latents:
    active = pre > 0
    tokens, indices = active.nonzero(as_tuple=True)
    return Latents(pre[tokens, indices], indices, row_offsets(active.sum(1)), pre.shape[1])
