"""Matryoshka BatchTopK (Bussmann et al. 2025, "Learning Multi-Level Features with Matryoshka Sparse
Autoencoders", arXiv 2503.17547)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mistudio.sae import kernels
from mistudio.sae.architectures import aux_k
from mistudio.sae.architectures.base import StepContext, StepGradients, squared_error
from mistudio.sae.architectures.batch_topk import BatchTopKFamily
from mistudio.sae.architectures.sparse_step import output_gradients
from mistudio.sae.config import MatryoshkaConfig
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents, row_offsets

if TYPE_CHECKING:
    from mistudio.sae.dictionary import SAE


class Matryoshka(BatchTopKFamily[MatryoshkaConfig]):
    """The first m₁ < m₂ < … < m latents each reconstruct by themselves.

    Loss: the mean over those J widths of Σ‖y − ŷⱼ‖²/N with ŷⱼ = b_dec + Σ_{i<mⱼ} zᵢ·dᵢ, and AuxK on the
    whole dictionary's error. In the fast form each stretch between two widths is decoded once, and its
    latents' gradient is that of all the reconstructions that they belong to, added up.
    """

    def widths(self, d_sae: int) -> list[int]:
        """m₁ … m: rising, the last the whole dictionary."""
        inner = {max(1, round(fraction * d_sae)) for fraction in self.config.prefix_fractions}
        return [*sorted(width for width in inner if width < d_sae), d_sae]

    def terms(
        self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Loss terms, latents and ŷ in dense autograd."""
        pre = sae.centre(x) @ sae.W_enc.T + sae.b_enc
        z = self.activate_batch(sae, pre)
        reconstruction = sae.b_dec if sae.W_skip is None else sae.b_dec + x @ sae.W_skip.T
        losses: list[Tensor] = []
        for start, stop in self._stretches(sae.d_sae):
            reconstruction = reconstruction + z[:, start:stop] @ sae.W_dec[start:stop]
            losses.append(squared_error(reconstruction - y))
        error = reconstruction - y
        aux = aux_k.term(self.config, sae, pre, error, context)
        return {"mse_loss": torch.stack(losses).mean(), "aux_loss": aux}, z, reconstruction

    @torch.no_grad()
    def gradients(self, sae: "SAE", x: Tensor, y: Tensor, context: StepContext) -> StepGradients:
        """Loss terms and gradients at a cost proportional to active latents, plus one [N, d] pass a width."""
        seen = sae.centre(x)
        latents, observed = self.encode_batch(sae, seen, context)
        stretches = [
            (start, stop, *_between(latents, start, stop)) for start, stop in self._own_stretches(sae)
        ]
        error = sae.b_dec - y
        if sae.W_skip is not None:
            error.addmm_(x, sae.W_skip.T)
        scale = 2 / (x.shape[0] * len(stretches))
        errors: list[Tensor] = []
        for start, stop, _, part in stretches:
            # a rank may have none of a stretch's latents
            written = kernels.decode(part, sae.W_dec[start:stop]) if start < stop else torch.zeros_like(error)
            error = sae.shards.sum(written).add_(error)
            errors.append(error)
        loss = torch.stack([squared_error(e) for e in errors]).mean()

        W_dec = torch.empty_like(sae.W_dec)
        dv = torch.empty_like(latents.values, dtype=torch.promote_types(x.dtype, torch.float32))
        g = torch.zeros_like(error)
        for (start, stop, places, part), at_width in zip(reversed(stretches), reversed(errors), strict=True):
            g.add_(at_width, alpha=scale)
            if start == stop:
                continue
            dv[places] = kernels.products(part, g, sae.W_dec[start:stop])
            W_dec[start:stop] = ByLatent.of(part).weight_gradients(part.values, g)
        by_latent = ByLatent.of(latents)
        b_enc = by_latent.sums(dv)
        gradients = {
            "W_enc": by_latent.weight_gradients(dv, seen),
            "W_dec": W_dec,
            "b_enc": b_enc,
            **output_gradients(sae, x, g, b_enc),
        }
        aux = aux_k.add_gradients(self.config, sae, seen, error, context, gradients)
        return StepGradients(
            {"mse_loss": loss, "aux_loss": aux},
            gradients,
            error + y,
            torch.tensor(latents.values.shape[0] / x.shape[0], dtype=torch.float64, device=x.device),
            latents.counts(),
            observed,
        )

    def _own_stretches(self, sae: "SAE") -> Iterator[tuple[int, int]]:
        """The stretches between two widths, as far as this rank has their latents, counted from its first."""
        counts = sae.shards.counts(sae.d_sae, sae.device)
        first = sum(counts[: sae.shards.rank])
        for start, stop in self._stretches(sum(counts)):
            yield min(max(start - first, 0), sae.d_sae), min(max(stop - first, 0), sae.d_sae)

    def _stretches(self, d_sae: int) -> Iterator[tuple[int, int]]:
        start = 0
        for stop in self.widths(d_sae):
            yield start, stop
            start = stop


def _between(latents: Latents, start: int, stop: int) -> tuple[Tensor, Latents]:
    """The entries with start ≤ index < stop: their places in `latents` [n], and themselves, counted from `start`."""
    places = ((latents.indices >= start) & (latents.indices < stop)).nonzero()[:, 0]
    counts = torch.bincount(latents.tokens[places], minlength=latents.n_tokens)
    part = Latents(latents.values[places], latents.indices[places] - start, row_offsets(counts), stop - start)
    return places, part
