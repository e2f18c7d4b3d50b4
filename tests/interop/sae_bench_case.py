"""A small case that SAEBench's own code and ours are both given, drawn by numpy's frozen generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

D, D_SAE, K, VOCAB, LAYERS, CONTEXT, BATCH, BATCHES = 32, 96, 6, 200, 3, 24, 8, 3
HOOK = "blocks.1.hook_resid_post"
SPECIAL = (0, 1, 2)  # beginning, end, padding
FIGURES = Path(__file__).parent / "sae_bench_0_6_0.json"


def normal(seed: int, *shape: int) -> Tensor:
    """Standard normal numbers that every version of numpy draws alike."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def model() -> Any:
    """A Llama of 3 layers and 32 dimensions whose weights do not depend on how Transformers initialises."""
    from transformers import LlamaConfig, LlamaForCausalLM

    hf = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=D,
            intermediate_size=64,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=SPECIAL[0],
            eos_token_id=SPECIAL[1],
            pad_token_id=SPECIAL[2],
        )
    )
    with torch.no_grad():
        for seed, (name, parameter) in enumerate(sorted(hf.named_parameters())):
            values = normal(seed, *parameter.shape)
            parameter.copy_(1 + 0.1 * values if "norm" in name else 0.25 * values)
    return hf.eval().requires_grad_(False)


def tokens() -> Tensor:
    """[24, 24], each row beginning with the first special token; one row has another in the middle."""
    ids = torch.from_numpy(np.random.RandomState(100).randint(3, VOCAB, (BATCH * BATCHES, CONTEXT)))
    ids[:, 0] = SPECIAL[0]
    ids[5, 11] = SPECIAL[1]
    return ids


@dataclass(frozen=True)
class Weights:
    """A TopK dictionary, rows per latent, decoder directions of length 1."""

    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor


def weights() -> Weights:
    """Directions at random, encoder near decoder, and some latents that are nearly always on."""
    W_dec = torch.nn.functional.normalize(normal(200, D_SAE, D), dim=1)
    b_enc = 0.1 * normal(202, D_SAE)
    b_enc[:3] += 2.0
    return Weights(0.8 * W_dec + 0.05 * normal(201, D_SAE, D), W_dec, b_enc, 0.2 * normal(203, D))


def spelling() -> tuple[Tensor, Tensor, list[int]]:
    """Words' activations [60, 32], a probe [32], and the main latents: half of the words are absorbed to a degree."""
    w = weights()
    probe = w.W_dec[10] + 0.5 * w.W_dec[11] + 0.2 * w.W_dec[12]
    strength = torch.linspace(0, 3, 60)
    x = w.b_dec + strength[:, None] * w.W_dec[10] + (3 - strength)[:, None] * 0.8 * w.W_dec[11]
    return x + 0.15 * normal(300, 60, D), probe, [10]


def texts() -> dict[str, dict[str, Tensor]]:
    """Mean latents [60 or 30, 96] of texts of two classes, to train and to test on."""
    found: dict[str, dict[str, Tensor]] = {}
    for half, (name, n) in enumerate((("train", 60), ("test", 30))):
        found[name] = {}
        for label in (0, 1):
            x = normal(400 + 2 * half + label, n, D_SAE).relu()
            x[:, 7] += 0.7 * label
            x[:, 21] += 0.5 * (1 - label)
            x[:, 30:33] += 0.4 * label
            found[name][f"class {label}"] = x
    return found
