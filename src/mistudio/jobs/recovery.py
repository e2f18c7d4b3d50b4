"""Jobs whose supervisor died: found at start and from time to time, and brought back to a true state."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import select

from mistudio.db import Database
from mistudio.jobs import states
from mistudio.jobs.failures import INTERRUPTED
from mistudio.jobs.identity import is_dead, is_here
from mistudio.jobs.schemas import LEASED_STATES
from mistudio.jobs.states import End, Lease
from mistudio.jobs.tables import Job
from mistudio.settings import Settings

logger = logging.getLogger(__name__)


def recover(
    database: Database, settings: Settings, *, ours: Collection[str] = (), only: Collection[str] | None = None
) -> list[Job]:
    """Take over jobs that nobody runs any more; resumable ones go back to the queue. Returns those jobs.

    A job is an orphan at once if its supervisor was a process of this machine that is gone, and otherwise
    when its lease has expired. A living process of this machine has one more lease of time (the machine may
    just have woken from sleep). `ours` are the jobs that this very process runs.
    """
    with database.reading() as session:
        query = select(Job).where(Job.state.in_(LEASED_STATES))
        if only is not None:
            query = query.where(Job.id.in_(only))
        leased = list(session.scalars(query))
    found: list[Job] = []
    for job in leased:
        owner = job.lease_owner or ""
        if job.id in ours:
            continue
        lease = Lease(job.id, job.attempt, owner)
        end = End("interrupted", error=INTERRUPTED.model_dump(), suspicious=True)
        patience = timedelta(seconds=settings.lease_seconds if is_here(owner) else 0)
        with database.reading() as session:
            expired_before = states.database_now(session) - patience
        dead = is_dead(owner)
        if not dead and (job.lease_expires_at is None or job.lease_expires_at > expired_before):
            continue
        with database.session() as session:
            taken = states.take_over(session, lease, end, expired_before=None if dead else expired_before)
        if taken is not None:
            logger.warning("the job %s had lost its supervisor and is now %s", taken.id, taken.state)
            found.append(taken)
    return found
