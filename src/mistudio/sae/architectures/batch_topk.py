"""BatchTopK (Bussmann et al. 2024, arXiv 2412.06410)."""

from typing import TYPE_CHECKING, TypeVar

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
from mistudio.sae.config import BatchTopKConfig, MatryoshkaConfig
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE

_RECENT = 10
"""An average over the last S steps of S · 10: old strengths, of a dictionary still far from its end, would bias it."""

BatchConfigT = TypeVar("BatchConfigT", BatchTopKConfig, MatryoshkaConfig)


class BatchTopKFamily(Architecture[BatchConfigT]):
    """Which latents are active: in training the k·N strongest of the batch; at inference those above `threshold`, the
    running mean of the smallest strength kept in a batch, so that a token's latents do not depend on its neighbours.

    A latent's strength is its pre-activation, times its decoder norm when those are free.
    """

    ranks_latents = True
    state_names = ("threshold",)

    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents above the threshold."""
        threshold = float(sae.get_buffer("threshold"))
        return search.encode_above(seen, sae.W_enc, sae.b_enc, threshold, sae.ranking_norms())

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """Dense latents [N, m] above the threshold."""
        pre = seen @ sae.W_enc.T + sae.b_enc
        norms = sae.ranking_norms()
        strength = pre.detach() if norms is None else (pre * norms).detach()
        return pre.relu() * (strength > float(sae.get_buffer("threshold")))

    def encode_batch(
        self, sae: "SAE", seen: Tensor, context: StepContext
    ) -> tuple[Latents, dict[str, Tensor]]:
        """The k·N strongest positive latents of the batch, all ranks' tokens and latents taken together, and what
        `observe` wants to know: the smallest strength among them."""
        norms, tokens = sae.ranking_norms(), seen.shape[0]
        wanted = round(self.config.k * tokens / context.share)
        latents, least = selection.of_batch(
            lambda k: search.encode_batch_top_k(seen, sae.W_enc, sae.b_enc, min(k, sae.d_sae), norms),
            norms,
            tokens,
            wanted,
            sae.shards if sae.shards.size > 1 else context.ranks,
        )
        return latents, {"threshold": least}

    def activate_batch(self, sae: "SAE", pre: Tensor) -> Tensor:
        """The same from pre-activations [N, m], dense and differentiable."""
        norms = sae.ranking_norms()
        strength = pre.detach() if norms is None else (pre * norms).detach()
        kept = strength.flatten().topk(self.config.k * pre.shape[0], sorted=False).indices
        mask = torch.zeros_like(strength).flatten().scatter(0, kept, 1.0).view_as(pre)
        return pre.relu() * mask

    def observe(self, sae: "SAE", outcome: StepGradients, context: StepContext) -> None:
        """Follow the smallest strength kept: in a short training by the mean over its last tenth, about."""
        if "threshold" in outcome.observed:
            momentum = min(self.config.threshold_momentum, context.step / (context.step + _RECENT))
            seen = outcome.observed["threshold"].double()
            sae.get_buffer("threshold").lerp_(seen, 1 - momentum)

    def scale_latents(self, sae: "SAE", factors: Tensor) -> None:
        """Make latents larger, and the threshold with them where it is not in units of the decoder's output."""
        super().scale_latents(sae, factors)
        if sae.decoder_norm == "unit":
            sae.get_buffer("threshold").mul_(factors.double().mean())


class BatchTopK(BatchTopKFamily[BatchTopKConfig]):
    """Loss: Σ‖y − ŷ‖²/N, and AuxK."""

    def terms(
        self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and ŷ in dense autograd."""
        pre = sae.centre(x) @ sae.W_enc.T + sae.b_enc
        z = self.activate_batch(sae, pre)
        reconstruction = reconstruct(sae, z, x)
        error = reconstruction - y
        aux = aux_k.term(self.config, sae, pre, error, context)
        return {"mse_loss": squared_error(error), "aux_loss": aux}, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients at a cost proportional to active latents."""
        seen = sae.centre(x)
        latents, observed = self.encode_batch(sae, seen, context)
        step = SparseStep(sae, x, y, seen, latents)
        gradients = step.parameter_gradients(step.value_gradients())
        aux = aux_k.add_gradients(self.config, sae, seen, step.error, context, gradients)
        terms = {"mse_loss": step.squared_error, "aux_loss": aux}
        return step.outcome(terms, gradients, observed=observed)
