"""Long work: one state machine for every job, one process per job, local or Celery dispatch."""

from mistudio.domain import Domain
from mistudio.jobs.announce import Publisher, announce_changes
from mistudio.jobs.context import JobCancelled, JobContext, JobInterrupted
from mistudio.jobs.kinds import register_kinds
from mistudio.jobs.queue import (
    await_job,
    cancel,
    cancel_subject,
    get_job,
    is_job,
    latest_jobs,
    pause,
    request_stop,
    resume,
    retry,
    send,
    submit,
)
from mistudio.jobs.schemas import JobError, JobOut, JobState
from mistudio.jobs.tables import Job

domain = Domain(
    name="jobs",
    tables="mistudio.jobs.tables",
    router="mistudio.jobs.routes:router",
    commands="mistudio.jobs.commands:app",
    snapshots={"jobs": "mistudio.jobs.queue:snapshot"},
)

__all__ = [
    "Job",
    "JobCancelled",
    "JobContext",
    "JobError",
    "JobInterrupted",
    "JobOut",
    "JobState",
    "Publisher",
    "announce_changes",
    "await_job",
    "cancel",
    "cancel_subject",
    "domain",
    "get_job",
    "is_job",
    "latest_jobs",
    "pause",
    "register_kinds",
    "request_stop",
    "resume",
    "retry",
    "send",
    "submit",
]
