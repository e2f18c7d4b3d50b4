"""What the web may ask about activation caches."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mistudio.activations import caches
from mistudio.activations.schemas import (
    ActivationMetricOut,
    CacheChange,
    CacheCreate,
    CacheForecastOut,
    CacheOut,
    DiskOut,
    HookExpansion,
    HookExpansionOut,
    HookReport,
)
from mistudio.activations.statistics import report_of
from mistudio.activations.tables import ActivationCache
from mistudio.engine.activation_metrics import ACTIVATION_METRICS
from mistudio.models.announce import announce
from mistudio.models.deletion import users_of
from mistudio.models.library import ready_model
from mistudio.models.schemas import UserOut
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, paginate, problems

router = APIRouter(prefix="/activations", tags=["activations"])


@router.get("", response_model=Page[CacheOut], summary="List activation caches", responses=problems(422))
def list_caches(
    session: ReadingDep,
    page: PageDep,
    model_id: Annotated[str | None, Query(description="Only those of this model.")] = None,
    tokenization_id: Annotated[str | None, Query(description="Only those of this tokenization.")] = None,
) -> Page[CacheOut]:
    """Caches with their latest job. `sort`: name, created_at, n_tokens, bytes, id."""
    sorts = {
        "name": ActivationCache.name,
        "created_at": ActivationCache.created_at,
        "n_tokens": ActivationCache.n_tokens,
        "bytes": ActivationCache.bytes,
        "id": ActivationCache.id,
    }
    found = paginate(
        session,
        caches.list_query(model_id, tokenization_id),
        page,
        sorts=sorts,
        default_sort="-created_at",
        search=[ActivationCache.name],
    )
    return Page(
        items=caches.caches_out(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


@router.post(
    "",
    response_model=CacheOut,
    status_code=202,
    summary="Harvest activations",
    responses=problems(400, 404, 409, 422, 507),
)
def create_cache(
    wanted: CacheCreate, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> CacheOut:
    """Run the tokenization's model over its tokens and keep what it computes. The answer's `job` does it."""
    cache, _ = caches.add_cache(session, settings, wanted)
    announce(session, studio.events, "activation_caches", cache.id, "created")
    return caches.caches_out(session, [cache])[0]


@router.post(
    "/forecast",
    response_model=CacheForecastOut,
    summary="Forecast a harvest",
    responses=problems(400, 404, 409, 422),
)
def forecast_cache(wanted: CacheCreate, session: ReadingDep, settings: SettingsDep) -> CacheForecastOut:
    """Bytes on disk, memory and time, before the start."""
    return caches.forecast(session, settings, wanted)


@router.post(
    "/hooks",
    response_model=HookExpansionOut,
    summary="Look up hook points",
    responses=problems(404, 409, 422),
)
def look_up_hooks(wanted: HookExpansion, session: ReadingDep) -> HookExpansionOut:
    """What names and patterns (`blocks.*/3.hook_resid_post`) mean in a model."""
    return caches.look_up_hooks(ready_model(session, wanted.model_id), wanted.hooks)


@router.get("/metrics", response_model=dict[str, ActivationMetricOut], summary="What the figures mean")
def list_metrics() -> dict[str, ActivationMetricOut]:
    """Title, formula and meaning of every figure about activations."""
    return {
        name: ActivationMetricOut(
            title=one.title, unit=one.unit, formula=one.formula, description=one.description
        )
        for name, one in ACTIVATION_METRICS.items()
    }


@router.get("/disk", response_model=DiskOut, summary="Disk that caches take")
def show_disk(session: ReadingDep, settings: SettingsDep) -> DiskOut:
    """All caches together."""
    return caches.disk_use(session, settings)


@router.get("/{cache_id}", response_model=CacheOut, summary="One activation cache", responses=problems(404))
def show_cache(cache_id: str, session: ReadingDep) -> CacheOut:
    """A cache with its conventions and statistics."""
    return caches.caches_out(session, [caches.get_cache(session, cache_id)])[0]


@router.patch(
    "/{cache_id}",
    response_model=CacheOut,
    summary="Rename an activation cache",
    responses=problems(404, 409, 422),
)
def change_cache(cache_id: str, change: CacheChange, session: SessionDep, studio: StudioDep) -> CacheOut:
    """Give it another name."""
    cache = caches.rename_cache(session, cache_id, change.name)
    announce(session, studio.events, "activation_caches", cache.id, "changed")
    return caches.caches_out(session, [cache])[0]


@router.get(
    "/{cache_id}/statistics",
    response_model=HookReport,
    summary="Statistics of one hook",
    responses=problems(404, 409, 422),
)
def show_statistics(
    cache_id: str,
    session: ReadingDep,
    settings: SettingsDep,
    hook: Annotated[str, Query(max_length=300, description="One of the cache's hook points.")],
) -> HookReport:
    """Figures and the data of the plots, counted while the activations were harvested."""
    return report_of(settings, caches.ready_cache(session, cache_id), hook)


@router.get(
    "/{cache_id}/users", response_model=list[UserOut], summary="What uses a cache", responses=problems(404)
)
def list_users(cache_id: str, session: ReadingDep) -> list[UserOut]:
    """Trainings that refer to it."""
    return users_of(session, "activation_caches", [caches.get_cache(session, cache_id).id])


@router.delete(
    "/{cache_id}", status_code=204, summary="Delete an activation cache", responses=problems(404, 409)
)
def delete_cache(
    cache_id: str,
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    force: Annotated[bool, Query(description="Even while trainings refer to it.")] = False,
) -> Response:
    """Frees its disk space. Cancels its harvest."""
    for table, id in caches.delete_cache(session, settings, cache_id, force=force):
        announce(session, studio.events, table, id, "deleted")
    return Response(status_code=204)
