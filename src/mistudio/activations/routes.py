"""What the web may ask about activation caches."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from mistudio.activations import caches
from mistudio.activations.schemas import CacheCreate, CacheForecastOut, CacheOut
from mistudio.activations.tables import ActivationCache
from mistudio.models.announce import announce
from mistudio.models.deletion import users_of
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
    return caches.forecast_cache(session, settings, wanted)


@router.get("/{cache_id}", response_model=CacheOut, summary="One activation cache", responses=problems(404))
def show_cache(cache_id: str, session: ReadingDep) -> CacheOut:
    """A cache with its conventions and statistics."""
    return caches.caches_out(session, [caches.get_cache(session, cache_id)])[0]


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
