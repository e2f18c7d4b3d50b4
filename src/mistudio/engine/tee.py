"""Training from the model and writing its activations to a cache at the same time, then training from the cache."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.caching import (
    Key,
    cache_key,
    cache_meta,
    find_cache,
    forecast_bytes,
    key_digest,
    make_room,
)
from mistudio.engine.errors import CacheRefused
from mistudio.engine.filling import SHARD_BYTES, CacheFilling
from mistudio.engine.reading import ActivationChunk, group_size, read_activations
from mistudio.engine.sequences import sequence_order
from mistudio.engine.sources import Batch, CacheSource, ModelSource, Position, Sample
from mistudio.store import ActivationCache, FolderLock, Precision, writable_folder

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel


class TeeSource:
    """A `ModelSource` whose first epoch fills a cache on the way; from the second epoch on the cache is read.

    source: what is read in the first epoch. folder: of the caches (see `engine.caching`): when it holds the finished
    cache already, the model is not run at all. dtype, limit_bytes: as for `harvest`.

    A thread writes beside the training and is waited for only when it falls four groups (65,536 tokens) behind. The
    cache gets exactly the rows that are trained on, and at the end of the epoch the held-out ones, so that it is what
    `harvest` would have written (where batches are padded, rows of one group may come in another order), and it is
    found by the same key. When the process is killed, whole shards stay: a training that goes on from a checkpoint
    reads again what the cache lacks, and never writes a row twice.
    The last batch of the first epoch is completed with the first rows of the cache, so all have the same size.
    """

    def __init__(
        self,
        source: ModelSource,
        folder: str | Path,
        *,
        dtype: Precision = "float16",
        limit_bytes: int | None = None,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.source = source
        self.dtype = dtype
        self._limit_bytes, self._shard_bytes = limit_bytes, shard_bytes
        self.folder = writable_folder(folder)
        self.key: Key = cache_key(source.model, source.sequences, list(source.hooks), source.settings, dtype)
        self.path = self.folder / key_digest(self.key)
        self._order = sequence_order(source.sequences, source.settings)
        self._reads_cache = False

    @property
    def hooks(self) -> Mapping[str, int]:
        """Each hook point and the width of its activations."""
        return self.source.hooks

    def held_out(self, n: int | None = None) -> dict[str, Tensor] | None:
        """As `ModelSource.held_out`: in full precision, from the model."""
        return self.source.held_out(n)

    def sample(self, n: int, at: int) -> Sample | None:
        """From the model's pool in the first epoch, later from the cache."""
        if self._reads_cache:
            cache = find_cache(self.folder, self.key)
            if cache is not None:
                held_out = self._held_out_rows(cache)
                return CacheSource(cache, list(self.hooks), held_out_tokens=held_out).sample(n, at)
        return self.source.sample(n, at)

    def held_out_text(self, n_tokens: int) -> tuple[LanguageModel, list[Tensor]] | None:
        """As `ModelSource.held_out_text`."""
        return self.source.held_out_text(n_tokens)

    def metadata(self, hook: str) -> dict[str, Any]:
        """As `ModelSource.metadata`."""
        return self.source.metadata(hook)

    def batches(self, batch_size: int, seed: int, position: Position | None = None) -> Iterator[Batch]:
        """Batches of `batch_size` without end; positions of the first epoch are those of `ModelSource`.

        A position of a later epoch whose cache is gone has it harvested again, to the same bits. Raises CacheRefused
        when another process fills the same cache, and what writing meets (`DiskFull`, `NotStorable`).
        """
        at = position or {}
        if not at and find_cache(self.folder, self.key) is not None:
            at = self._cache_position(batch_size, 0)
        if "batch" not in at and int(at.get("epoch", 0)) == 0:
            rest: dict[str, Tensor] = {}
            for activations, after in self._first_epoch(batch_size, seed, position):
                if len(next(iter(activations.values()))) == batch_size:
                    yield Batch(activations, after)
                else:
                    rest = activations
            at = self._cache_position(batch_size, 0)
            if rest:
                yield self._bridge(rest, batch_size, seed)
                at = self._cache_position(batch_size, batch_size - len(next(iter(rest.values()))))
        elif "batch" not in at:
            at = self._cache_position(batch_size, 0)
        self._reads_cache = True
        yield from self._cached().batches(batch_size, seed, at)

    @staticmethod
    def _cache_position(batch_size: int, first_row: int) -> Position:
        return {"batch": 0, "batch_size": batch_size, "first_row": first_row}

    def _bridge(self, rest: dict[str, Tensor], batch_size: int, seed: int) -> Batch:
        """The last rows of the first epoch with the first of the cache."""
        missing = batch_size - len(next(iter(rest.values())))
        whole: dict[str, Tensor] = {}
        for hook, stream in self._cached().streams(missing, seed).items():
            rows = torch.from_numpy(next(stream)).to(rest[hook].device)
            whole[hook] = torch.cat([rest[hook], rows])
            stream.close()
        return Batch(whole, self._cache_position(batch_size, missing))

    def _cached(self) -> CacheSource:
        with self._filling() as filling:
            if filling is not None:
                self._complete(filling)
        cache = find_cache(self.folder, self.key)
        if cache is None:
            raise CacheRefused(
                f"The activation cache {self.path.name} was taken away while it was opened.", "Start again."
            )
        return CacheSource(cache, list(self.hooks), held_out_tokens=self._held_out_rows(cache))

    def _held_out_rows(self, cache: ActivationCache) -> int:
        """Rows at the end of the cache, from the first that belongs to a held-out sequence on."""
        held = self.source.held_out_sequences
        group = group_size(self.source.sequences, self.source.settings)
        last = min(cache.n_tokens, (len(held) + group) * self.source.sequences.context)
        found = np.isin(cache.tokens(cache.n_tokens - last, cache.n_tokens).sequence, held)
        return last - int(np.argmax(found)) if found.any() else 0

    def _first_epoch(
        self, batch_size: int, seed: int, position: Position | None
    ) -> Iterator[tuple[dict[str, Tensor], Position]]:
        """The model's first epoch, written to the cache as it goes, and the cache finished behind it."""
        source = self.source
        with self._filling() as filling:

            def write(epoch: int, before: int, chunk: ActivationChunk) -> None:
                if filling is None or epoch > 0 or filling.full:
                    return
                if before == filling.next:
                    filling.add(chunk)
                elif chunk.next > filling.next:
                    self._catch_up(filling, chunk.next)

            source.on_chunk = write
            try:
                for activations, after, _ in source.epochs(batch_size, seed, position, last=0):
                    yield activations, after
            except GeneratorExit:
                # A training that ends within its first epoch's last pool has read all that the cache needs.
                if filling is not None and filling.next >= len(source.training_sequences):
                    self._complete(filling)
                raise
            finally:
                source.on_chunk = None
            if filling is not None:
                self._complete(filling)

    @contextmanager
    def _filling(self) -> Generator[CacheFilling | None]:
        """The cache to be filled, locked; None when it is finished already."""
        if find_cache(self.folder, self.key) is not None:
            yield None
            return
        source = self.source
        lock = FolderLock(self.path)
        if not lock.take(alone=True):
            raise CacheRefused(
                f"The activation cache {self.path.name} is being written by another process.",
                "Wait until that training or harvest has finished, then start again.",
            )
        if self._limit_bytes is not None:
            make_room(self.folder, forecast_bytes(self.key, source.sequences), self._limit_bytes, self.path)
        limit = source.settings.n_tokens or source.sequences.n_tokens
        meta = cache_meta(source.model, source.sequences, source.settings, self.key, source.metadata_given)
        with (
            lock,
            CacheFilling(
                self.path, source.hooks, self.dtype, meta=meta, limit=limit, shard_bytes=self._shard_bytes
            ) as filling,
        ):
            yield filling

    def _complete(self, filling: CacheFilling) -> None:
        """Write what is missing: the held-out sequences, and with a limit what it takes to reach it."""
        self._catch_up(filling, len(self._order))
        filling.finish()

    def _catch_up(self, filling: CacheFilling, stop: int) -> None:
        """Read what the cache lacks before the `stop`-th sequence, and write it."""
        source = self.source
        # The trained part and the held-out one are read apart, as in the first epoch.
        for end in (min(stop, len(source.training_sequences)), stop):
            if filling.full or filling.next >= end:
                continue
            for chunk in read_activations(
                source.model,
                source.sequences,
                list(source.hooks),
                source.settings,
                self._order[:end],
                filling.next,
            ):
                filling.add(chunk)
                if filling.full:
                    return
