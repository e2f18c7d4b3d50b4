"""Weights in 8 or 4 bits, by bitsandbytes: whether this machine can, and how Transformers is told.

Asking needs no PyTorch.

int8 is LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339); int4 is NF4 in blocks of 64 (Dettmers et al. 2023, arXiv
2305.14314). Linear layers inside the blocks are quantized; embeddings, norms and the unembedding stay as they are.
"""

from __future__ import annotations

import importlib.util
import logging
import platform
from typing import Any, Literal

Quantization = Literal["none", "int8", "int4"]
# NF4 keeps one float32 scale for each block of 64 weights.
_BLOCK = 64
BYTES_PER_WEIGHT = {"int8": 1.0, "int4": 0.5 + 4 / _BLOCK}


def quantization_obstacle(kind: Quantization, *, cuda: bool) -> str | None:
    """Why this machine cannot load a model so, as a sentence; None where it can."""
    if kind == "none":
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        return f"Loading weights as {kind} needs the package bitsandbytes, which is not installed here."
    machine = platform.machine().lower()
    if not cuda and machine not in ("x86_64", "amd64", "aarch64", "arm64"):
        return f"bitsandbytes has no {kind} products for the processor of this machine ({machine})."
    return None


def unfit_layer(hf: Any, kind: Quantization) -> str | None:
    """Why a loaded model cannot run so on a CPU, as a sentence: bitsandbytes' 4-bit products there take rows of whole
    blocks. None where it can."""
    if kind != "int4":
        return None
    for name, module in hf.named_modules():
        if type(module).__name__ == "Linear4bit" and module.in_features % _BLOCK:
            return (
                f"The rows of {name} have {module.in_features} weights, and 4-bit products on a CPU take multiples "
                f"of {_BLOCK}."
            )
    return None


def quantization_config(kind: Literal["int8", "int4"], compute: Any) -> Any:
    """Transformers' configuration; `compute` is the torch dtype of the products with 4-bit weights."""
    from transformers import BitsAndBytesConfig

    # It would say at every layer of every pass that LLM.int8() casts its inputs.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
