"""What the job `activations.harvest` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistudio.activations.caches import get_cache
from mistudio.activations.harvesting import cache_folder, open_cache
from mistudio.activations.schemas import CacheStatistics, HarvestParams, HarvestSettings
from mistudio.activations.tables import ActivationCache as CacheRow
from mistudio.datasets.tokenize import open_tokens
from mistudio.engine.caching import cache_key, cache_meta
from mistudio.engine.errors import EngineError
from mistudio.engine.filling import fill_cache
from mistudio.errors import StudioError
from mistudio.jobs import JobCancelled, JobContext
from mistudio.models.library import open_model
from mistudio.models.subjects import announce_changed, working_for
from mistudio.store import TokenStore, delete_folder, folder_bytes, is_finished

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

SHARD_BYTES = 128 << 20


def harvest_activations(context: JobContext, params: HarvestParams) -> dict[str, Any]:
    """Fill the cache, going on at the last finished shard of an attempt that was killed."""
    with context.database.reading() as session:
        row = get_cache(session, params.cache_id)
        settings = HarvestSettings.model_validate(row.settings)
        hooks, dtype = list(row.hooks), row.dtype
        model_id, model_name, tokenization_id = row.model_id, row.model_name, row.tokenization_id
    folder = cache_folder(context.settings, params.cache_id)
    with working_for(context, CacheRow, params.cache_id, folder):
        if is_finished(folder):  # by an attempt that died between its last two steps
            delete_folder(context.data_dir, folder)
        context.progress(0, None, "tokens", "Load the model")
        model = open_model(context.settings, model_id, device=context.device)
        tokens = open_tokens(context.settings, tokenization_id)
        meta = {"model": model_name, "model_id": model_id, "tokenization_id": tokenization_id}
        try:
            statistics = harvest_to_cache(
                model,
                tokens,
                hooks,
                settings,
                folder,
                dtype=dtype,
                meta=meta,
                progress=lambda done, total: context.progress(done, total, "tokens", "Harvest"),
            )
        except (StudioError, EngineError, JobCancelled):
            delete_folder(context.data_dir, folder)
            raise
        n_tokens, size = open_cache(context.settings, params.cache_id).n_tokens, folder_bytes(folder)
        with context.database.session() as session:
            row = get_cache(session, params.cache_id)
            row.n_tokens, row.bytes, row.statistics = n_tokens, size, statistics.model_dump()
    announce_changed(context, "activation_caches", params.cache_id)
    return {"tokens": n_tokens, "bytes": size}


def harvest_to_cache(
    model: LanguageModel,
    tokens: TokenStore,
    hooks: Sequence[str],
    settings: HarvestSettings,
    folder: Path,
    *,
    dtype: str = "float16",
    meta: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> CacheStatistics:
    """Fill a cache at `folder`, going on where an earlier call was killed. Returns what was counted.

    `progress(done, total)` counts tokens; what it raises leaves the finished part for resuming.
    Raises ActivationsRefused when every token is left out or the model overflows.
    """
    widths = {hook: model.hook_point(hook).d for hook in hooks}
    key = cache_key(model, tokens, hooks, settings, dtype)
    found = fill_cache(
        model,
        tokens,
        widths,
        settings,
        folder,
        dtype=dtype,
        meta={**cache_meta(model, tokens, settings, key), **(meta or {})},
        progress=progress,
        shard_bytes=SHARD_BYTES,
    )
    return CacheStatistics.model_validate(asdict(found))
