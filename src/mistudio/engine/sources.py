"""Where a training's activations come from: the model as it reads, or a cache. Several hook points at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.cache_source import CacheSource, refuse_other_model
from mistudio.engine.errors import ActivationsRefused, TokensUnfit
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.reading import ActivationChunk, group_size, read_chunk
from mistudio.engine.sequences import CONTEXT, Ids, Tokens, as_sequences, begins_with_bos, sequence_order
from mistudio.engine.sizes import POOL_TOKENS
from mistudio.engine.stream import (
    ActivationSource,
    Batch,
    Observed,
    Position,
    Sample,
    saelens_hook,
    sequences_up_to,
)

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

__all__ = [
    "POOL_TOKENS",
    "ActivationSource",
    "Batch",
    "CacheSource",
    "ModelSource",
    "Observed",
    "Position",
    "Sample",
    "refuse_other_model",
    "saelens_hook",
]


class ModelSource:
    """Runs a language model over token sequences, epoch after epoch, and stops it at the deepest hook that is wanted.

    model, tokens: see `as_sequences` for what tokens may be (a list of texts too; `context` is for these).
    hooks: name or names of hook points; one pass of the model serves all.
    settings: which tokens count and in which order sequences are read. `n_tokens` limits an epoch to so many
        activations, held-out ones included: to the head of the first epoch's order.
    held_out_tokens: activations that are never in a batch: those of the sequences at the end of the first epoch's
        order, a random choice (with `order="sequential"`, the end of the text). A cache holds the same ones out.
    pool_tokens: activations that are mixed at a time. Memory: (pool_tokens + 16,384) × widths × bytes of a value in
        the model's precision (at least 2, at most 4).
    metadata: keys that `metadata` gives instead of its own (names of model and data set).

    Mixing: sequences are read in a random order, in pools of P ≥ `pool_tokens` activations; a pool's rows are permuted
    and dealt out. Every row comes exactly once in an epoch. As a pool draws P / C whole sequences of C tokens at
    random, the mean of any quantity over a batch of B rows has standard deviation ≤ σ·sqrt(C/P + 1/B) even where all
    rows of a sequence are equal, against σ·sqrt(1/B) of a full shuffle; neighbours in a batch are as (un)correlated as
    any two rows of the pool, that is they come from the same sequence in C/P of the cases.

    Batches are all of the same size and run on across pools and epochs.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokens: Tokens,
        hooks: Sequence[str] | str,
        *,
        settings: HarvestSettings | None = None,
        held_out_tokens: int = 0,
        pool_tokens: int = POOL_TOKENS,
        context: int = CONTEXT,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.settings = settings or HarvestSettings()
        self.sequences = as_sequences(tokens, model, context=context, n_tokens=self.settings.n_tokens)
        points = [model.hook_point(hook) for hook in ([hooks] if isinstance(hooks, str) else hooks)]
        if not points:
            raise ValueError("Name at least one hook point.")
        self.hooks = {point.name: point.d for point in points}
        self.pool_tokens = pool_tokens
        self.on_chunk: Callable[[int, int, ActivationChunk], None] | None = None
        """Sees every group of activations that is read: epoch, number of sequences read before it, activations (they
        are overwritten after the call)."""
        self.on_rows: Callable[[int, int], None] | None = None
        """Told after each pass of the model how many activations are read of those that it reads at a stretch: a
        pool, or what is held out. What it raises goes through to the reader."""
        self._pool_rows: int | None = None
        self.metadata_given = dict(metadata or {})
        self.training_sequences, self.held_out_sequences = self._split(held_out_tokens)
        self._held_out_tokens = held_out_tokens
        self._buffers: dict[str, Tensor] | None = None
        self._origins: list[tuple[Tensor, Tensor, Tensor]] = []

    def _split(self, held_out_tokens: int) -> tuple[Ids, Ids]:
        """The sequences of the first epoch, and those held out, both in the order of reading."""
        order = sequence_order(self.sequences, self.settings)
        counts = self._countable(order, self.settings.n_tokens)
        order = order[: len(counts)]
        if held_out_tokens == 0:
            return order, order[:0]
        held = int(np.searchsorted(np.cumsum(counts[::-1]), held_out_tokens)) + 1
        if held >= len(order):
            raise TokensUnfit(
                f"{held_out_tokens:,} held-out tokens leave nothing to train on: the sequences hold "
                f"{int(counts.sum()):,} tokens that count.",
                "Hold out fewer tokens, or give more.",
            )
        return order[:-held], order[-held:]

    def _countable(self, order: Ids, limit: int | None) -> Ids:
        """Tokens that count in each sequence of `order`, up to the one that makes `limit` full."""
        special = sorted(self.model.special_ids) if self.settings.skip_special_tokens else []
        skip_first = self.sequences.bos_id if self.settings.skip_bos else None
        found: list[Ids] = []
        sum_so_far = 0
        for start in range(0, len(order), 4096):
            ids, lengths = self.sequences.take(order[start : start + 4096])
            real = np.arange(ids.shape[1]) < lengths[:, None]
            real &= ~np.isin(ids, special)
            if skip_first is not None:
                real[:, 0] &= ids[:, 0] != skip_first
            found.append(real.sum(1))
            sum_so_far += int(found[-1].sum())
            if limit is not None and sum_so_far >= limit:
                break
        counts = np.concatenate(found) if found else np.zeros(0, np.int64)
        if limit is not None and sum_so_far >= limit:
            counts = counts[: int(np.searchsorted(np.cumsum(counts), limit)) + 1]
        return counts

    def order(self, epoch: int) -> Ids:
        """The sequences of an epoch in the order in which they are read; held-out ones are left out."""
        if epoch == 0:
            return self.training_sequences
        if self.settings.n_tokens is not None:
            if self.settings.order == "sequential":
                return self.training_sequences
            return np.random.default_rng([self.settings.seed, epoch]).permutation(self.training_sequences)
        order = sequence_order(self.sequences, self.settings, epoch)
        return order[~np.isin(order, self.held_out_sequences)]

    def batches(self, batch_size: int, seed: int, position: Position | None = None) -> Iterator[Batch]:
        """Batches of `batch_size` without end. A position names epoch, sequence and row of a pool: going on reads
        that pool again. Raises TokensRefused, ActivationsRefused."""
        for activations, after, _ in self.epochs(batch_size, seed, position):
            yield Batch(activations, after)

    def epochs(
        self, batch_size: int, seed: int, position: Position | None = None, *, last: int | None = None
    ) -> Iterator[tuple[dict[str, Tensor], Position, int]]:
        """As `batches`: activations, position, and the epoch in which the batch ended. With `last` this ends with
        that epoch, and its last batch may be smaller."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        epoch, at, row = (int((position or {}).get(key, 0)) for key in ("epoch", "next", "row"))
        order = self.order(epoch)
        parts: list[dict[str, Tensor]] = []
        missing, empty_pools = batch_size, 0
        while True:
            n, following = self._fill(epoch, at, order)
            empty_pools = 0 if n else empty_pools + 1
            if empty_pools > 1:  # a pool ends with its epoch, so a whole one was empty
                raise ActivationsRefused(
                    "Every token was left out: nothing of the text counts.",
                    "Turn skip_special_tokens off, raise outlier_multiple, or choose another text.",
                )
            mixed = torch.from_numpy(np.random.default_rng([seed, epoch, at]).permutation(n))
            mixed = mixed.to(self.model.device)
            while row < n:
                rows = mixed[row : row + missing]
                row, missing = row + len(rows), missing - len(rows)
                parts.append(self._rows(rows))
                if missing == 0:
                    yield _joined(parts), self._position(epoch, at, row, n, following, len(order)), epoch
                    parts, missing = [], batch_size
            at, row = following, 0
            if at >= len(order):
                if epoch == last:
                    break
                epoch, at = epoch + 1, 0
                order = self.order(epoch)
        if parts:
            yield _joined(parts), {"epoch": epoch + 1, "next": 0, "row": 0}, epoch

    @staticmethod
    def _position(epoch: int, at: int, row: int, n: int, following: int, total: int) -> Position:
        if row < n:
            return {"epoch": epoch, "next": at, "row": row}
        if following < total:
            return {"epoch": epoch, "next": following, "row": 0}
        return {"epoch": epoch + 1, "next": 0, "row": 0}

    def _rows(self, rows: Tensor) -> dict[str, Tensor]:
        assert self._buffers is not None
        return {hook: pool.index_select(0, rows).float() for hook, pool in self._buffers.items()}

    def _fill(self, epoch: int, at: int, order: Ids) -> tuple[int, int]:
        """Fill the pool from the `at`-th sequence on; returns its rows and the sequence after it."""
        size = group_size(self.sequences, self.settings)
        if self._buffers is None:
            whole = min(self.pool_tokens + size * self.sequences.context, self.sequences.n_tokens)
            dtype = self.model.dtype if self.model.dtype.itemsize == 2 else torch.float32
            self._buffers = {
                hook: torch.empty(whole, d, dtype=dtype, device=self.model.device)
                for hook, d in self.hooks.items()
            }
        n = 0
        self._origins = []
        if self.on_rows is not None:
            self._expect(order[at:], size)
        if (telling := self._telling(0, len(order) - at)) is not None:
            telling(0)
        while n < self.pool_tokens and at < len(order):
            chosen = order[at : at + size]
            room = {hook: pool[n:] for hook, pool in self._buffers.items()}
            chunk = self.read(chosen, at + len(chosen), room, self._telling(n, len(order) - at))
            if self.on_chunk is not None:
                self.on_chunk(epoch, at, chunk)
            self._origins.append((chunk.sequences, chunk.positions, chunk.tokens))
            n, at = n + chunk.counts.kept, chunk.next
        return n, at

    def _expect(self, order: Ids, size: int) -> None:
        """Count the activations of a pool, in groups of `size` sequences, once: of the same text, one is like the
        next."""
        if self._pool_rows is None:
            enough = len(self._countable(order, self.pool_tokens))
            self._pool_rows = int(self._countable(order[: -(-enough // size) * size], None).sum())

    def _telling(self, before: int, sequences: int) -> Callable[[int], None] | None:
        """What tells `on_rows` of a group, with `before` rows of the pool read and so many sequences left."""
        tell = self.on_rows
        if tell is None:
            return None
        total = min(self._pool_rows or 0, before + sequences * self.sequences.context)
        return lambda found: tell(before + found, max(total, before + found))

    def sample(self, n: int, at: int) -> Sample | None:
        """The first rows of the pool that batches are drawn from now."""
        if self._buffers is None or not self._origins:
            return None
        sequences, positions, tokens = (torch.cat(parts)[:n] for parts in zip(*self._origins, strict=True))
        rows = {hook: pool[: len(tokens)] for hook, pool in self._buffers.items()}
        return Sample(rows, sequences, positions, tokens)

    def held_out_text(self, n_tokens: int) -> tuple[LanguageModel, list[Tensor]] | None:
        """The model that runs alongside, and the first held-out sequences."""
        found = sequences_up_to(self.sequences, self.held_out_sequences, n_tokens)
        return (self.model, found) if found else None

    def read(
        self,
        chosen: Ids,
        next: int,
        into: dict[str, Tensor],
        passed: Callable[[int], None] | None = None,
    ) -> ActivationChunk:
        """The activations that count of the `chosen` sequences, in the first rows of these buffers."""
        hooks = list(self.hooks)
        return read_chunk(
            self.model, self.sequences, hooks, self.settings, chosen, next, into=into, passed=passed
        )

    def held_out(self, n: int | None = None) -> dict[str, Tensor] | None:
        """Activations of the held-out sequences, per hook `[m, d]` float32 on the CPU: at most `n` rows (default: as
        many as were asked to be held out)."""
        if not len(self.held_out_sequences):
            return None
        tell = self.on_rows
        total = 0
        if tell is not None:
            total = int(self._countable(self.held_out_sequences, None).sum())
            tell(0, total)
        found = read_chunk(
            self.model,
            self.sequences,
            list(self.hooks),
            self.settings,
            self.held_out_sequences,
            passed=None if tell is None else lambda rows: tell(rows, max(total, rows)),
        )
        m = self._held_out_tokens if n is None else min(n, self._held_out_tokens)
        return {hook: rows[:m].cpu() for hook, rows in found.activations.items()}

    def metadata(self, hook: str) -> dict[str, Any]:
        """What an SAE of this hook says of its origin, in SAELens' keys."""
        name, head = saelens_hook(hook)
        return {
            "model_name": self.model.source,
            "hook_name": name,
            "hook_head_index": head,
            "context_size": self.sequences.context,
            "prepend_bos": begins_with_bos(self.sequences),
            "exclude_special_tokens": self.settings.skip_special_tokens,
            **self.metadata_given,
        }


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return parts[0] if len(parts) == 1 else {k: torch.cat([part[k] for part in parts]) for k in parts[0]}
