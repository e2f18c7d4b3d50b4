"""Activation caches by key: harvest once, find it again, and keep the folder of caches within a limit.

A cache's key says what its activations depend on: the model by its fingerprint (weights, configuration, precision:
a revision or a fine-tuning is another model), the tokens by their content, the hook points, the harvest's settings
and the stored precision. A folder of caches holds one folder for each, named by a digest of its key, and beside it a
lock file whose time says when it was last used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mistudio.engine.errors import CacheRefused
from mistudio.engine.filling import fill_cache
from mistudio.engine.harvest_settings import HarvestSettings
from mistudio.engine.runs import SettingsRefused
from mistudio.engine.sequences import CONTEXT, Tokens, TokenSequences, as_sequences, begins_with_bos
from mistudio.engine.sizes import ORIGIN_BYTES
from mistudio.engine.spreading import follow
from mistudio.sae.distributed import ALONE, Ranks
from mistudio.store import (
    ActivationCache,
    ActivationCacheWriter,
    FolderLock,
    Precision,
    TornFile,
    folder_bytes,
    is_finished,
    row_bytes,
    sweep_temporaries,
    writable_folder,
)
from mistudio.store.atomic import PART, part_name

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

_log = logging.getLogger(__name__)
_SAID = {
    "model": "the model",
    "tokens": "the tokens",
    "hooks": "the hook points",
    "settings": "the harvest's settings",
    "dtype": "the stored precision",
}

Key = dict[str, Any]
"""What a cache's activations depend on, as JSON can hold it: model, tokens, hooks, settings, dtype."""


def cache_key(
    model: LanguageModel,
    sequences: TokenSequences,
    hooks: Sequence[str],
    settings: HarvestSettings,
    dtype: str = "float16",
) -> Key:
    """The key of the cache that a harvest with these arguments fills. Raises HookNotFound."""
    wanted = settings.model_dump()
    if (
        settings.outlier_multiple is None
    ):  # outliers are judged within a batch; otherwise it is a matter of speed
        del wanted["batch_sequences"]
    if settings.order == "sequential":
        del wanted["seed"]
    points = [model.hook_point(hook) for hook in hooks]
    return {
        "model": model.fingerprint,
        "tokens": sequences.digest,
        "hooks": {point.name: point.d for point in points},
        "settings": wanted,
        "dtype": dtype,
    }


