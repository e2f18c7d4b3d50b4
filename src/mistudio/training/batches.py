"""Where a training's batches come from: an activation cache, or the model running alongside.

Both give a fixed order that depends on the settings alone, and say with each batch where to go on after it, so that a
resumed training sees exactly what an unbroken one would have seen. Needs PyTorch: import it only in jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor

from mistudio.activations.caches import ready_cache
from mistudio.activations.harvesting import open_cache
from mistudio.activations.schemas import HarvestSettings
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenize import open_tokens
from mistudio.engine.sources import ActivationSource, CacheSource, ModelSource
from mistudio.jobs import JobContext
from mistudio.models.library import open_model
from mistudio.models.tables import Model
from mistudio.sae.config import TrainerConfig
from mistudio.training.tables import Training


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
        found = open_cache(context.settings, cache)
        source: ActivationSource = CacheSource(
            found, [training.hook], held_out_tokens=training.held_out_tokens, metadata=metadata
        )
    else:
        context.progress(0, None, "tokens", stage="Load the model")
        source = ModelSource(
            open_model(context.settings, model, device=context.device),
            tokens,
            [training.hook],
            settings=harvest.model_copy(update={"n_tokens": None}),
            held_out_tokens=training.held_out_tokens,
            metadata=metadata,
        )
    return _OneHook(source, training.hook, config, position)


class _OneHook:
    """A source of activations of one hook point, as a training of one SAE reads it."""

    def __init__(
        self, source: ActivationSource, hook: str, config: TrainerConfig, position: dict[str, Any]
    ) -> None:
        self._source, self._hook, self._config, self._position = source, hook, config, position

    def stream(self, context: JobContext) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for batch in self._source.batches(self._config.batch_size, self._config.seed, self._position):
            yield batch.activations[self._hook], batch.position

    def held_out(self, context: JobContext) -> Tensor | None:
        found = self._source.held_out()
        return None if found is None else found[self._hook]

    def sae_metadata(self) -> dict[str, Any]:
        return self._source.metadata(self._hook)
