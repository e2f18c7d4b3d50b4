"""AbsTopK ("Rethinking Sparse Autoencoders For Bidirectional Features", arXiv 2510.00404). Read, not trained."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistudio.sae import kernels
from mistudio.sae.architectures.base import Architecture
from mistudio.sae.config import AbsTopKConfig
from mistudio.sae.latents import Latents, row_offsets

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class AbsTopK(Architecture[AbsTopKConfig]):
    """z = the k pre-activations of greatest magnitude (times decoder norm when those are free), signs kept."""

    ranks_latents = True

    def encode(self, sae: "SAE", seen: Tensor) -> Latents:
        """Latents of what the encoder sees, [N, d_in]; some are negative."""
        norms, k, m = sae.ranking_norms(), self.config.k, sae.d_sae

        def strongest(pre: Tensor) -> Latents:
            strength = pre.abs() if norms is None else pre.abs() * norms
            indices = kernels.top_k(strength, k)[1]
            values = pre.gather(1, indices)
            active = values != 0
            return Latents(values[active], indices[active], row_offsets(active.sum(1)), m)

        return kernels.encode_blocks(seen, sae.W_enc, sae.b_enc, strongest)

    def activate(self, sae: "SAE", seen: Tensor) -> Tensor:
        """Dense latents [N, m]."""
        pre = seen @ sae.W_enc.T + sae.b_enc
        norms = sae.ranking_norms()
        strength = pre.detach().abs() if norms is None else pre.detach().abs() * norms.detach()
        indices = strength.topk(self.config.k, dim=1, sorted=False).indices
        return torch.zeros_like(pre).scatter(1, indices, pre.gather(1, indices))
