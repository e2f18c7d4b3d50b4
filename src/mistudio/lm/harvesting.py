"""Streaming activations out of a language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from mistudio.lm.errors import TokensRefused
from mistudio.lm.model import LanguageModel

# Sequences are sorted by length within a window of this many batches, so that little is padded and memory
# stays bounded however long the stream is.
WINDOW = 32


@dataclass(frozen=True)
class ActivationBatch:
    """One forward pass.

    tokens: `[B,S]` int64 on the CPU, padded on the right.
    mask: `[B,S]` bool on the CPU, true where the activation counts: false at padding, at special
        tokens (`skip_special`) and at outliers (`outlier_norm_multiple`). One mask serves all hooks, so that
        the rows of several hooks stay aligned: a token left out at one of them is left out at all.
    activations: per hook `[B,S,d]` in the model's dtype on its device; meaningless at padding.
    sequence_index: `[B]` int64, the place of each row in the stream that was given.
    lengths: `[B]` int64, tokens per row before padding.
    """

    tokens: Tensor
    mask: Tensor
    activations: dict[str, Tensor]
    sequence_index: Tensor
    lengths: Tensor

    def rows(self, hook: str) -> Tensor:
        """The activations that count, `[n, d]`, row after row of the batch."""
        found = self.activations[hook]
        kept = self.mask.flatten().nonzero()[:, 0].to(found.device)
        return found.flatten(0, 1).index_select(0, kept)


def harvest(
    model: LanguageModel,
    sequences: Iterable[Any],
    hooks: Sequence[str],
    *,
    batch_size: int = 16,
    skip_special: bool = True,
    outlier_norm_multiple: float | None = None,
    sort_by_length: bool = True,
) -> Iterator[ActivationBatch]:
    """Run `sequences` (each a one-dimensional list, array or tensor of token ids) through the model.

    Batches hold sequences of similar length: within windows of 32 batches the sequences are sorted by
    length, longest first, ties in their own order; `sort_by_length=False` keeps the given order.

    `outlier_norm_multiple` (dictionary_learning's `max_activation_norm_multiple`; 10 is usual) leaves out
    tokens whose norm at any of the hooks exceeds that multiple of the median norm of the batch's tokens that
    count otherwise: attention sinks, whose norms are hundreds of times the rest. The caller records it.

    Raises HookNotFound before the first batch, TokensRefused naming the sequence that cannot be used.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    if not hooks:
        raise ValueError("Name at least one hook point to harvest.")
    if outlier_norm_multiple is not None and not outlier_norm_multiple > 1:
        raise ValueError(f"outlier_norm_multiple must be greater than 1, not {outlier_norm_multiple}.")
    for name in hooks:
        model.hook_point(name)
    special = torch.tensor(sorted(model.special_ids), dtype=torch.long) if skip_special else None
    return _stream(model, sequences, list(hooks), batch_size, special, outlier_norm_multiple, sort_by_length)


def _stream(
    model: LanguageModel,
    sequences: Iterable[Any],
    hooks: list[str],
    batch_size: int,
    special: Tensor | None,
    outlier_norm_multiple: float | None,
    sort_by_length: bool,
) -> Iterator[ActivationBatch]:
    numbered = enumerate(sequences)
    while window := [_row(model, i, s) for i, s in islice(numbered, batch_size * WINDOW)]:
        if sort_by_length:
            window.sort(key=lambda row: -len(row[1]))
        for start in range(0, len(window), batch_size):
            batch = window[start : start + batch_size]
            tokens, real, lengths = _pad([ids for _, ids in batch])
            found = model.activations(tokens, hooks, real)
            counts = real if special is None else real & ~torch.isin(tokens, special)
            if outlier_norm_multiple is not None:
                counts = _without_outliers(found, counts, outlier_norm_multiple)
            yield ActivationBatch(tokens, counts, found, torch.tensor([i for i, _ in batch]), lengths)


def _row(model: LanguageModel, index: int, sequence: Any) -> tuple[int, Tensor]:
    ids = torch.as_tensor(sequence).to(torch.long)
    try:
        model.check_tokens(ids.unsqueeze(0))
    except TokensRefused as error:
        raise TokensRefused(f"Sequence {index}: {error.message}", error.hint) from None
    return index, ids


def _pad(rows: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens `[B,S]` padded on the right with each row's first token, `[B,S]` true at real ones, lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    tokens = torch.stack([torch.cat([row, row[:1].expand(width - len(row))]) for row in rows])
    return tokens, torch.arange(width) < lengths.unsqueeze(1), lengths


def _without_outliers(found: dict[str, Tensor], counts: Tensor, multiple: float) -> Tensor:
    here = counts.to(next(iter(found.values())).device)
    kept = here
    for activations in found.values():
        norms = activations.float().norm(dim=-1)
        if bool(counts.any()):
            # What is not finite is no outlier: it must not disappear without a word.
            kept = kept & ~(norms.isfinite() & (norms > multiple * norms[here].nanmedian()))
    return kept.cpu()
