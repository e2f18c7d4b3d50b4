"""Where a training's activations come from: an activation cache, or the model running alongside.

Needs PyTorch: import it only in jobs.
"""

from __future__ import annotations

from mistudio.activations.caches import ready_cache
from mistudio.activations.harvesting import open_cache
from mistudio.activations.schemas import HarvestSettings
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenize import open_tokens
from mistudio.engine.sources import ActivationSource, CacheSource, ModelSource
from mistudio.jobs import JobContext
from mistudio.models.library import open_model
from mistudio.models.tables import Model
from mistudio.training.tables import Training


def open_source(context: JobContext, training: Training) -> ActivationSource:
    """The activations of this training: its held-out ones are never in a batch."""
    with context.database.reading() as session:
        model = session.get_one(Model, training.model_id)
        tokenization = session.get_one(Tokenization, training.tokenization_id)
        dataset = session.get_one(Dataset, tokenization.dataset_id)
        cache = ready_cache(session, training.cache_id) if training.cache_id else None
    tokens = open_tokens(context.settings, tokenization)
    harvest = HarvestSettings.model_validate(training.harvest)
    metadata = {
        "model_name": model.name,
        "context_size": tokens.context,
        "prepend_bos": tokens.bos_id is not None,
        "dataset_path": dataset.name,
        "exclude_special_tokens": harvest.skip_special_tokens,
    }
    held_out = training.held_out_tokens
    if cache is not None:
        found = open_cache(context.settings, cache)
        return CacheSource(found, [training.hook], held_out_tokens=held_out, metadata=metadata)
    context.progress(0, None, "tokens", stage="Load the model")
    return ModelSource(
        open_model(context.settings, model, device=context.device),
        tokens,
        [training.hook],
        settings=harvest.model_copy(update={"n_tokens": None}),
        held_out_tokens=held_out,
        metadata=metadata,
    )
