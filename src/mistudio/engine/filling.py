"""Filling an activation cache: on a thread beside the model, resumable, with figures of what went in."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.activation_figures import (
    HookFigures,
    HookSummary,
    ModelOutlier,
    outliers_of_the_model,
)
from mistudio.engine.activation_sums import HookSums
from mistudio.engine.errors import ActivationsRefused
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.reading import ActivationChunk, HarvestCounts, read_activations
from mistudio.engine.sequences import TokenSequences, sequence_order
from mistudio.engine.spreading import lead
from mistudio.sae.distributed import ALONE, Ranks
from mistudio.store import ActivationCache, ActivationCacheWriter, Precision, row_bytes
from mistudio.store.npy import Array

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

SHARD_BYTES = 128 << 20
"""Bytes per hook point set in a shard: what a kill can cost."""
_WAITING = 4
_MEASURED_EVERY = 16


@dataclass(frozen=True)
class HarvestStatistics:
    """What a harvest counted, in tokens, how long it ran, and what the activations look like: see
    `engine.activation_metrics` for the figures. outliers: dimensions that are loud through the layers."""

    tokens_seen: int
    tokens_special: int
    tokens_padding: int
    tokens_outlier: int
    seconds: float
    hooks: dict[str, HookFigures] = field(default_factory=dict[str, HookFigures])
    outliers: list[ModelOutlier] = field(default_factory=list[ModelOutlier])


class CacheFilling:
    """An activation cache that is being filled, chunk after chunk in the order of reading.

    What `add` gets is reduced to the stored precision at once and handed to a thread that writes it, so the model goes
    on meanwhile; at most four chunks wait, then `add` waits too. Whole shards survive a kill: a new `CacheFilling` on
    the same folder goes on at `next`. `limit`: rows to keep.
    As a context manager it keeps what is whole at the end of the block, unless `finish` was called.
    """

    def __init__(
        self,
        folder: Path,
        widths: Mapping[str, int],
        dtype: str,
        *,
        meta: Mapping[str, Any] | None = None,
        limit: int | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.dtype, self.limit = dtype, limit
        if any(folder.glob("shard-*")):
            self._writer = ActivationCacheWriter.resume(folder)
        else:
            if (folder / "head.json").exists():  # of an attempt that ended before its first shard
                (folder / "head.json").unlink()
            per_token = sum(row_bytes(dtype, d) for d in widths.values())
            self._writer = ActivationCacheWriter(
                folder,
                widths,
                cast(Precision, dtype),
                shard_tokens=max(4096, shard_bytes // per_token),
                meta=meta,
            )
        state = self._writer.state or {}
        self.next = int(state.get("next", 0))
        self.n_tokens = self._writer.n_tokens
        self.sums = _Sums(state.get("sums"))
        self._began = time.monotonic()
        self._error: BaseException | None = None
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._write, name="activation cache", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether `limit` rows are there."""
        return self.limit is not None and self.n_tokens >= self.limit

    def add(self, chunk: ActivationChunk) -> None:
        """Append what a group of sequences gave. Raises what the thread met before: `NotStorable`, `DiskFull`, …"""
        n = len(chunk.tokens)
        if self.limit is not None:
            n = min(n, self.limit - self.n_tokens)
        kept = {hook: values[:n] for hook, values in chunk.activations.items()}
        now = time.monotonic()
        self.sums.add(kept, chunk, n, now - self._began)
        self._began = now
        stored = {hook: _reduced(values, self.dtype) for hook, values in kept.items()}
        rows = {hook: array for hook, (array, _) in stored.items()}
        squares = {hook: sums for hook, (_, sums) in stored.items() if sums is not None}
        where = [part[:n].numpy() for part in (chunk.sequences, chunk.positions, chunk.tokens)]
        self.next, self.n_tokens = chunk.next, self.n_tokens + n
        state = {"next": self.next, "sums": self.sums.state()}
        self._put(lambda: self._writer.append(rows, where[0], where[1], where[2], state, squares))

    def finish(self) -> None:
        """Wait for what is still to be written and complete the cache."""
        self._stop()
        self._writer.finish()

    def suspend(self) -> None:
        """Wait for what is still to be written, keep what is whole and close."""
        try:
            self._stop()
        finally:
            self._writer.suspend()

    def __enter__(self) -> CacheFilling:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._thread.is_alive():
            if kind is None:
                self.suspend()
            else:
                # The error that ends the block is the one to tell.
                self._queue.put(None)
                self._thread.join()
                self._writer.suspend()

    def _put(self, work: Callable[[], None]) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(work)

    def _stop(self) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        while (work := self._queue.get()) is not None:
            if self._error is None:
                try:
                    work()
                except BaseException as error:
                    self._error = error


