"""What the job `activations.harvest` does."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mistudio.activations.caches import get_cache
from mistudio.activations.harvesting import HarvestCounts, cache_folder, open_cache, stream_activations
from mistudio.activations.schemas import CacheStatistics, HarvestParams, HarvestSettings, HookStatistics
from mistudio.activations.tables import ActivationCache as CacheRow
from mistudio.datasets.tokenize import open_tokens
from mistudio.errors import StudioError
from mistudio.jobs import JobCancelled, JobContext
from mistudio.models.library import open_model
from mistudio.models.subjects import announce_changed, working_for
from mistudio.store import (
    ActivationCacheWriter,
    Precision,
    TokenStore,
    delete_folder,
    folder_bytes,
    is_finished,
)

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
        except (StudioError, JobCancelled):
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
    Raises StudioError `no_activations` when every token is left out, ValueError when the model overflows.
    """
    widths = {hook: model.hook_point(hook).d for hook in hooks}
    if any(folder.glob("shard-*")):
        writer = ActivationCacheWriter.resume(folder)
    else:
        per_token = sum(widths.values()) * (4 if dtype == "float32" else 2)
        writer = ActivationCacheWriter(
            folder,
            widths,
            cast(Precision, dtype),
            shard_tokens=max(4096, SHARD_BYTES // per_token),
            meta={**(meta or {}), **settings.model_dump()},
        )
    sums = _Sums(writer.state["sums"] if writer.state else None)
    start = int(writer.state["group"]) if writer.state else 0
    limit = settings.n_tokens or tokens.n_tokens
    began = time.monotonic()
    try:
        progress(writer.n_tokens if settings.n_tokens else sums.counts.seen, limit)
        for chunk in stream_activations(model, tokens, hooks, settings, start_group=start):
            n = min(len(chunk.tokens), limit - writer.n_tokens)
            kept = {hook: values[:n] for hook, values in chunk.activations.items()}
            sums.add(kept, chunk.counts, n, time.monotonic() - began)
            began = time.monotonic()
            writer.append(
                {hook: values.cpu().numpy() for hook, values in kept.items()},
                chunk.sequences[:n].numpy(),
                chunk.positions[:n].numpy(),
                chunk.tokens[:n].numpy(),
                {"group": chunk.next_group, "sums": sums.state()},
            )
            # Left-out tokens count as done: without a limit the bar would end short of its end otherwise.
            progress(min(limit, writer.n_tokens if settings.n_tokens else sums.counts.seen), limit)
            if writer.n_tokens >= limit:
                break
    except BaseException:
        writer.suspend()
        raise
    if writer.n_tokens == 0:
        writer.suspend()
        raise StudioError(
            "no_activations",
            "Every token was left out: the tokenization holds special tokens only.",
            hint="Turn skip_special_tokens off, or tokenize again.",
        )
    return sums.statistics(list(hooks), writer.finish().n_tokens)


class _Sums:
    """Running sums over the kept activations, small enough to be stored with each shard."""

    def __init__(self, state: dict[str, Any] | None) -> None:
        self.counts = HarvestCounts(**state["counts"]) if state else HarvestCounts()
        self.seconds: float = state["seconds"] if state else 0.0
        self.hooks: dict[str, list[float]] = state["hooks"] if state else {}

    def add(self, kept: dict[str, Any], counts: HarvestCounts, n: int, seconds: float) -> None:
        for name in ("seen", "special", "padding", "outlier"):
            setattr(self.counts, name, getattr(self.counts, name) + getattr(counts, name))
        self.counts.kept += n
        self.seconds += seconds
        for hook, values in kept.items():
            norms = values.norm(dim=1).double()
            sums = self.hooks.setdefault(hook, [0.0, 0.0, 0.0, float(values.shape[1])])
            sums[0] += float(norms.sum())
            sums[1] = max(sums[1], float(norms.max())) if len(norms) else sums[1]
            sums[2] += float((norms**2).sum())

    def state(self) -> dict[str, Any]:
        return {
            "counts": dict(vars(self.counts)),
            "seconds": self.seconds,
            "hooks": {hook: list(sums) for hook, sums in self.hooks.items()},
        }

    def statistics(self, hooks: list[str], n: int) -> CacheStatistics:
        found = {
            hook: HookStatistics(mean_norm=total / n, max_norm=largest, rms=math.sqrt(squares / (n * width)))
            for hook, (total, largest, squares, width) in ((hook, self.hooks[hook]) for hook in hooks)
        }
        return CacheStatistics(
            tokens_seen=self.counts.seen,
            tokens_special=self.counts.special,
            tokens_padding=self.counts.padding,
            tokens_outlier=self.counts.outlier,
            seconds=self.seconds,
            hooks=found,
        )
