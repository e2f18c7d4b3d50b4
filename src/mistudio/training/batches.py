"""Where a sweep's activations come from: an activation cache, or the model running alongside.

Needs PyTorch: import it only in jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mistudio.activations.caches import ready_cache
from mistudio.activations.harvesting import open_cache
from mistudio.activations.schemas import HarvestSettings
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenize import open_tokens
from mistudio.db import Database
from mistudio.engine.mixture import Mixture
from mistudio.engine.sources import ActivationSource, CacheSource, ModelSource
from mistudio.jobs import JobContext
from mistudio.models.library import open_model
from mistudio.models.tables import Model
from mistudio.settings import Settings
from mistudio.training.views import get_sweep


def open_source(context: JobContext, sweep_id: str) -> ActivationSource:
    """The activations of this sweep, for every hook point in it: its held-out ones are never in a batch."""
    with context.database.reading() as session:
        sweep = get_sweep(session, sweep_id)
        members = list(sweep.trainings)
    harvest = HarvestSettings.model_validate(sweep.harvest)
    hooks = [training.hook for training in members]
    if harvest.outlier_multiple is not None:
        # a token that is an outlier at one hook point is left out at all, even where nothing is trained there any more
        hooks = [*sweep.stream.get("hooks", []), *hooks]
    return open_activations(
        context.settings,
        context.database,
        weights={source.tokenization_id: source.weight for source in sweep.sources},
        hooks=list(dict.fromkeys(hooks)),
        cache_id=sweep.cache_id,
        harvest=harvest,
        held_out_tokens=sweep.held_out_tokens,
        device=context.device,
        spliced=any(training.config.get("evaluate_every") for training in members),
        before_loading=lambda: context.progress(0, None, "tokens", stage="Load the model"),
    )


def open_activations(
    settings: Settings,
    database: Database,
    *,
    weights: Mapping[str, float],
    hooks: Sequence[str],
    cache_id: str | None,
    harvest: HarvestSettings,
    held_out_tokens: int,
    device: str | None = None,
    spliced: bool = False,
    before_loading: Callable[[], None] = lambda: None,
) -> ActivationSource:
    """Activations of the application's tokenizations (id: weight), from its cache or from their model.

    spliced: whether dictionaries are to be spliced into the model, so that it is needed with a cache too.
    """
    with database.reading() as session:
        tokenizations = [session.get_one(Tokenization, id) for id in weights]
        model = session.get_one(Model, tokenizations[0].model_id)
        names = [session.get_one(Dataset, one.dataset_id).name for one in tokenizations]
        cache = ready_cache(session, cache_id) if cache_id else None
    stores = {one.id: open_tokens(settings, one) for one in tokenizations}
    tokens = next(iter(stores.values()))
    if len(stores) > 1:
        tokens = Mixture({id: (store, weights[id]) for id, store in stores.items()})
    metadata = {
        "model_name": model.name,
        "context_size": tokens.context,
        "prepend_bos": tokens.bos_id is not None,
        "dataset_path": ", ".join(dict.fromkeys(names)),
        "exclude_special_tokens": harvest.skip_special_tokens,
    }
    if cache is not None:
        found, loaded = open_cache(settings, cache), None
        if spliced:
            before_loading()
            loaded = open_model(settings, model, device=device)
        return CacheSource(
            found, hooks, held_out_tokens=held_out_tokens, model=loaded, tokens=tokens, metadata=metadata
        )
    before_loading()
    return ModelSource(
        open_model(settings, model, device=device),
        tokens,
        hooks,
        settings=harvest.model_copy(update={"n_tokens": None}),
        held_out_tokens=held_out_tokens,
        metadata=metadata,
    )
