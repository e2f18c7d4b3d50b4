"""A name for what a model computes, so that activations are never taken for another model's."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

# What a configuration says of where a model came from, or of how it is run, rather than of what it computes.
_NOT_COMPUTED = {"_name_or_path", "transformers_version", "use_cache", "output_hidden_states", "return_dict"}
SAMPLES = 1024


@torch.no_grad()
def fingerprint_of(hf: Any, config: Any) -> str:
    """32 hexadecimal digits for a Transformers model: its class, configuration, precision and weights.

    Of each parameter, up to `SAMPLES` values spread evenly over it are digested with its name, shape and dtype,
    so that a model of billions is named in a moment. Two models that differ only in a few values between those
    samples would not be told apart.
    """
    digest = hashlib.sha256(type(hf).__name__.encode())
    settings = {k: v for k, v in config.to_dict().items() if k not in _NOT_COMPUTED}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, parameter in hf.named_parameters():
        values = parameter.detach().reshape(-1)
        step = -(-values.numel() // SAMPLES)
        digest.update(f"{name} {list(parameter.shape)} {parameter.dtype}".encode())
        digest.update(values[:: max(1, step)].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:32]
