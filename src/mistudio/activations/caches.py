"""Activation caches: forecast, add, list, delete."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, joinedload

from mistudio.activations.forecast import forecast_cache
from mistudio.activations.hook_patterns import expand_hooks
from mistudio.activations.schemas import (
    MOST_HOOKS,
    CacheCreate,
    CacheForecastOut,
    CacheOut,
    DiskOut,
    HarvestParams,
    HookExpansionOut,
)
from mistudio.activations.tables import ActivationCache
from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenizations import ready_tokenization
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobOut, latest_jobs, submit
from mistudio.models.deletion import delete_owner
from mistudio.models.library import ready_model
from mistudio.models.names import add_row, choose_name
from mistudio.models.tables import Model
from mistudio.settings import Settings
from mistudio.templates.library import use_template


def add_cache(session: Session, settings: Settings, wanted: CacheCreate) -> tuple[ActivationCache, Job]:
    """Note a cache and queue its harvest.

    Raises StudioError `hook_not_found`, `too_many_hooks`, `disk_full`; Conflict `tokenization_not_ready`,
    `name_taken`; NotFound for the template.
    """
    from mistudio.lm.hooks import depth_of

    if wanted.template_id is not None:
        use_template(session, wanted.template_id, "extraction")
    tokenization = ready_tokenization(session, wanted.tokenization_id)
    model = ready_model(session, tokenization.model_id)
    widths = hook_widths(model, wanted.hooks)
    expected = forecast_cache(session, settings, wanted, widths)
    if expected.bytes > expected.bytes_free:
        raise StudioError(
            "disk_full",
            f"The cache would take {expected.bytes:,} bytes and {expected.bytes_free:,} are free in the data folder.",
            hint="Keep fewer tokens, cache fewer hooks, or train without a cache.",
            status=507,
        )
    hooks = sorted(widths, key=depth_of)
    default = f"{model.name} · {hooks[0]}{f' and {len(hooks) - 1} more' if len(hooks) > 1 else ''}"
    cache = ActivationCache(
        name=choose_name(session, ActivationCache.name, wanted.name, default),
        model=model,
        tokenization=tokenization,
        hooks=hooks,
        dtype=wanted.dtype,
        settings=wanted.settings.model_dump(mode="json"),
    )
    add_row(session, cache)
    job = submit(
        session,
        "activations.harvest",
        subject=f"activation_caches/{cache.id}",
        title=f"Harvest {cache.name}",
        params=HarvestParams(cache_id=cache.id),
    )
    return cache, job


def look_up_hooks(model: Model, hooks: Sequence[str]) -> HookExpansionOut:
    """What names and patterns mean in a model, and which it has nothing for."""
    from mistudio.lm.errors import HookNotFound
    from mistudio.lm.hooks import parse_hook

    names = [str(point["name"]) for point in model.hook_points]
    found, missing = expand_hooks(hooks, names, model.n_layers or 0)
    known: list[str] = []
    for name in found:
        try:
            exists = name in names or parse_hook(name).kind == "module"
        except HookNotFound:
            exists = False
        (known if exists else missing).append(name)
    return HookExpansionOut(hooks=known, missing=missing)


def hook_widths(model: Model, hooks: Sequence[str]) -> dict[str, int]:
    """Each hook that the names and patterns mean, and the width of its activations.

    Raises StudioError `hook_not_found` saying which there are, `too_many_hooks`. Paths of modules that the model's row
    does not list are left to the job, which has the model: their width is taken for d_model.
    """
    from mistudio.lm.hooks import parse_hook

    known = {str(point["name"]): int(point["d"]) for point in model.hook_points}
    widths: dict[str, int] = {}
    expanded, nothing = expand_hooks(hooks, list(known), model.n_layers or 0)
    if len(expanded) > MOST_HOOKS:
        raise StudioError(
            "too_many_hooks",
            f"{len(expanded):,} hook points are more than {MOST_HOOKS:,}.",
            hint="Harvest some of them in another cache.",
            status=422,
            fields={"hooks": f"at most {MOST_HOOKS:,}"},
        )
    for hook in [*expanded, *nothing]:
        if hook in nothing:
            raise _no_hook(model, hook)
        parsed = parse_hook(hook)
        name = str(parsed)
        if parsed.kind != "module" and name not in known:
            raise _no_hook(model, hook)
        widths[name] = known.get(name, model.d_model or 0)
    return widths


def _no_hook(model: Model, hook: str) -> StudioError:
    from mistudio.lm.hooks import place_of

    kinds = sorted({str(point["kind"]) for point in model.hook_points})
    return StudioError(
        "hook_not_found",
        f"{model.name} has no hook point “{hook}”.",
        hint=f"It has blocks.0 to blocks.{(model.n_layers or 1) - 1}, each with "
        f"{', '.join(place_of(kind) for kind in kinds)}.",
        status=422,
        fields={"hooks": f"no hook point {hook}"},
    )


def forecast(session: Session, settings: Settings, wanted: CacheCreate) -> CacheForecastOut:
    """What a harvest would take. Raises StudioError `hook_not_found`, Conflict `tokenization_not_ready`."""
    tokenization = ready_tokenization(session, wanted.tokenization_id)
    widths = hook_widths(ready_model(session, tokenization.model_id), wanted.hooks)
    return forecast_cache(session, settings, wanted, widths)


def disk_use(session: Session, settings: Settings) -> DiskOut:
    """How many caches there are and what they take on the disk."""
    count, size = session.execute(select(func.count(), func.sum(ActivationCache.bytes))).one()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return DiskOut(caches=count, bytes=int(size or 0), bytes_free=shutil.disk_usage(settings.data_dir).free)


def rename_cache(session: Session, cache_id: str, name: str) -> ActivationCache:
    """Give a cache another name. Raises Conflict `name_taken`."""
    cache = get_cache(session, cache_id)
    cache.name = choose_name(session, ActivationCache.name, name, "", ActivationCache.id != cache.id)
    session.flush()
    return cache


def get_cache(session: Session, cache_id: str) -> ActivationCache:
    """The cache of this id. Raises NotFound."""
    found = session.scalar(list_query().where(ActivationCache.id == cache_id))
    if found is None:
        raise NotFound("activation_cache", cache_id)
    return found


def ready_cache(session: Session, cache_id: str) -> ActivationCache:
    """As `get_cache`, and its activations are there. Raises Conflict `cache_not_ready`."""
    cache = get_cache(session, cache_id)
    if not cache.ready:
        raise Conflict(
            "cache_not_ready",
            f"The activation cache “{cache.name}” is not complete.",
            hint="Wait for its job, or retry it if it failed.",
        )
    return cache


def list_query(model_id: str | None = None, tokenization_id: str | None = None) -> Select[Any]:
    """Caches, of one model or one tokenization if given, with what their names need."""
    query = select(ActivationCache).options(
        joinedload(ActivationCache.model),
        joinedload(ActivationCache.tokenization).joinedload(Tokenization.dataset),
    )
    if model_id is not None:
        query = query.where(ActivationCache.model_id == model_id)
    return (
        query if tokenization_id is None else query.where(ActivationCache.tokenization_id == tokenization_id)
    )


def caches_out(session: Session, caches: Sequence[ActivationCache]) -> list[CacheOut]:
    """Caches as they cross the API, each with its latest job."""
    jobs = latest_jobs(session, [f"activation_caches/{cache.id}" for cache in caches])
    found = [CacheOut.model_validate(cache) for cache in caches]
    for out in found:
        if job := jobs.get(f"activation_caches/{out.id}"):
            out.job = JobOut.model_validate(job)
    return found


def delete_cache(
    session: Session, settings: Settings, cache_id: str, *, force: bool = False
) -> list[tuple[str, str]]:
    """Delete a cache. Raises Conflict `in_use` while trainings refer to it; `force` leaves those without a cache."""
    cache = get_cache(session, cache_id)
    return delete_owner(session, settings, "activation_caches", cache.id, name=cache.name, force=force)
