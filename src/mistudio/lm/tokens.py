"""Which token ids a model can take, and what its tokens may see of each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mistudio.lm.errors import TokensRefused


def check_tokens(tokens: Tensor, vocab_size: int, context_limit: int | None) -> None:
    """Raises TokensRefused unless `tokens` is a non-empty `[B,S]` of known ids, no row longer than the limit."""
    if tokens.ndim != 2 or tokens.numel() == 0:
        raise TokensRefused(f"Tokens must be a non-empty [batch, position] array, not {list(tokens.shape)}.")
    low, high = (int(v) for v in torch.aminmax(tokens))
    if low < 0 or high >= vocab_size:
        raise TokensRefused(
            f"Token id {low if low < 0 else high} is outside the vocabulary of {vocab_size}.",
            "The tokens were probably made with another model's tokenizer; tokenize the text again.",
        )
    if context_limit is not None and tokens.shape[1] > context_limit:
        raise TokensRefused(
            f"{tokens.shape[1]} tokens in a row exceed this model's context of {context_limit}.",
            "Use shorter sequences.",
        )


def is_causal(config: Any) -> bool:
    """Whether a token sees only those before it, by a model's configuration."""
    both_ways = getattr(config, "use_bidirectional_attention", None)
    return bool(getattr(config, "is_causal", True)) and not both_ways
