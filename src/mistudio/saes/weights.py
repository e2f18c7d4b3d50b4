"""What an SAE's weights look like, read without PyTorch, since the web process shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mistudio.errors import StudioError
from mistudio.saes.archive import WEIGHTS
from mistudio.saes.schemas import Histogram, SaeWeights

_BINS = 40
_BLOCK_BYTES = 32 << 20


def histogram(values: Any, bins: int = _BINS) -> Histogram:
    """Counts of values [n] in bins of equal width from the least to the greatest; what is not finite is left out."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return Histogram(edges=[0.0, 1.0], counts=[0])
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * max(abs(low), abs(high)):  # all alike, but for rounding
        margin = max(abs(low), abs(high), 1e-6) * 0.01
        low, high, bins = low - margin, high + margin, 1
    counts, edges = np.histogram(values, bins, (low, high))
    return Histogram(edges=edges.tolist(), counts=counts.tolist())


def describe(folder: Path) -> SaeWeights:
    """Norms, biases and agreement of encoder and decoder over all latents, in blocks of bounded memory.

    Raises StudioError `sae_weights_unreadable`.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="np") as weights:
            encoder, decoder = weights.get_slice("W_enc"), weights.get_slice("W_dec")
            d_sae, d_in = decoder.get_shape()
            step = max(1, _BLOCK_BYTES // (4 * d_in))
            norms: list[Any] = []
            for start in range(0, d_sae, step):
                stop = min(start + step, d_sae)
                e = np.asarray(encoder[:, start:stop], np.float32).T
                d = np.asarray(decoder[start:stop], np.float32)
                norms.append(
                    (
                        np.linalg.norm(d, axis=1),
                        np.linalg.norm(e, axis=1),
                        np.einsum("id,id->i", e, d),
                    )
                )
            biases = np.asarray(weights.get_tensor("b_enc"), np.float32)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise StudioError(
            "sae_weights_unreadable",
            f"The weights of this SAE cannot be read: {error}.",
            hint="Import or train it again.",
        ) from error
    decoder_norms, encoder_norms, products = (np.concatenate(part) for part in zip(*norms, strict=True))
    scale = np.maximum(decoder_norms * encoder_norms, 1e-12)
    return SaeWeights(
        decoder_norms=histogram(decoder_norms),
        encoder_norms=histogram(encoder_norms),
        encoder_biases=histogram(biases),
        encoder_decoder_cosines=histogram(products / scale),
    )