def key_digest(key: Key) -> str:
    """The name of the cache's folder: 24 hexadecimal digits."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def check_key(cache: ActivationCache, key: Key) -> None:
    """Raises CacheRefused naming all that differs when a cache was not filled with `key`.

    It may hold more hook points.
    """
    theirs: Key = cache.meta.get("key") or {}
    wrong = [_SAID[part] for part in _SAID if part != "hooks" and theirs.get(part) != key[part]]
    if any(cache.hooks.get(hook) != d for hook, d in key["hooks"].items()):
        wrong.append(_SAID["hooks"])
    if wrong:
        raise CacheRefused(
            f"The activation cache {cache.folder.name} was filled with other inputs: {_listed(wrong)} "
            f"{'differ' if len(wrong) > 1 or wrong[0].endswith('s') else 'differs'}.",
            "Harvest again, or use what it was filled with.",
        )


def find_cache(folder: str | Path, key: Key) -> ActivationCache | None:
    """A finished cache in `folder` that serves `key`: filled with it, or with it and more hook points.

    It cannot be evicted while the returned object lives. None when there is none, or only damaged ones.
    """
    folder = Path(folder)
    exact = folder / key_digest(key)
    others = sorted(path.parent for path in folder.glob("*/head.json") if path.parent != exact)
    for path in (exact, *others):
        if not is_finished(path) or path.name.startswith(PART):
            continue
        lock = FolderLock(path)
        if not lock.take(alone=False):
            continue  # being evicted
        try:
            cache = ActivationCache(path, lock)
            check_key(cache, key)
        except (TornFile, CacheRefused):
            lock.close()
            continue
        return cache
    return None


def harvest(
    model: LanguageModel,
    tokens: Tokens,
    hooks: Sequence[str] | str,
    folder: str | Path,
    n_tokens: int | None = None,
    *,
    dtype: Precision = "float16",
    settings: HarvestSettings | None = None,
    context: int = CONTEXT,
    limit_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    shard_bytes: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
) -> ActivationCache:
    """Activations of `model` at `hooks` on `tokens`, from the cache in `folder` that holds them or harvested into one.

    tokens: texts (a list, or anything that gives texts: no more are read than needed), lists of token ids, a tensor
        `[n, context]`, a `store.TokenStore` or a `Mixture`. Texts are packed into `context` tokens: see `pack_texts`.
    hooks: one or several hook points, of any layers and kinds; one pass of the model fills all, with aligned rows.
    folder: where caches are kept; each gets a folder of its own in it.
    n_tokens: activations to keep, at most; default all. Left out by default: padding and special tokens (`settings`).
    dtype: float32, bfloat16, float16, or int8 (one scale for 64 neighbours); `cache.error[hook]` says what it cost.
    limit_bytes: before harvesting, caches of `folder` that were not used for the longest time are deleted until the new
        one fits into this many bytes with the rest; one that is in use is never deleted.
    progress: called with tokens done and to be done.
    metadata: what SAEs trained on the cache shall say of their origin, in SAELens' keys (`dataset_path`, …).
    ranks: the processes that read together (`engine.distributed`): all make this call, and the first writes.

    The cache stays usable, and is not evicted, while the returned object lives. A harvest that was killed is resumed at
    its last whole shard; of two that run at once with the same key, one waits for the other.
    Raises HookNotFound, TokensUnfit, TokensRefused, ActivationsRefused (NaN or infinite, named by place), CacheRefused
    (`limit_bytes` is too small), SettingsRefused, `NotStorable`, `NotWritable`, `DiskFull`.
    """
    if dtype not in get_args(Precision):
        raise SettingsRefused(
            f"“{dtype}” is no precision for activations.", f"There are {', '.join(get_args(Precision))}."
        )
    if not hooks:
        raise SettingsRefused("There is nothing to harvest: no hook points were given.")
    settings = settings or HarvestSettings()
    if n_tokens is not None:
        settings = HarvestSettings.model_validate({**settings.model_dump(), "n_tokens": n_tokens})
    sequences = as_sequences(tokens, model, context=context, n_tokens=settings.n_tokens)
    key = cache_key(model, sequences, [hooks] if isinstance(hooks, str) else hooks, settings, dtype)
    if ranks.rank:
        follow(model, sequences, list(key["hooks"]), settings, ranks)
        if (found := find_cache(folder, key)) is not None:
            return found
        raise CacheRefused("The first rank has left no cache.", "What it raised says why.")
    meta = cache_meta(model, sequences, settings, key, metadata)
    try:
        return _filled(
            model, sequences, settings, folder, key, meta, limit_bytes, progress, shard_bytes, ranks
        )
    finally:
        ranks.of_first(None)  # the others have nothing more to read


def _filled(
    model: LanguageModel,
    sequences: TokenSequences,
    settings: HarvestSettings,
    folder: str | Path,
    key: Key,
    meta: Mapping[str, Any],
    limit_bytes: int | None,
    progress: Callable[[int, int], None] | None,
    shard_bytes: int | None,
    ranks: Ranks,
) -> ActivationCache:
    """The cache of this key, harvested where it is not there yet."""
    if (found := find_cache(folder, key)) is not None:
        return found
    path = writable_folder(folder) / key_digest(key)
    lock = FolderLock(path)
    try:
        if not lock.take(alone=True):
            _log.warning("%s is being written or used elsewhere: waiting for it.", path)
            lock.take(alone=True, wait=lambda: None)
        if (found := _opened(path, lock)) is not None:  # the one that was waited for has filled it
            return found
        if limit_bytes is not None:
            make_room(folder, forecast_bytes(key, sequences), limit_bytes, path)
        fill_cache(
            model,
            sequences,
            key["hooks"],
            settings,
            path,
            dtype=key["dtype"],
            meta=meta,
            progress=progress or (lambda _done, _total: None),
            shard_bytes=shard_bytes,
            ranks=ranks,
        )
        lock.take(alone=False)
        return ActivationCache(path, lock)
    except BaseException:
        lock.close()  # not when the error is forgotten: a notebook keeps the last one
        raise


def cache_meta(
    model: LanguageModel,
    sequences: TokenSequences,
    settings: HarvestSettings,
    key: Key,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a cache says of itself: its key, and its origin in SAELens' keys (`metadata` over our own)."""
    return {
        "key": key,
        "model": model.source,
        "settings": settings.model_dump(),
        "sae_metadata": {
            "model_name": model.source,
            "context_size": sequences.context,
            "prepend_bos": begins_with_bos(sequences),
            "exclude_special_tokens": settings.skip_special_tokens,
            **(metadata or {}),
        },
    }


