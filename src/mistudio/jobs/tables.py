"""The job row, which is the only place where the state of work is kept, and the inbox of a running job."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from sqlalchemy import JSON, BigInteger, CheckConstraint, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from mistudio.db import Base, new_id, utc_now
from mistudio.jobs.schemas import JobState

_STATES = ", ".join(f"'{state}'" for state in get_args(JobState))


class Job(Base):
    """One piece of long work. Written only through `mistudio.jobs.states`."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        CheckConstraint("resource IN ('cpu', 'gpu', 'io')", name="resource"),
        CheckConstraint("asked IN ('stop', 'pause')", name="asked"),
        Index("ix_jobs_queue", "state", "resource", "priority", "queued_at"),
        Index("ix_jobs_subject_created_at", "subject", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("jb"))
    kind: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128))
    title: Mapped[str] = mapped_column(String(400))
    params: Mapped[dict[str, Any]]
    resource: Mapped[str] = mapped_column(String(8))
    resumable: Mapped[bool]
    priority: Mapped[int] = mapped_column(Integer, default=0)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16), default="queued")
    attempt: Mapped[int] = mapped_column(Integer, default=1)
    asked: Mapped[str | None] = mapped_column(String(8))
    short_runs: Mapped[int] = mapped_column(Integer, default=0)

    stage: Mapped[str | None] = mapped_column(String(200))
    done: Mapped[float | None] = mapped_column(Float)
    total: Mapped[float | None] = mapped_column(Float)
    unit: Mapped[str | None] = mapped_column(String(40))
    rate: Mapped[float | None] = mapped_column(Float)
    seconds_left: Mapped[float | None] = mapped_column(Float)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    lease_owner: Mapped[str | None] = mapped_column(Text)
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    queued_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    updated_by: Mapped[str] = mapped_column(Text)


class JobMessage(Base):
    """A message on its way to a running job, deleted when the job takes it."""

    __tablename__ = "job_messages"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
