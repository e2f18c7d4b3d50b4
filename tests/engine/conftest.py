"""A tiny language model with a tokenizer, and token sequences for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.lm import LanguageModel, load_language_model


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model(tiny_llama_folder: Path) -> LanguageModel:
    """Llama of 3 layers, 32 dimensions, 4 heads and 512 tokens; BOS 0, EOS 1, PAD 2."""
    return load_language_model(tiny_llama_folder, device="cpu")


def some_tokens(n: int, context: int = 16, seed: int = 0) -> Any:
    """Random token ids `[n, context]`, none of them special; up to 500 sequences begin differently, so that no two
    tokens have the same context."""
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 512, (n, context), generator=draw)
    if n <= 500:
        tokens[:, 0] = 3 + torch.randperm(500, generator=draw)[:n]
    return tokens
