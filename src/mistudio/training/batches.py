"""Where a sweep's activations come from: an activation cache, or the model running alongside.

Needs PyTorch: import it only in jobs.
"""

from __future__ import annotations

from mistudio.activations.caches import ready_cache
from mistudio.activations.harvesting import open_cache
from mistudio.activations.schemas import HarvestSettings
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenize import open_tokens
from mistudio.engine.mixture import Mixture
from mistudio.engine.sources import ActivationSource, CacheSource, ModelSource
from mistudio.jobs import JobContext
from mistudio.models.library import open_model
from mistudio.models.tables import Model
from mistudio.training.views import get_sweep


def open_source(context: JobContext, sweep_id: str) -> ActivationSource:
    """The activations of this sweep, for every hook point in it: its held-out ones are never in a batch."""
    with context.database.reading() as session:
        sweep = get_sweep(session, sweep_id)
        hooks = list(dict.fromkeys(training.hook for training in sweep.trainings))
        model = session.get_one(Model, sweep.model_id)
        weights = {source.tokenization_id: source.weight for source in sweep.sources}
        tokenizations = [session.get_one(Tokenization, id) for id in weights]
        names = [session.get_one(Dataset, one.dataset_id).name for one in tokenizations]
        cache = ready_cache(session, sweep.cache_id) if sweep.cache_id else None
    stores = {one.id: open_tokens(context.settings, one) for one in tokenizations}
    tokens = next(iter(stores.values()))
    if len(stores) > 1:
        tokens = Mixture({id: (store, weights[id]) for id, store in stores.items()})
    harvest = HarvestSettings.model_validate(sweep.harvest)
    metadata = {
        "model_name": model.name,
        "context_size": tokens.context,
        "prepend_bos": tokens.bos_id is not None,
        "dataset_path": ", ".join(dict.fromkeys(names)),
        "exclude_special_tokens": harvest.skip_special_tokens,
    }
    held_out = sweep.held_out_tokens
    if cache is not None:
        found, spliced = open_cache(context.settings, cache), None
        if any(training.config.get("evaluate_every") for training in sweep.trainings):
            context.progress(0, None, "tokens", stage="Load the model")
            spliced = open_model(context.settings, model, device=context.device)
        return CacheSource(
            found, hooks, held_out_tokens=held_out, model=spliced, tokens=tokens, metadata=metadata
        )
    context.progress(0, None, "tokens", stage="Load the model")
    return ModelSource(
        open_model(context.settings, model, device=context.device),
        tokens,
        hooks,
        settings=harvest.model_copy(update={"n_tokens": None}),
        held_out_tokens=held_out,
        metadata=metadata,
    )
