"""What an SAE's weights look like, read without PyTorch, since the web process shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mistudio.errors import StudioError
from mistudio.saes.schemas import Histogram, SaeWeights

_OWN, _SAE_LENS = "weights.safetensors", "sae_weights.safetensors"
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

    What a dictionary does not have (an encoder of its own, biases, widths that can be compared) is None.
    Raises StudioError `sae_weights_unreadable`.
    """
    from safetensors import SafetensorError, safe_open

    by_row = (folder / _OWN).is_file()  # SAELens' encoder is stored as [d_in, d_sae]
    try:
        with safe_open(folder / (_OWN if by_row else _SAE_LENS), framework="np") as weights:
            names = set(weights.keys())
            decoder = weights.get_slice("W_dec")
            encoder = weights.get_slice("W_enc") if "W_enc" in names else None
            d_sae, d_out = decoder.get_shape()
            comparable = encoder is not None and encoder.get_shape()[1 if by_row else 0] == d_out
            step = max(1, _BLOCK_BYTES // (4 * d_out))
            parts: list[tuple[Any, Any, Any]] = []
            for start in range(0, d_sae, step):
                rows = slice(start, min(start + step, d_sae))
                d = np.asarray(decoder[rows], np.float32)
                e = None
                if encoder is not None:
                    e = np.asarray(encoder[rows] if by_row else encoder[:, rows].T, np.float32)
                parts.append(
                    (
                        np.linalg.norm(d, axis=1),
                        None if e is None else np.linalg.norm(e, axis=1),
                        np.einsum("id,id->i", e, d) if comparable and e is not None else None,
                    )
                )
            bias = next((name for name in ("b_enc", "b_gate") if name in names), None)
            biases = None if bias is None else np.asarray(weights.get_tensor(bias), np.float32)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise StudioError(
            "sae_weights_unreadable",
            f"The weights of this SAE cannot be read: {error}.",
            hint="Import or train it again.",
        ) from error
    columns: list[Any] = [
        None if part[0] is None else np.concatenate(part) for part in zip(*parts, strict=True)
    ]
    decoder_norms, encoder_norms, products = columns
    cosines = None
    if products is not None:
        cosines = products / np.maximum(decoder_norms * encoder_norms, 1e-12)
    return SaeWeights(
        decoder_norms=histogram(decoder_norms),
        encoder_norms=None if encoder_norms is None else histogram(encoder_norms),
        encoder_biases=None if biases is None else histogram(biases),
        encoder_decoder_cosines=None if cosines is None else histogram(cosines),
    )
