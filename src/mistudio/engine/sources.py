"""Where a training's activations come from: the model as it reads, or a cache. Several hook points at once.

A source gives batches in an order that its settings and a seed fix, and says with each batch where to go on after it,
so that a training that is resumed sees exactly what an unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.errors import ActivationsRefused, CacheRefused, TokensUnfit
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.reading import ActivationChunk, group_size, read_chunk
from mistudio.engine.sequences import CONTEXT, Ids, Tokens, as_sequences, begins_with_bos, sequence_order
from mistudio.lm.hooks import parse_hook

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel
    from mistudio.store import ActivationCache, ShuffledBatches

POOL_TOKENS = 65_536
"""Activations that are mixed at a time while the model runs alongside."""

Position = dict[str, Any]
"""Where a stream of batches goes on, as JSON can hold it."""


@dataclass(frozen=True)
class Batch:
    """One batch of activations.

    activations: per hook `[n, d]` float32; row `i` of every hook belongs to the same token. On the device of the model
    or, from a cache, on the CPU. n is the batch size (fewer only where a source says so).
    position: where to go on after this batch.
    """

    activations: dict[str, Tensor]
    position: Position

    def __len__(self) -> int:
        return len(next(iter(self.activations.values())))


class ActivationSource(Protocol):
    """A resumable, endless stream of batches for one or many hook points, and rows that it never gives."""

    @property
    def hooks(self) -> Mapping[str, int]:
        """Each hook point and the width of its activations."""
        ...

    def batches(self, batch_size: int, seed: int, position: Position | None = None) -> Iterator[Batch]:
        """Batches without end. With the `position` of an earlier batch they go on right after it, to the bit."""
        ...

    def held_out(self, n: int | None = None) -> dict[str, Tensor] | None:
        """Activations that are never in a batch, per hook `[m, d]` float32 on the CPU, at most `n` rows; None when
        nothing is held out."""
        ...

    def metadata(self, hook: str) -> dict[str, Any]:
        """What an SAE of this hook says of its origin, in SAELens' keys."""
        ...


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
        self.metadata_given = dict(metadata or {})
        self.training_sequences, self.held_out_sequences = self._split(held_out_tokens)
        self._held_out_tokens = held_out_tokens
        self._buffers: dict[str, Tensor] | None = None

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
        while n < self.pool_tokens and at < len(order):
            chosen = order[at : at + size]
            room = {hook: pool[n:] for hook, pool in self._buffers.items()}
            chunk = self.read(chosen, at + len(chosen), room)
            if self.on_chunk is not None:
                self.on_chunk(epoch, at, chunk)
            n, at = n + chunk.counts.kept, chunk.next
        return n, at

    def read(self, chosen: Ids, next: int, into: dict[str, Tensor]) -> ActivationChunk:
        """The activations that count of the `chosen` sequences, in the first rows of these buffers."""
        hooks = list(self.hooks)
        return read_chunk(self.model, self.sequences, hooks, self.settings, chosen, next, into=into)

    def held_out(self, n: int | None = None) -> dict[str, Tensor] | None:
        """Activations of the held-out sequences, per hook `[m, d]` float32 on the CPU: at most `n` rows (default: as
        many as were asked to be held out)."""
        if not len(self.held_out_sequences):
            return None
        found = read_chunk(
            self.model, self.sequences, list(self.hooks), self.settings, self.held_out_sequences
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


class CacheSource:
    """Activations from a cache: batches of several of its hook points in one and the same order.

    cache: an open `store.ActivationCache`. hooks: which of its hook points (default: all).
    held_out_tokens: the last so many rows of the cache are never in a batch, nor are the rest of the sequences that
        they belong to. The cache's sequences are in a random order, so this is a random choice, and the one that
        `ModelSource` makes.
    model: the language model that is going to be used with the activations (for evaluations): a cache of another one
        is refused.
    metadata: keys that `metadata` gives instead of its own.

    Mixing, memory and exactness: see `store.ShuffledBatches`; every row comes exactly once in an epoch. Batches are all
    of the same size. Raises CacheRefused for a hook that the cache lacks or a cache of another model, TornFile.
    """

    def __init__(
        self,
        cache: ActivationCache,
        hooks: Sequence[str] | str | None = None,
        *,
        held_out_tokens: int = 0,
        model: LanguageModel | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        names = [hooks] if isinstance(hooks, str) else list(cache.hooks if hooks is None else hooks)
        for name in names:
            if name not in cache.hooks:
                raise CacheRefused(
                    f"The activation cache {cache.folder.name} does not hold {name}; it holds "
                    f"{', '.join(cache.hooks)}.",
                    "Choose one of these, or harvest that hook point.",
                )
        if model is not None:
            refuse_other_model(cache, model)
        self.cache = cache
        self.hooks = {name: cache.hooks[name] for name in names}
        self._stop = cache.whole_sequences(cache.n_tokens - held_out_tokens)
        if self._stop <= 0:
            raise TokensUnfit(
                f"{held_out_tokens:,} held-out tokens leave nothing of the cache's {cache.n_tokens:,} to train on.",
                "Hold out fewer, or harvest more.",
            )
        self._metadata = dict(metadata or {})

    @property
    def n_training(self) -> int:
        """Rows that batches are drawn from: all but those held out."""
        return self._stop

    def batches(self, batch_size: int, seed: int, position: Position | None = None) -> Iterator[Batch]:
        """Batches of `batch_size` without end. Going on is immediate. Raises CacheRefused for a position that was
        reached with another batch size."""
        at = position or {}
        before = at.get("batch_size", batch_size)
        if before != batch_size:
            raise CacheRefused(
                f"The position to go on from was reached in batches of {before}, not {batch_size}.",
                "Go on with the same batch size, or start anew.",
            )
        first_row, number = int(at.get("first_row", 0)), int(at.get("batch", 0))
        streams = self.streams(batch_size, seed, number, first_row)
        try:
            while True:
                activations = {hook: torch.from_numpy(next(stream)) for hook, stream in streams.items()}
                number += 1
                after = {"batch": number, "batch_size": batch_size}
                yield Batch(activations, {**after, "first_row": first_row} if first_row else after)
        finally:
            for stream in streams.values():
                stream.close()

    def streams(
        self, batch_size: int, seed: int, start_batch: int = 0, first_row: int = 0
    ) -> dict[str, ShuffledBatches]:
        """A stream for each hook, all in the same order."""
        return {
            hook: self.cache.shuffled_batches(
                hook,
                batch_size,
                seed,
                epochs=None,
                start_batch=start_batch,
                stop=self._stop,
                first_row=first_row,
            )
            for hook in self.hooks
        }

    def held_out(self, n: int | None = None) -> dict[str, Tensor] | None:
        """The last rows of the cache, per hook `[m, d]` float32: at most `n` (default: all that are held out)."""
        total = self.cache.n_tokens
        if self._stop >= total:
            return None
        stop = total if n is None else min(total, self._stop + n)
        return {hook: torch.from_numpy(self.cache.read(hook, self._stop, stop)) for hook in self.hooks}

    def metadata(self, hook: str) -> dict[str, Any]:
        """What an SAE of this hook says of its origin, in SAELens' keys, as far as the cache knows it."""
        name, head = saelens_hook(hook)
        known = self.cache.meta.get("sae_metadata", {})
        return {**known, "hook_name": name, "hook_head_index": head, **self._metadata}


def refuse_other_model(cache: ActivationCache, model: LanguageModel) -> None:
    """Raises CacheRefused when a cache that says which model filled it was filled by another than `model`."""
    theirs = (cache.meta.get("key") or {}).get("model")
    if theirs is not None and theirs != model.fingerprint:
        raise CacheRefused(
            f"The activation cache {cache.folder.name} was filled by another model: "
            f"“{cache.meta.get('model', 'unknown')}” ({theirs[:8]}), not “{model.source}” ({model.fingerprint[:8]}).",
            "Use that model, or harvest this one's activations.",
        )


def saelens_hook(hook: str) -> tuple[str, int | None]:
    """A hook's name and head as SAELens writes them: `("blocks.3.attn.hook_z", 5)` for head 5 of it."""
    parsed = parse_hook(hook)
    return (hook.partition("[")[0], parsed.head) if parsed.head is not None else (str(parsed), None)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return parts[0] if len(parts) == 1 else {k: torch.cat([part[k] for part in parts]) for k in parts[0]}
