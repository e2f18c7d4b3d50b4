"""What running a model takes, for every precision, before anything of it is fetched or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio.lm.footprint import BYTES, ModelFootprint, footprint_of
from mistudio.lm.quantization import BYTES_PER_WEIGHT, quantization_obstacle
from mistudio.models.schemas import MemoryForecastOut


def forecasts(
    config: Mapping[str, Any], parameters: int, *, batch_size: int, context_length: int, cuda: bool
) -> list[MemoryForecastOut]:
    """A forecast for each precision, from a configuration (as in config.json) and the number of parameters."""
    return [
        forecast(footprint_of(config, parameters, dtype), batch_size, context_length, cuda=cuda)
        for dtype in BYTES
    ]


def forecast(
    footprint: ModelFootprint, batch_size: int, context_length: int, *, cuda: bool
) -> MemoryForecastOut:
    """Bytes that a forward pass and generation over `batch_size` texts of `context_length` tokens would take."""
    import psutil

    one = footprint
    tokens = batch_size * context_length
    activations = tokens * (one.forward_bytes_per_token + one.activation_bytes_per_token)
    cache = tokens * one.kv_cache_bytes_per_token
    logits = batch_size * one.logits_bytes_per_token
    size = one.bytes_per_number
    wide = f"{batch_size:,} texts × {context_length:,} tokens"
    if one.dtype in BYTES_PER_WEIGHT:
        linear = one.parameters - one.embedding_parameters
        weights = (
            f"{linear:,} in linear layers × {BYTES_PER_WEIGHT[one.dtype]:g} bytes "
            f"+ {one.embedding_parameters:,} in embeddings × {size:g} bytes"
        )
    else:
        weights = f"{one.parameters:,} parameters × {size:g} bytes"
    return MemoryForecastOut(
        dtype=one.dtype,
        weights=one.weight_bytes,
        activations=activations,
        kv_cache=cache,
        logits=logits,
        total=one.weight_bytes + activations + cache + logits,
        available=psutil.virtual_memory().available,
        formulas={
            "weights": weights,
            "activations": f"{wide} × (4 × width {one.d_model:,} + 2 × MLP width {one.d_mlp:,}) × {size:g} bytes",
            "kv_cache": f"{wide} × 2 × {one.n_layers} layers × {one.kv_width:,} numbers × {size:g} bytes",
            "logits": f"{batch_size:,} texts × vocabulary {one.vocab_size:,} × 4 bytes",
            "total": "weights + activations + keys and values + logits",
        },
        obstacle=quantization_obstacle(one.dtype, cuda=cuda) if one.dtype in BYTES_PER_WEIGHT else None,  # type: ignore[arg-type]
    )
