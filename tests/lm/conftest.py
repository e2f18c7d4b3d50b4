"""Seeded-random tiny checkpoints of each model family."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mistudio.lm.model import LanguageModel

_SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_NEOX = {k: v for k, v in _SMALL.items() if k != "num_key_value_heads"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", _SMALL),
    "mistral": ("mistral", {**_SMALL, "sliding_window": 8}),
    "gpt2": (
        "gpt2",
        {
            "vocab_size": 97,
            "n_embd": 32,
            "n_inner": 48,
            "n_layer": 3,
            "n_head": 4,
            "n_positions": 64,
            "initializer_range": 0.2,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 2,
        },
    ),
    "gpt_neox": ("gpt_neox", {**_NEOX, "use_parallel_residual": True}),
    "gpt_neox-sequential": ("gpt_neox", {**_NEOX, "use_parallel_residual": False}),
    "gemma": ("gemma", {**_SMALL, "head_dim": 8}),
    "gemma2": ("gemma2", {**_SMALL, "head_dim": 8, "sliding_window": 8, "final_logit_softcapping": 5.0}),
    "gemma3": ("gemma3_text", {**_SMALL, "head_dim": 8, "sliding_window": 8}),
    "qwen2": ("qwen2", _SMALL),
    "qwen3": ("qwen3", {**_SMALL, "head_dim": 8}),
    "phi": ("phi", {**_SMALL, "num_key_value_heads": 4}),
    "phi3": ("phi3", _SMALL),
    "olmo": ("olmo", _SMALL),
    "olmo2": ("olmo2", _SMALL),
}
PARALLEL = {"gpt_neox", "phi"}


def tiny_hf(family: str) -> Any:
    """A seeded-random Transformers model; norms and biases are random too, so that none is an identity."""
    kind, settings = FAMILIES[family]
    torch.manual_seed(7)
    hf = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    with torch.no_grad():
        for parameter in hf.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return hf.requires_grad_(False)


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def tiny(family: str) -> LanguageModel:
    return LanguageModel(tiny_hf(family), source=family)


@pytest.fixture(scope="session")
def tiny_llama(tiny_llama_folder: Any) -> LanguageModel:
    from mistudio.lm import load_language_model

    return load_language_model(tiny_llama_folder, device="cpu")


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Any) -> LanguageModel:
    from mistudio.lm import load_language_model

    return load_language_model(smollm2_folder, device="cpu")
