"""The logit lens: what a model would say next if each layer were its last.

nostalgebraist, "interpreting GPT: the logit lens" (2020): the residual stream after every block goes through the final
norm and the unembedding. Nothing is trained, and attention patterns are not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mistudio.lm.hooks import format_hook
from mistudio.lm.model import LanguageModel

# Logits of this many bytes are held at once, whatever the vocabulary.
_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class LensGrid:
    """The lens at `rows` hook points × positions. All tensors are on the CPU.

    hooks: name of the hook point of each row: the first block's input, then each block's output.
    first: place in the text of the first position.
    ids: `[rows, positions, k]`, the most probable next tokens, best first; probabilities: the same shape, float32.
    kl: `[rows, positions]`, KL(model ‖ row) in nats: how far the row's distribution is from the model's own.
    rank: `[rows, positions]`, place (from 1) of the model's own most probable token among the row's.
    """

    hooks: list[str]
    first: int
    ids: Tensor
    probabilities: Tensor
    kl: Tensor
    rank: Tensor


@torch.no_grad()
def logit_lens_grid(
    model: LanguageModel,
    tokens: Sequence[int],
    *,
    top_k: int = 5,
    last: int | None = None,
    on_row: Callable[[int, int], None] = lambda _done, _total: None,
) -> LensGrid:
    """The lens over a text, at its `last` positions (all by default); one pass of the model.

    `on_row(done, total)` is called after each row (of each part, where the vocabulary makes it work in parts); what it
    raises ends the work. Raises TokensRefused.
    """
    hooks = [format_hook(0, "resid_pre"), *(format_hook(i, "resid_post") for i in range(model.n_layers))]
    found = model.activations(torch.tensor([list(tokens)]), hooks)
    first = max(0, len(tokens) - last) if last is not None else 0
    own = found[hooks[-1]][0, first:]
    chunks = own.split(max(1, _CHUNK_BYTES // (4 * model.vocab_size)))
    k = min(top_k, model.vocab_size)
    parts: list[list[tuple[Tensor, ...]]] = [[] for _ in hooks]
    at = 0
    for number, chunk in enumerate(chunks):
        final = torch.softmax(model.logit_lens(chunk).float(), -1)
        negentropy = torch.special.xlogy(final, final).sum(-1)
        for row, hook in enumerate(hooks):
            residual = found[hook][0, first + at : first + at + len(chunk)]
            parts[row].append(_cells(model, residual, final, negentropy, k))
            on_row(number * len(hooks) + row + 1, len(chunks) * len(hooks))
        at += len(chunk)
    rows = [[torch.cat(some) for some in zip(*one, strict=True)] for one in parts]
    ids, probabilities, kl, rank = (torch.stack(column) for column in zip(*rows, strict=True))
    return LensGrid(hooks, first, ids, probabilities, kl, rank)


def _cells(
    model: LanguageModel, residual: Tensor, final: Tensor, negentropy: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids `[n,k]`, probabilities `[n,k]`, KL `[n]` and rank `[n]` of `residual [n,d]` against the model's own
    probabilities `final [n,vocab]`, whose Σ p ln p is `negentropy [n]`."""
    logits = model.logit_lens(residual).float()
    normalizer = logits.logsumexp(-1)
    best, ids = logits.topk(k, dim=-1)
    # Σ p ln p − Σ p (logit − normalizer): one product in place of a distribution for every row.
    kl = (negentropy - torch.linalg.vecdot(final, logits) + normalizer).clamp(min=0)
    top = logits.gather(-1, final.argmax(-1, keepdim=True))
    rank = (logits > top).sum(-1) + 1
    return ids.cpu(), (best - normalizer.unsqueeze(-1)).exp().cpu(), kl.cpu(), rank.cpu()
