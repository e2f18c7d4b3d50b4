"""Matching pursuit (Costa et al. 2025, "From Flat to Hierarchical", arXiv 2506.03093). Read, not trained."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistudio.sae import kernels
from mistudio.sae.architectures.base import Architecture
from mistudio.sae.config import MatchingPursuitConfig
from mistudio.sae.errors import SAEError
from mistudio.sae.latents import Latents

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class MatchingPursuit(Architecture[MatchingPursuitConfig]):
    """Start from the residual r = what the encoder sees. Again and again: take the latent i of the largest
    positive ⟨r, eᵢ⟩, add it to zᵢ, and take its direction off the residual, r ← r − ⟨r, eᵢ⟩·dᵢ.

    Encoder rows eᵢ are the decoder's dᵢ in such a dictionary; there is no encoder bias. A token is done when
    no new latent was added (`stop_on_duplicate`), or when ‖r‖ falls below `residual_threshold`.
    """

    ranks_latents = True

    @torch.no_grad()
    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents of what the encoder sees, [N, d_in], in blocks of tokens."""
        rows = kernels.block_rows(sae.d_sae, seen.device, seen.element_size())
        return Latents.concatenate([Latents.from_dense(self.activate(sae, x)) for x in seen.split(rows)])

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """Dense latents [N, m]; differentiable in the values, which latents are taken being given."""
        residual = seen
        z = seen.new_zeros(seen.shape[0], sae.d_sae)
        done = torch.zeros(seen.shape[0], dtype=torch.bool, device=seen.device)
        for _ in range(self.config.max_iterations):
            with torch.no_grad():
                best = (residual @ sae.W_enc.T).argmax(1)
            values = (residual * sae.W_enc[best]).sum(1).relu() * ~done
            with torch.no_grad():
                new = (z.gather(1, best[:, None])[:, 0] == 0) & (values > 0)
            z = z.scatter_add(1, best[:, None], values[:, None])
            residual = residual - values[:, None] * sae.W_dec[best]
            if self.config.stop_on_duplicate:
                done = done | ~new
            if self.config.residual_threshold > 0:
                done = done | (residual.detach().norm(dim=1) < self.config.residual_threshold)
            if bool(done.all()):
                break
        return z

    def scale_latents(self, sae: "SAE", factors: Tensor) -> None:
        """Refused: which latents are found depends on their scale."""
        raise SAEError("The latents of a matching-pursuit dictionary cannot be rescaled.")
