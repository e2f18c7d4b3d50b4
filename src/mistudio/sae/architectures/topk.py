"""TopK (Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv 2406.04093)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistudio.sae import search
from mistudio.sae.architectures import aux_k, selection
from mistudio.sae.architectures.base import (
    Architecture,
    StepContext,
    StepGradients,
    reconstruct,
    squared_error,
)
from mistudio.sae.architectures.sparse_step import SparseStep
from mistudio.sae.config import TopKConfig
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class TopK(Architecture[TopKConfig]):
    """z = ReLU of the k largest pre-activations (times decoder norm when those are free), else 0.

    Loss: Σ‖y − ŷ‖²/N, and AuxK.
    """

    ranks_latents = True

    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents of what the encoder sees, [N, d_in]."""
        return search.encode_top_k(seen, sae.W_enc, sae.b_enc, self.config.k, sae.ranking_norms())

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """Dense latents [N, m]."""
        return aux_k.strongest(seen @ sae.W_enc.T + sae.b_enc, sae.ranking_norms(), self.config.k)

    def terms(
        self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and ŷ in dense autograd."""
        pre = sae.centre(x) @ sae.W_enc.T + sae.b_enc
        z = aux_k.strongest(pre, sae.ranking_norms(), self.config.k)
        reconstruction = reconstruct(sae, z, x)
        error = reconstruction - y
        aux = aux_k.term(self.config, sae, pre, error, context)
        return {"mse_loss": squared_error(error), "aux_loss": aux}, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients at a cost proportional to active latents."""
        seen = sae.centre(x)
        latents = selection.of_tokens(self.encode(sae, seen), sae.ranking_norms(), self.config.k, sae.shards)
        step = SparseStep(sae, x, y, seen, latents)
        gradients = step.parameter_gradients(step.value_gradients())
        aux = aux_k.add_gradients(self.config, sae, seen, step.error, context, gradients)
        return step.outcome({"mse_loss": step.squared_error, "aux_loss": aux}, gradients)
