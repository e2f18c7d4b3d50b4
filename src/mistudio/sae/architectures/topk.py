"""TopK (Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv 2406.04093)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistudio.sae import kernels, search
from mistudio.sae.architectures.base import (
    Architecture,
    StepContext,
    StepGradients,
    decoder_bias_gradient,
    sparse_gradients,
    squared_error,
)
from mistudio.sae.config import TopKConfig
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class TopK(Architecture[TopKConfig]):
    """z = ReLU of the k largest pre-activations (times decoder norm when those are free), else 0.

    Loss: Σ‖x − x̂‖²/N + c·Σ‖e − ê‖²/Σ‖e − ē‖². The second term (AuxK, their appendix A.2) has the strongest
    `aux_k` dead latents of each token model the error e = x − x̂, which is held constant there.
    """

    def encode(self, centred: Tensor, W_enc: Tensor, b_enc: Tensor, norms: Tensor | None) -> Latents:
        """Sparse latents of what the encoder sees, [N, d]."""
        return search.encode_top_k(centred, W_enc, b_enc, self.config.k, norms)

    def activate(self, pre: Tensor, norms: Tensor | None) -> Tensor:
        """Dense latents [n, m]."""
        return _dense_strongest(pre, norms, self.config.k)

    def terms(self, sae: "SAE", x: Tensor, context: StepContext) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and x̂ in dense autograd."""
        norms = sae.ranking_norms()
        pre = sae.centre(x) @ sae.W_enc.T + sae.b_enc
        z = self.activate(pre, norms)
        reconstruction = z @ sae.W_dec + sae.b_dec
        terms = {"mse_loss": squared_error(reconstruction - x), "aux_loss": x.new_zeros(())}
        if self._aux_acts(context):
            dead = context.dead.nonzero()[:, 0]
            e = (x - reconstruction).detach()
            z_aux = _dense_strongest(
                pre[:, dead],
                None if norms is None else norms[dead],
                min(self.config.aux_k, dead.shape[0]),
            )
            scale = self.config.aux_coefficient / _spread(e)
            terms["aux_loss"] = scale * (e - z_aux @ sae.W_dec[dead]).square().sum()
        return terms, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients at a cost proportional to active latents."""
        norms = sae.ranking_norms()
        centred = sae.centre(x)
        latents = self.encode(centred, sae.W_enc, sae.b_enc, norms)
        reconstruction = kernels.decode(latents, sae.W_dec).add_(sae.b_dec)
        error = reconstruction - x
        terms = {"mse_loss": squared_error(error), "aux_loss": x.new_zeros(())}
        g = error * (2 / x.shape[0])
        gradients = sparse_gradients(sae, centred, latents, ByLatent.of(latents), g)
        if self._aux_acts(context):
            terms["aux_loss"] = self._add_aux(sae, centred, error.neg_(), context.dead, norms, gradients)
        gradients["b_dec"] = decoder_bias_gradient(sae, g, gradients["b_enc"])
        l0 = torch.tensor(latents.values.shape[0] / x.shape[0], device=x.device)
        return StepGradients(terms, gradients, reconstruction, l0, latents.fired())

    def _aux_acts(self, context: StepContext) -> bool:
        return self.config.aux_coefficient > 0 and bool(context.dead.any())

    def _add_aux(
        self,
        sae: "SAE",
        centred: Tensor,
        e: Tensor,
        dead_mask: Tensor,
        norms: Tensor | None,
        gradients: dict[str, Tensor],
    ) -> Tensor:
        """Add the auxiliary term's gradients in place (dead latents only); return its value."""
        dead = dead_mask.nonzero()[:, 0]
        W_enc, W_dec, b_enc = sae.W_enc[dead], sae.W_dec[dead], sae.b_enc[dead]
        dead_norms = None if norms is None else norms[dead]
        k = min(self.config.aux_k, dead.shape[0])
        latents = search.encode_top_k(centred, W_enc, b_enc, k, dead_norms)
        sparse = k < kernels.SPARSE_PAYS_BELOW * dead.shape[0]
        z = None if sparse else latents.dense()
        miss = (kernels.decode(latents, W_dec) if z is None else z @ W_dec) - e
        scale = self.config.aux_coefficient / _spread(e)
        g = miss * (2 * scale)
        if z is None:
            by_latent = ByLatent.of(latents)
            dv = kernels.products(latents, g, W_dec)
            gradients["W_dec"].index_add_(0, dead, by_latent.weight_gradients(latents.values, g))
            gradients["W_enc"].index_add_(0, dead, by_latent.weight_gradients(dv, centred))
            gradients["b_enc"].index_add_(0, dead, by_latent.sums(dv))
        else:
            dz = (g @ W_dec.T).mul_(z > 0)
            gradients["W_dec"].index_add_(0, dead, z.T @ g)
            gradients["W_enc"].index_add_(0, dead, dz.T @ centred)
            gradients["b_enc"].index_add_(0, dead, dz.sum(0))
        return scale * miss.square().sum()


def _dense_strongest(pre: Tensor, norms: Tensor | None, k: int) -> Tensor:
    ranked = pre if norms is None else pre * norms.detach()
    indices = ranked.topk(k, dim=1, sorted=False).indices
    return torch.zeros_like(pre).scatter(1, indices, pre.gather(1, indices).relu())


def _spread(e: Tensor) -> Tensor:
    """Σ‖e − ē‖², at least the smallest positive number so that a perfect fit gives 0 and not NaN."""
    return (e - e.mean(0)).square().sum().clamp_min(torch.finfo(e.dtype).tiny)
