"""Whether a training may join the queue: what could never fit is refused before it starts, with the estimate."""

from __future__ import annotations

from sqlalchemy.orm import Session

from mistudio.jobs.memory import refuse_what_never_fits, refuse_what_no_gpu_holds
from mistudio.jobs.slots import largest_gpu
from mistudio.models.announce import Publisher, announce
from mistudio.settings import Settings
from mistudio.training.forecast import forecast_sweep
from mistudio.training.memory import gpu_bytes
from mistudio.training.schemas import TrainingCreate
from mistudio.training.sweeps import create_sweep
from mistudio.training.tables import Sweep
from mistudio.training.views import TABLE


def start_sweep(
    session: Session, settings: Settings, request: TrainingCreate, events: Publisher | None = None
) -> Sweep:
    """Queue these trainings where they fit, and tell clients of them. Raises as `admit` and `create_sweep`."""
    needed = admit(session, settings, request, largest_gpu(settings))
    made = create_sweep(session, request, memory_bytes=needed)
    for training in made.trainings:
        if events is not None:
            announce(session, events, TABLE, training.id, "created")
    return made


def admit(
    session: Session, settings: Settings, request: TrainingCreate, gpu_memory: int | None = None
) -> int:
    """Bytes of main memory that these trainings are expected to need at their peak, by which their job waits in the
    queue. What lies on a GPU, of `gpu_memory` bytes where this machine trains on one, is not among them.

    Raises StudioError `would_not_fit` or `would_not_fit_gpu` when jobs of this machine may not use as much, and what
    `forecast_sweep` raises.
    """
    forecast = forecast_sweep(session, settings, request)
    on_gpu = 0
    if gpu_memory is not None:
        on_gpu = gpu_bytes(forecast.parts, cached=request.cache_id is not None)
        refuse_what_no_gpu_holds(on_gpu, gpu_memory, "This training")
    needed = forecast.memory_bytes - on_gpu
    refuse_what_never_fits(settings, needed, "This training")
    return needed
