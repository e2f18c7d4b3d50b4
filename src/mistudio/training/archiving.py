"""Compressing the curves of trainings that have ended without doing so themselves: cancelled or killed ones.

A training that ends by itself, fails or is cancelled while it runs compresses its own. What is left is found when a
server or a worker starts, and when it hears of an end: of a job that it ran, or took over from a process that died.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from sqlalchemy import exists, literal, select

from mistudio.db import Database
from mistudio.jobs import Job
from mistudio.jobs.announce import listen
from mistudio.settings import Settings
from mistudio.store import StoreError
from mistudio.training.metrics import archive_curves
from mistudio.training.tables import Training
from mistudio.training.views import job_subject

logger = logging.getLogger(__name__)
_ENDED = ("succeeded", "failed", "cancelled")


def archive_ended(
    database: Database,
    settings: Settings,
    sweep_id: str | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Compress the curves of all trainings, or of one sweep's, whose job has ended. They grow again when it goes on."""
    subject = literal(job_subject("")) + Training.sweep_id
    query = select(Training.id).where(~exists().where(Job.subject == subject, Job.state.not_in(_ENDED)))
    with database.reading() as session:
        found = session.scalars(query.where(Training.sweep_id == sweep_id) if sweep_id else query).all()
    for training in found:
        if stop():
            return
        try:
            archive_curves(settings, [training])
        except (StoreError, OSError) as error:
            logger.warning("the curves of %s stay uncompressed: %s", training, error)


def archive_when_ended(database: Database, settings: Settings) -> Callable[[], None]:
    """On a thread, do so now and whenever this process hears that a training has ended. Returns the way to stop."""
    ended: SimpleQueue[str | None] = SimpleQueue()
    closed = threading.Event()

    def heard(job: Job) -> None:
        if job.kind == "training.run" and job.state in _ENDED:
            ended.put(job.subject.partition("/")[2])

    def work() -> None:
        sweep: str | None = None
        while not closed.is_set():
            try:
                archive_ended(database, settings, sweep, closed.is_set)
            except Exception:  # a database that is away, say: the next end, or the next start, tries again
                logger.exception("curves of ended trainings could not be compressed")
            sweep = ended.get()

    thread = threading.Thread(target=work, name="curves archive", daemon=True)
    thread.start()
    deafen = listen(database, heard)

    def stop() -> None:
        deafen()
        closed.set()
        ended.put(None)
        thread.join(5.0)

    return stop
