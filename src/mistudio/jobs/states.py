"""The state machine of jobs: every transition is one conditional UPDATE; of several who try, one wins.

    queued ──claim──▶ running ──settle──▶ succeeded | failed | cancelled
      ▲ ▲ │             │  ├──cancel──▶ cancelling ──settle──▶ cancelled | succeeded (if it was done by then)
      │ │ └─cancel──▶ cancelled
      │ └── interrupted and resumable (attempt + 1)
      │                 └── asked to pause ──▶ paused ──cancel──▶ cancelled
      └──────── resume / retry (attempt + 1) ────┴── failed | cancelled

A transition of a running job is fenced by its lease (job, attempt, owner): a supervisor that lost the lease
changes nothing any more. Each function returns the job after the change, or None if it was too late, and then
nothing changed. The winner, and nobody else, announces the change after its commit (`announce.changed`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from mistudio.db import utc_now
from mistudio.jobs.announce import changed
from mistudio.jobs.identity import this_process
from mistudio.jobs.schemas import LEASED_STATES, JobState
from mistudio.jobs.tables import Job, JobMessage

SHORT_RUN_SECONDS = 600.0
MAX_SHORT_RUNS = 3
_FRESH: dict[str, Any] = {"stage": None, "done": None, "total": None, "unit": None, "rate": None}


@dataclass(frozen=True)
class Lease:
    """The right to run one attempt of a job."""

    job_id: str
    attempt: int
    owner: str

    def holds(self) -> tuple[ColumnElement[bool], ...]:
        """The conditions under which the lease is still held."""
        return (Job.id == self.job_id, Job.attempt == self.attempt, Job.lease_owner == self.owner)


@dataclass(frozen=True)
class End:
    """How an attempt ended.

    `interrupted` means that the process ended unfinished, through no fault that is known to be the job's own;
    `error` is then what a kind that cannot be resumed fails with. `suspicious` interruptions (the process was
    killed, or its machine vanished) are not repeated for ever: the third short run in a row is a failure.
    """

    kind: Literal["succeeded", "failed", "cancelled", "interrupted"]
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    suspicious: bool = False


def database_now(session: Session) -> datetime:
    """The clock that leases are measured by: the server's, where several machines share one database."""
    if session.get_bind().dialect.name == "sqlite":
        return utc_now()
    return session.execute(select(func.clock_timestamp())).scalar_one()


def landing(
    state: JobState, end: End, *, resumable: bool, asked: str | None, short_runs: int
) -> tuple[JobState, int]:
    """Where an attempt that ended so leaves a job that was in `state`, and its count of short runs in a row.

    A job that was asked to cancel ends cancelled, unless it had already succeeded.
    """
    if end.kind == "succeeded":
        return "succeeded", short_runs
    if state == "cancelling" or end.kind == "cancelled":
        return "cancelled", short_runs
    if end.kind == "failed" or not resumable:
        return "failed", short_runs
    if asked == "pause":
        return "paused", short_runs
    if end.suspicious and short_runs + 1 >= MAX_SHORT_RUNS:
        return "failed", short_runs + 1
    return "queued", short_runs + int(end.suspicious)


def _advance(session: Session, where: Sequence[ColumnElement[bool]], values: dict[str, Any]) -> Job | None:
    statement = (
        update(Job)
        .where(*where)
        .values(updated_at=utc_now(), updated_by=this_process(), **values)
        .returning(Job)
    )
    options = {"synchronize_session": False, "populate_existing": True}
    return session.execute(statement, execution_options=options).scalar_one_or_none()


def _transition(session: Session, where: Sequence[ColumnElement[bool]], values: dict[str, Any]) -> Job | None:
    job = _advance(session, where, values)
    if job is not None:
        changed(session, job)
    return job


def add(session: Session, job: Job) -> Job:
    """The first state: a new row, queued."""
    job.state, job.attempt, job.updated_by = "queued", 1, this_process()
    session.add(job)
    session.flush()
    changed(session, job)
    return job


def claim_next(
    session: Session,
    resources: Collection[str],
    *,
    owner: str,
    lease_seconds: float,
    only: Collection[str] | None = None,
    without_memory: bool = False,
) -> Job | None:
    """queued → running for the first in the queue: highest priority, then first come. None if it is empty.

    `without_memory` passes over jobs that say how much memory they need.
    """
    where = [Job.state == "queued", Job.resource.in_(resources)]
    if without_memory:
        where.append(Job.memory_bytes.is_(None))
    if only is not None:
        where.append(Job.id.in_(only))
    first = (
        select(Job.id)
        .where(*where)
        .order_by(Job.priority.desc(), Job.queued_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)  # rendered where the database has it
    )
    job_id = session.execute(first).scalar_one_or_none()
    if job_id is None:
        return None
    now = database_now(session)
    values = {
        "state": "running",
        "lease_owner": owner,
        "lease_expires_at": now + timedelta(seconds=lease_seconds),
        "started_at": utc_now(),
        "rate": None,
        "seconds_left": None,
    }
    return _transition(session, [Job.id == job_id, Job.state == "queued"], values)


