"""Where a training's batches come from: an activation cache, or the model running alongside.

Both give a fixed order that depends on the settings alone, and say with each batch where to go on after it, so that a
resumed training sees exactly what an unbroken one would have seen. Needs PyTorch: import it only in jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mistudio.activations.caches import ready_cache
from mistudio.activations.harvesting import harvest_sequences, open_cache, stream_activations
from mistudio.activations.schemas import HarvestSettings
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenize import open_tokens
from mistudio.jobs import JobContext
from mistudio.models.library import open_model
from mistudio.models.tables import Model
from mistudio.sae.config import TrainerConfig
from mistudio.training.tables import Training

POOL_TOKENS = 65_536
"""Tokens that are mixed at a time when the model runs alongside; they come from random sequences of the whole text."""


class Batches(Protocol):
    """A resumable stream of activations `[n, d_in]` float32, n ≤ batch_size."""

    def stream(self, context: JobContext) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Batches without end, each with the position (JSON) after it."""
        ...

    def held_out(self, context: JobContext) -> Tensor | None:
        """The activations `[m, d_in]` that are never trained on; None when nothing is held out."""
        ...

    def sae_metadata(self) -> dict[str, Any]:
        """What an exported SAE says of its origin, in SAELens' keys."""
        ...


def open_batches(
    context: JobContext, training: Training, config: TrainerConfig, position: dict[str, Any]
) -> Batches:
    """The batches of this training, from `position` on (empty: from the start)."""
    with context.database.reading() as session:
        model = session.get_one(Model, training.model_id)
        tokenization = session.get_one(Tokenization, training.tokenization_id)
        dataset = session.get_one(Dataset, tokenization.dataset_id)
        cache = ready_cache(session, training.cache_id) if training.cache_id else None
    tokens = open_tokens(context.settings, tokenization)
    harvest = HarvestSettings.model_validate(training.harvest)
    metadata = {
        "model_name": model.name,
        "hook_name": training.hook,
        "hook_head_index": None,
        "context_size": tokens.context,
        "prepend_bos": tokens.bos_id is not None,
        "dataset_path": dataset.name,
        "exclude_special_tokens": harvest.skip_special_tokens,
        "seed": config.seed,
    }
    if cache is not None:
        return _FromCache(context, open_cache(context.settings, cache), training, config, position, metadata)
    return _FromModel(context, model, tokens, harvest, training, config, position, metadata)


class _FromCache:
    def __init__(
        self,
        context: JobContext,
        cache: Any,
        training: Training,
        config: TrainerConfig,
        position: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        self._cache, self._hook, self._metadata = cache, training.hook, metadata
        self._stop = cache.n_tokens - training.held_out_tokens
        self._batches = cache.shuffled_batches(
            training.hook,
            config.batch_size,
            config.seed,
            epochs=None,
            start_batch=int(position.get("batch", 0)),
            stop=self._stop,
        )

    def stream(self, context: JobContext) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for batch in self._batches:
            yield torch.from_numpy(batch), {"batch": self._batches.batch}

    def held_out(self, context: JobContext) -> Tensor | None:
        if self._stop >= self._cache.n_tokens:
            return None
        return torch.from_numpy(self._cache.read(self._hook, self._stop, self._cache.n_tokens))

    def sae_metadata(self) -> dict[str, Any]:
        return self._metadata


class _FromModel:
    """Runs the model over the text, epoch after epoch, in pools of `POOL_TOKENS` that are shuffled in memory."""

    def __init__(
        self,
        context: JobContext,
        model: Model,
        tokens: Any,
        harvest: HarvestSettings,
        training: Training,
        config: TrainerConfig,
        position: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        context.progress(0, None, "tokens", stage="Load the model")
        self._model = open_model(context.settings, model, device=context.device)
        self._tokens, self._harvest, self._hook = tokens, harvest, training.hook
        self._seed, self._batch_size = config.seed, config.batch_size
        self._metadata = metadata
        self._epoch = int(position.get("epoch", 0))
        self._group = int(position.get("group", 0))
        self._skip = int(position.get("batch", 0))
        # Held-out sequences are chosen once, whatever order an epoch has.
        wanted = -(-training.held_out_tokens // tokens.context)
        choice = np.random.default_rng([self._seed, 0x48454C44]).permutation(tokens.n_sequences)
        self._held_out = np.sort(choice[:wanted])

    def stream(self, context: JobContext) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        while True:
            for rows, group, next_group in self._pools():
                generator = np.random.default_rng([self._seed, self._epoch, group])
                order = torch.from_numpy(generator.permutation(len(rows)))
                # Batches of equal size: a small last one would make a noisy step.
                pieces = order.tensor_split(-(-len(rows) // self._batch_size))
                for number in range(self._skip, len(pieces)):
                    last = number + 1 == len(pieces)
                    position = {
                        "epoch": self._epoch,
                        "group": next_group if last else group,
                        "batch": 0 if last else number + 1,
                    }
                    yield rows[pieces[number]], position
                self._skip = 0
            self._epoch += 1
            self._group = 0

    def _pools(self) -> Iterator[tuple[Tensor, int, int]]:
        """Rows `[n, d_in]` of one epoch with the group that each pool begins at and the one after it."""
        parts: list[Tensor] = []
        first, size = self._group, 0
        following = first
        for chunk in stream_activations(
            self._model,
            self._tokens,
            [self._hook],
            self._harvest,
            start_group=self._group,
            epoch=self._epoch,
            exclude=self._held_out,
        ):
            parts.append(chunk.activations[self._hook])
            size += len(parts[-1])
            following = chunk.next_group
            if size >= POOL_TOKENS:
                yield torch.cat(parts), first, following
                parts, size, first = [], 0, following
        if size:
            yield torch.cat(parts), first, following

    def held_out(self, context: JobContext) -> Tensor | None:
        if not len(self._held_out):
            return None
        found = harvest_sequences(self._model, self._tokens, [self._hook], self._harvest, self._held_out)
        return found.activations[self._hook].cpu()

    def sae_metadata(self) -> dict[str, Any]:
        return self._metadata
