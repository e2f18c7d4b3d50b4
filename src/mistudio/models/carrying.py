"""From the command line: a job that makes something, carried to its end, taken up again, or undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.console import Console
from mistudio.errors import Conflict, StudioError
from mistudio.hub.arrivals import goes_on
from mistudio.jobs import Job, resume, retry


def carry_out(
    console: Console, job_id: str, undo: Callable[[Session], Any], *, retry: str | None = None
) -> dict[str, Any]:
    """Run a job to its end; returns its result.

    When it fails, what it was making is undone, since its error is on the screen. Where a retry can mend the failure
    and `retry` is the command for it, everything is kept and the error says how to go on. Raises StudioError.
    """
    try:
        return console.run(job_id)
    except StudioError as error:
        if retry is not None and goes_on(error.code):
            how = f"Go on with “mistudio {retry}”."
            raise StudioError(
                error.code, error.message, hint=f"{error.hint} {how}" if error.hint else how
            ) from error
        with console.session() as session:
            undo(session)
        raise


def again(session: Session, kind: str, subject: str) -> str:
    """Queue a job of this kind and subject again, if it is not queued or running already; returns its id.

    Raises Conflict `nothing_to_retry` where there is none that has not succeeded.
    """
    latest = select(Job).where(Job.kind == kind, Job.subject == subject).order_by(Job.created_at.desc())
    job = session.scalars(latest.limit(1)).one_or_none()
    if job is None or job.state == "succeeded":
        raise Conflict("nothing_to_retry", "It is complete already: there is nothing to retry.")
    if job.state == "paused":
        resume(session, job.id)
    elif job.state in ("failed", "cancelled"):
        retry(session, job.id)
    return job.id
