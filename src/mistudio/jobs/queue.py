"""What the rest of the application asks of jobs: submit, look up, cancel, retry, pause, stop, send, wait."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio.db import Database, new_id
from mistudio.errors import Conflict, NotFound
from mistudio.jobs import states
from mistudio.jobs.announce import job_event
from mistudio.jobs.kinds import job_kind
from mistudio.jobs.schemas import FINAL_STATES, JobState
from mistudio.jobs.tables import Job, JobMessage

_RECENT = 50


def submit(
    session: Session,
    kind: str,
    *,
    subject: str,
    title: str,
    params: BaseModel,
    priority: int = 0,
    memory_bytes: int | None = None,
) -> Job:
    """Queue work of a registered kind in the caller's transaction; dispatchers hear of it after the commit.

    `subject` is the object that the work is for, `<table>/<id>`; `title` is what a person reads in lists.
    `memory_bytes` is what it is expected to need: with it, the job waits while those that run leave too little.
    """
    definition = job_kind(kind)
    job = Job(
        id=new_id("jb"),
        kind=kind,
        subject=subject,
        title=title[:400],
        params=params.model_dump(mode="json"),
        resource=definition.resource,
        resumable=definition.resumable,
        priority=priority,
        memory_bytes=memory_bytes,
    )
    return states.add(session, job)


def get_job(session: Session, job_id: str) -> Job:
    """The job of this id. Raises NotFound."""
    job = session.get(Job, job_id, populate_existing=True)
    if job is None:
        raise NotFound("job", job_id)
    return job


def is_job(database: Database, job_id: str) -> bool:
    """Whether this database has a job of this id."""
    with database.reading() as session:
        return session.scalar(select(Job.id).where(Job.id == job_id)) is not None


def latest_jobs(session: Session, subjects: Sequence[str]) -> dict[str, Job]:
    """The newest job of each subject that has one."""
    if not subjects:
        return {}
    newest = (
        func.row_number()
        .over(partition_by=Job.subject, order_by=(Job.created_at.desc(), Job.id.desc()))
        .label("place")
    )
    ranked = select(Job.id, newest).where(Job.subject.in_(subjects)).subquery()
    jobs = session.scalars(select(Job).join(ranked, ranked.c.id == Job.id).where(ranked.c.place == 1))
    return {job.subject: job for job in jobs}


def _refusal(session: Session, job_id: str, verb: str) -> Conflict:
    job = get_job(session, job_id)
    return Conflict(f"job_{job.state}", f"The job “{job.title}” is {job.state}, so it cannot be {verb}.")


def cancel(session: Session, job_id: str) -> Job:
    """Cancel a queued job at once; ask a running one to end. Raises NotFound, or Conflict if it has ended."""
    job = states.cancel(session, job_id) or get_job(session, job_id)
    if job.state in ("cancelling", "cancelled"):
        return job
    raise _refusal(session, job_id, "cancelled")


def cancel_subject(session: Session, subject: str) -> list[Job]:
    """Cancel whatever is queued, paused or running for this subject; the jobs that were."""
    active = select(Job.id).where(Job.subject == subject, Job.state.not_in(FINAL_STATES))
    return [job for job_id in session.scalars(active).all() if (job := states.cancel(session, job_id))]


def retry(session: Session, job_id: str) -> Job:
    """Queue a failed or cancelled job again, as its next attempt. Raises NotFound or Conflict."""
    if job := states.requeue(session, job_id, ("failed", "cancelled")):
        return job
    raise _refusal(session, job_id, "retried")


def pause(session: Session, job_id: str) -> Job:
    """Ask a job of a resumable kind to leave its place and wait. Raises NotFound or Conflict."""
    if not get_job(session, job_id).resumable:
        raise Conflict(
            "job_not_pausable", "This kind of job cannot be paused, because it could not be resumed."
        )
    if job := states.pause_queued(session, job_id) or states.ask(session, job_id, "pause"):
        return job
    raise _refusal(session, job_id, "paused")


def set_priority(session: Session, job_id: str, priority: int) -> Job:
    """Move a waiting job in the queue: higher runs first. Raises NotFound, or Conflict if it does not wait."""
    if job := states.prioritise(session, job_id, priority):
        return job
    raise _refusal(session, job_id, "moved in the queue")


def resume(session: Session, job_id: str) -> Job:
    """Queue a paused job again. Raises NotFound or Conflict."""
    if job := states.requeue(session, job_id, ("paused",)):
        return job
    raise _refusal(session, job_id, "resumed")


def request_stop(session: Session, job_id: str) -> Job:
    """Ask a running job to finish early and keep what it has; whether it can is up to its kind.

    A job that waits in the queue has nothing to keep and is cancelled. Raises NotFound or Conflict.
    """
    if job := states.ask(session, job_id, "stop"):
        return job
    job = get_job(session, job_id)
    if job.state in ("queued", "paused") and (cancelled := states.cancel(session, job_id)):
        return cancelled
    raise _refusal(session, job_id, "stopped")


def send(session: Session, job_id: str, message: dict[str, Any]) -> None:
    """Put a message into the inbox of a queued, paused or running job. Raises NotFound, or Conflict if it ends."""
    if get_job(session, job_id).state not in ("queued", "paused", "running"):
        raise _refusal(session, job_id, "sent a message")
    session.add(JobMessage(job_id=job_id, body=message))
    session.flush()


def await_job(database: Database, job_id: str, timeout: float, *, interval: float = 0.1) -> Job:
    """Wait until the job has ended and return it. Raises TimeoutError after `timeout` seconds, NotFound."""
    deadline = time.monotonic() + timeout
    while True:
        with database.reading() as session:
            job = get_job(session, job_id)
        if cast(JobState, job.state) in FINAL_STATES:
            return job
        if time.monotonic() > deadline:
            raise TimeoutError(f"job {job_id} is still {job.state} after {timeout:g} s")
        time.sleep(interval)


def snapshot(session: Session, channel: str) -> dict[str, Any]:
    """The state that a client which joins `jobs` or `jobs/{id}` is given: what is active, and the latest."""
    _, _, job_id = channel.partition("/")
    if job_id:
        return {"job": job_event(get_job(session, job_id))}
    active = session.scalars(
        select(Job).where(Job.state.not_in(FINAL_STATES)).order_by(Job.created_at.desc())
    )
    latest = session.scalars(select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(_RECENT))
    jobs = {job.id: job for job in [*active, *latest]}
    return {"jobs": [job_event(job) for job in jobs.values()]}