def _opened(path: Path, lock: FolderLock) -> ActivationCache | None:
    """The finished cache at `path`, whose lock is held alone; a damaged one is removed."""
    if not path.exists():
        return None
    try:
        if is_finished(path):
            cache = ActivationCache(path, lock)
            lock.take(alone=False)
            return cache
        sweep_temporaries(path)
        if any(path.glob("shard-*")):
            ActivationCacheWriter.resume(path)  # to find a damaged shard now rather than below
    except TornFile:
        _remove(path)
    return None


def forecast_bytes(key: Key, sequences: TokenSequences) -> int:
    """Bytes that the cache of this key takes at most."""
    rows = min(sequences.n_tokens, key["settings"]["n_tokens"] or sequences.n_tokens)
    return rows * (sum(row_bytes(key["dtype"], d) for d in key["hooks"].values()) + ORIGIN_BYTES)


def make_room(folder: str | Path, wanted: int, limit_bytes: int, for_: Path | None = None) -> list[Path]:
    """Evict caches until `wanted` more bytes fit into `limit_bytes`; what `for_` has already counts for it.

    Returns what was removed. Raises CacheRefused when they cannot fit.
    """
    if wanted > limit_bytes:
        raise CacheRefused(
            f"The cache would take {wanted:,} bytes, and the limit for all caches is {limit_bytes:,}.",
            "Keep fewer tokens or hook points, store them as int8, or raise the limit.",
        )
    have = folder_bytes(for_) if for_ is not None else 0
    removed = evict(folder, limit_bytes - wanted + have)
    left = folder_bytes(folder)
    if left - have + wanted > limit_bytes:
        raise CacheRefused(
            f"The cache would take {wanted:,} bytes, and {left - have:,} of the limit of {limit_bytes:,} are held by "
            "caches in use.",
            "Wait until they are no longer used, or raise the limit.",
        )
    return removed


def evict(folder: str | Path, limit_bytes: int) -> list[Path]:
    """Remove the caches of `folder` that were not used for the longest time until the rest takes at most `limit_bytes`.

    Finished and unfinished ones count alike; one that is in use, here or in another process, stays. Returns what was
    removed.
    """
    folder = Path(folder)
    sweep_temporaries(folder)
    caches = [path.parent for path in folder.glob("*/head.json")]
    sizes = {path: folder_bytes(path) for path in caches}
    total = sum(sizes.values())
    removed: list[Path] = []
    for path in sorted(caches, key=_last_used):
        if total <= limit_bytes:
            break
        with FolderLock(path) as lock:
            if lock.take(alone=True):
                _remove(path)
                lock.remove()
                removed.append(path)
                total -= sizes[path]
    return removed


def _last_used(path: Path) -> float:
    lock = FolderLock(path).path
    return (lock if lock.exists() else path).stat().st_mtime


def _remove(path: Path) -> None:
    """Remove a folder whose lock is held alone: gone at once, whatever happens while its files are unlinked."""
    grave = part_name(path)
    path.rename(grave)
    shutil.rmtree(grave, ignore_errors=True)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