def prioritise(session: Session, job_id: str, priority: int) -> Job | None:
    """Give a job that waits another place in the queue."""
    where = [Job.id == job_id, Job.state.in_(("queued", "paused"))]
    return _transition(session, where, {"priority": priority})


def note_waiting(session: Session, job: Job, stage: str) -> None:
    """Say on a queued job what it waits for."""
    if job.stage != stage:
        _transition(session, [Job.id == job.id, Job.state == "queued"], {"stage": stage})


def renew(
    session: Session, lease: Lease, *, lease_seconds: float, progress: dict[str, Any] | None = None
) -> Job | None:
    """Extend a lease that is still held and record progress; None means that it was lost."""
    expires = database_now(session) + timedelta(seconds=lease_seconds)
    where = [*lease.holds(), Job.state.in_(LEASED_STATES)]
    return _advance(session, where, {"lease_expires_at": expires, **(progress or {})})


def settle(session: Session, lease: Lease, end: End, *, progress: dict[str, Any] | None = None) -> Job | None:
    """End a running attempt. None if the lease was lost, or the attempt had been settled before."""
    return _settle(session, lease, end, [], progress or {})


def take_over(session: Session, lease: Lease, end: End, *, expired_before: datetime | None) -> Job | None:
    """End an attempt whose owner died; with `expired_before`, only if the lease expired before then."""
    also = [Job.lease_expires_at <= expired_before] if expired_before else []
    return _settle(session, lease, end, also, {})


def _settle(
    session: Session, lease: Lease, end: End, also: list[ColumnElement[bool]], progress: dict[str, Any]
) -> Job | None:
    held = select(Job).where(*lease.holds()).execution_options(populate_existing=True)
    running = session.scalars(held).one_or_none()
    if running is None:
        return None
    # A running job can become a cancelling one between two tries, never the reverse.
    for state in ("running", "cancelling"):
        values = progress | _landing_values(state, end, running)
        if job := _transition(session, [*lease.holds(), Job.state == state, *also], values):
            if job.finished_at is not None:
                session.execute(delete(JobMessage).where(JobMessage.job_id == job.id))
            return job
    return None


def _landing_values(state: JobState, end: End, job: Job) -> dict[str, Any]:
    short_runs = job.short_runs
    if job.started_at is not None and (utc_now() - job.started_at).total_seconds() > SHORT_RUN_SECONDS:
        short_runs = 0
    to, short_runs = landing(state, end, resumable=job.resumable, asked=job.asked, short_runs=short_runs)
    values: dict[str, Any] = {
        "state": to,
        "short_runs": short_runs,
        "lease_owner": None,
        "lease_expires_at": None,
        "seconds_left": None,
    }
    if to == "queued":
        values |= {"attempt": Job.attempt + 1, "rate": None}
    elif to == "paused":
        values |= {"asked": None, "rate": None}
    else:
        values |= {"finished_at": utc_now(), "asked": None}
        values["result"] = end.result if to == "succeeded" else None
        values["error"] = end.error if to == "failed" else None
    return values


def cancel(session: Session, job_id: str) -> Job | None:
    """queued, paused → cancelled; running → cancelling. None if it is already cancelling or has ended."""
    at_once = {"state": "cancelled", "finished_at": utc_now(), "asked": None}
    if job := _transition(session, [Job.id == job_id, Job.state.in_(("queued", "paused"))], at_once):
        session.execute(delete(JobMessage).where(JobMessage.job_id == job_id))
        return job
    return _transition(session, [Job.id == job_id, Job.state == "running"], {"state": "cancelling"})


def requeue(session: Session, job_id: str, states: Collection[JobState]) -> Job | None:
    """One of `states` (failed, cancelled, paused) → queued, as the next attempt."""
    where = [Job.id == job_id, Job.state.in_(states)]
    values: dict[str, Any] = {
        "state": "queued",
        "attempt": Job.attempt + 1,
        "queued_at": utc_now(),
        "finished_at": None,
        "error": None,
        "asked": None,
        "short_runs": 0,
        "seconds_left": None,
    }
    return _transition(session, where, values | ({} if "paused" in states else _FRESH))


def ask(session: Session, job_id: str, asked: Literal["stop", "pause"]) -> Job | None:
    """Note that a running job shall end gracefully, keeping what it has."""
    return _transition(session, [Job.id == job_id, Job.state == "running"], {"asked": asked})


def pause_queued(session: Session, job_id: str) -> Job | None:
    """queued → paused, for a kind that can be resumed."""
    return _transition(
        session, [Job.id == job_id, Job.state == "queued", Job.resumable.is_(True)], {"state": "paused"}
    )
