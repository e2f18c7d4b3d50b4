"""The machine over HTTP: what the socket channels `system/…` push, for polling and for the past hour."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from mistudio.monitor.sampling import HISTORY_SECONDS, current, history
from mistudio.monitor.schemas import StorageOut, SystemOut
from mistudio.monitor.storage import storage
from mistudio.web import SettingsDep, problems

router = APIRouter(prefix="/system", tags=["monitor"])


@router.get("", response_model=SystemOut, summary="The machine now and before", responses=problems(503))
def get_system(
    history_seconds: Annotated[
        float, Query(ge=0, le=HISTORY_SECONDS, description="How much of the past to include.")
    ] = 0,
) -> SystemOut:
    """CPU per core, memory, swap, disk, network, GPUs and job processes; sampled every two seconds."""
    sampler = current()
    return SystemOut(
        interval_seconds=sampler.interval,
        now=sampler.latest(),
        history=history(sampler.samples(history_seconds) if history_seconds else []),
    )


@router.get("/storage", response_model=StorageOut, summary="Disk space by kind of data")
def get_storage(settings: SettingsDep) -> StorageOut:
    """How much data sets, models, activations… take; measured at most every half minute."""
    return storage(settings.data_dir)