def fill_cache(
    model: LanguageModel,
    sequences: TokenSequences,
    widths: Mapping[str, int],
    settings: HarvestSettings,
    folder: Path,
    *,
    dtype: str = "float16",
    meta: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    shard_bytes: int | None = None,
    ranks: Ranks = ALONE,
) -> HarvestStatistics:
    """Fill the cache at `folder` with the hooks in `widths` (`{name: d}`), going on where an earlier call was killed.

    `progress(done, total)` counts tokens; what it raises leaves the finished part for resuming. With several `ranks`
    the first calls this, and the others `follow`.
    Raises ActivationsRefused when every token is left out or a value is NaN or infinite, `NotStorable` when one exceeds
    the precision, `DiskFull`.
    """
    limit = settings.n_tokens or sequences.n_tokens
    with CacheFilling(
        folder, widths, dtype, meta=meta, limit=limit, shard_bytes=shard_bytes or SHARD_BYTES
    ) as filling:

        def show() -> None:
            # Left-out tokens count as done: without a limit the bar would end short of its end otherwise.
            done = filling.n_tokens if settings.n_tokens else filling.sums.counts.seen
            progress(min(limit, done), limit)

        show()
        order = sequence_order(sequences, settings)
        if not filling.full:
            what = (model, sequences, list(widths), settings, order, filling.next)
            for chunk in read_activations(*what) if ranks.size == 1 else lead(*what, ranks):
                filling.add(chunk)
                show()
                if filling.full:
                    break
        if filling.n_tokens == 0:
            raise ActivationsRefused(
                "Every token was left out: the tokens are special tokens only.",
                "Turn skip_special_tokens off, or tokenize again.",
            )
        filling.finish()
    return statistics_of(ActivationCache(folder))


def statistics_of(cache: ActivationCache) -> HarvestStatistics:
    """What was counted while a cache was filled, with the error of its precision."""
    state = cache.state["sums"]
    counts = HarvestCounts(**state["counts"])
    summaries = {hook: HookSummary(state["hooks"][hook]) for hook in cache.hooks}
    return HarvestStatistics(
        tokens_seen=counts.seen,
        tokens_special=counts.special,
        tokens_padding=counts.padding,
        tokens_outlier=counts.outlier,
        seconds=state["seconds"],
        hooks={hook: summary.figures(cache.error[hook]) for hook, summary in summaries.items()},
        outliers=outliers_of_the_model(summaries),
    )


def _reduced(values: Tensor, dtype: str) -> tuple[Array, tuple[float, float] | None]:
    """Rows `[n, d]` in the stored precision as an array of their own, and the squares for the store's error (None:
    the store measures). Reducing here, where the values are, is far faster than in numpy."""
    if dtype in ("float16", "bfloat16"):
        stored = values.to(getattr(torch, dtype))
        if stored is values:
            return _array(values.clone()), (0.0, _squares(values[::_MEASURED_EVERY]))
        if not bool(stored.sum(dtype=torch.float32).isfinite()):
            return _array(values.float()), None  # too large for the precision: the store says which and how
        sample = values[::_MEASURED_EVERY].float()
        error = stored[::_MEASURED_EVERY].float() - sample
        return _array(stored), (_squares(error), _squares(sample))
    whole = values.float()
    return _array(whole.clone() if whole is values and values.device.type == "cpu" else whole), None


def _squares(values: Tensor) -> float:
    return float(values.double().square().sum())


def _array(values: Tensor) -> Array:
    values = values.cpu()
    return (
        values.view(torch.int16).numpy().view(np.uint16) if values.dtype == torch.bfloat16 else values.numpy()
    )


class _Sums:
    """Running sums over the kept activations, small enough to be stored with each shard."""

    def __init__(self, state: dict[str, Any] | None) -> None:
        self.counts = HarvestCounts(**state["counts"]) if state else HarvestCounts()
        self.seconds: float = state["seconds"] if state else 0.0
        self.hooks: dict[str, HookSums] = (
            {hook: HookSums(int(sums["d"]), sums) for hook, sums in state["hooks"].items()} if state else {}
        )

    def add(self, kept: dict[str, Tensor], chunk: ActivationChunk, n: int, seconds: float) -> None:
        for name in ("seen", "special", "padding", "outlier"):
            setattr(self.counts, name, getattr(self.counts, name) + getattr(chunk.counts, name))
        self.counts.kept += n
        self.seconds += seconds
        for hook, values in kept.items():
            sums = self.hooks.setdefault(hook, HookSums(values.shape[1]))
            sums.add(values, chunk.sequences[:n], chunk.positions[:n], chunk.tokens[:n])

    def state(self) -> dict[str, Any]:
        return {
            "counts": dict(vars(self.counts)),
            "seconds": self.seconds,
            "hooks": {hook: sums.state() for hook, sums in self.hooks.items()},
        }
