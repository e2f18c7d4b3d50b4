"""The one pass: latents of a dictionary over a stream of activations, with statistics and examples for each.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mistudio.features.excerpts import Excerpts, ExcerptSearch
from mistudio.features.statistics import LatentStatistics

if TYPE_CHECKING:
    from mistudio.sae import SAE

SAMPLES_PER_EXAMPLE = 8 / 5
"""Sampled sequences per quantile example wanted: quarters are told apart on more than what is shown of them."""


class FeaturePass:
    """Sees every activation once and keeps per latent only what its page shows.

    Memory: d_sae × (about 350 bytes + excerpts), however many tokens go by. `decoder_norm="folded"` multiplies
    activations by the length of the latent's decoder direction.
    """

    def __init__(
        self,
        sae: SAE,
        *,
        top_examples: int = 20,
        quantile_examples: int = 5,
        window: int = 64,
        seed: int = 0,
        decoder_norm: Literal["raw", "folded"] = "raw",
    ) -> None:
        self.sae = sae
        self.statistics = LatentStatistics(sae.d_sae, sae.device)
        sample = 4 * round(quantile_examples * SAMPLES_PER_EXAMPLE)
        self.search = ExcerptSearch(
            sae.d_sae, top=top_examples, sample=sample, reach=window, seed=seed, device=sae.device
        )
        self._norms = sae.decoder_norms() if decoder_norm == "folded" else None

    @torch.no_grad()
    def update(self, x: Tensor, sequences: Tensor, positions: Tensor) -> None:
        """Add whole sequences: activations x [n, d_in]; sequences, positions [n] int64 say where they come from."""
        latents = self.sae.encode(x)
        values = latents.values
        if self._norms is not None:
            values = values * self._norms[latents.indices]
        device = latents.indices.device
        self.statistics.add(latents.indices, values, latents.n_tokens)
        self.search.add(latents.indices, values, latents.tokens, sequences.to(device), positions.to(device))

    def result(self) -> tuple[dict[str, Any], Excerpts]:
        """Numpy columns per latent, and the excerpts."""
        return self.statistics.columns(), self.search.result()

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, as numpy arrays."""
        parts = {"statistics": self.statistics.state(), "search": self.search.state()}
        return {
            f"{part}.{name}": t.cpu().numpy() for part, state in parts.items() for name, t in state.items()
        }

    def restore(self, arrays: Any) -> None:
        """Go on from `state`."""
        for part, owner in (("statistics", self.statistics), ("search", self.search)):
            found = {
                name.removeprefix(f"{part}."): torch.from_numpy(arrays[name].copy())
                for name in arrays
                if name.startswith(f"{part}.")
            }
            owner.restore(found)
