"""Whether a training may join the queue: what could never fit is refused before it starts, with the estimate."""

from __future__ import annotations

from sqlalchemy.orm import Session

from mistudio.jobs.memory import refuse_what_never_fits
from mistudio.models.announce import Publisher, announce
from mistudio.settings import Settings
from mistudio.training.forecast import forecast_sweep
from mistudio.training.schemas import TrainingCreate
from mistudio.training.sweeps import create_sweep
from mistudio.training.tables import Sweep
from mistudio.training.views import TABLE


def start_sweep(
    session: Session, settings: Settings, request: TrainingCreate, events: Publisher | None = None
) -> Sweep:
    """Queue these trainings where they fit, and tell clients of them. Raises as `admit` and `create_sweep`."""
    needed = admit(session, settings, request)
    made = create_sweep(session, request, memory_bytes=needed)
    for training in made.trainings:
        if events is not None:
            announce(session, events, TABLE, training.id, "created")
    return made


def admit(session: Session, settings: Settings, request: TrainingCreate) -> int:
    """Bytes of memory that these trainings are expected to need at their peak, by which their job waits in the queue.

    Raises StudioError `would_not_fit` when jobs of this machine may not use as much, and what `forecast_sweep` raises.
    """
    needed = forecast_sweep(session, settings, request).memory_bytes
    refuse_what_never_fits(settings, needed, "This training")
    return needed
