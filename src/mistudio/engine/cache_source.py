"""Activations from a cache, as a training reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mistudio.engine.errors import CacheRefused, TokensUnfit
from mistudio.engine.sequences import TokenSequences
from mistudio.engine.stream import Batch, Position, Sample, saelens_hook, sequences_up_to

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel
    from mistudio.store import ActivationCache, ShuffledBatches


class CacheSource:
    """Activations from a cache: batches of several of its hook points in one and the same order.

    cache: an open `store.ActivationCache`. hooks: which of its hook points (default: all).
    held_out_tokens: the last so many rows of the cache are never in a batch, nor are the rest of the sequences that
        they belong to. The cache's sequences are in a random order, so this is a random choice, and the one that
        `ModelSource` makes.
    model: the language model that is going to be used with the activations (for evaluations): a cache of another one
        is refused. tokens: the sequences that the cache was filled from, which evaluations need too.
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
        tokens: TokenSequences | None = None,
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
        self._model, self._tokens = model, tokens

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

    def sample(self, n: int, at: int) -> Sample | None:
        """Neighbouring rows of the cache from a place that depends on `at`."""
        start = 0
        if self._stop > n:
            start = self.cache.whole_sequences(int(np.random.default_rng(at).integers(self._stop - n)))
        stop = min(start + n, self._stop)
        origins = (torch.from_numpy(part.astype(np.int64)) for part in self.cache.tokens(start, stop))
        rows = {hook: torch.from_numpy(self.cache.read(hook, start, stop)) for hook in self.hooks}
        return Sample(rows, *origins)

    def held_out_text(self, n_tokens: int) -> tuple[LanguageModel, list[Tensor]] | None:
        """The model and the first held-out sequences, where both model and tokens were given."""
        if self._model is None or self._tokens is None or self._stop >= self.cache.n_tokens:
            return None
        stop = min(self._stop + 4 * n_tokens, self.cache.n_tokens)
        numbers = np.asarray(self.cache.tokens(self._stop, stop).sequence, np.int64)
        found = sequences_up_to(self._tokens, np.array(list(dict.fromkeys(numbers.tolist()))), n_tokens)
        return (self._model, found) if found else None

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
