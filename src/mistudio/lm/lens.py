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

    `on_row(done, total)` is called after each row; what it raises ends the work. Raises TokensRefused.
    """
    hooks = [format_hook(0, "resid_pre"), *(format_hook(i, "resid_post") for i in range(model.n_layers))]
    found = model.activations(torch.tensor([list(tokens)]), hooks)
    first = max(0, len(tokens) - last) if last is not None else 0
    own = found[hooks[-1]][0, first:]
    chunk = max(1, _CHUNK_BYTES // (4 * model.vocab_size))
    k = min(top_k, model.vocab_size)
    rows: list[list[Tensor]] = []
    for row, hook in enumerate(hooks):
        residual = found[hook][0, first:]
        parts = [
            _cells(model, here, final, k)
            for here, final in zip(residual.split(chunk), own.split(chunk), strict=True)
        ]
        rows.append([torch.cat(some) for some in zip(*parts, strict=True)])
        on_row(row + 1, len(hooks))
    ids, probabilities, kl, rank = (torch.stack(column) for column in zip(*rows, strict=True))
    return LensGrid(hooks, first, ids, probabilities, kl, rank)


def _cells(
    model: LanguageModel, residual: Tensor, final: Tensor, k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids `[n,k]`, probabilities `[n,k]`, KL `[n]` and rank `[n]` of `residual [n,d]` against `final [n,d]`."""
    ours = torch.log_softmax(model.logit_lens(residual).float(), -1)
    models = torch.log_softmax(model.logit_lens(final).float(), -1)
    best, ids = ours.topk(k, dim=-1)
    kl = (models.exp() * (models - ours)).sum(-1).clamp(min=0)
    top = ours.gather(-1, models.argmax(-1, keepdim=True))
    rank = (ours > top).sum(-1) + 1
    return ids.cpu(), best.exp().cpu(), kl.cpu(), rank.cpu()
