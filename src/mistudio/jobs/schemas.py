"""What crosses the API about a job."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JobState = Literal["queued", "running", "cancelling", "paused", "succeeded", "failed", "cancelled"]
FINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})
LEASED_STATES: frozenset[JobState] = frozenset({"running", "cancelling"})


class JobError(BaseModel):
    """Why a job failed, in words for the person who started it."""

    code: str = Field(description="Stable, machine-readable.", examples=["dataset_not_utf8"])
    message: str = Field(description="What was wrong and where, in one sentence.")
    hint: str | None = Field(default=None, description="What to do about it.")


class JobUpdate(BaseModel):
    """Changes to a job that waits."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(
        ge=-100,
        le=100,
        title="Priority",
        description="Higher runs first; first come, first served within one priority. 0 is usual.",
    )


class JobOut(BaseModel):
    """A job as clients see it. Durations are seconds; `rate` is `unit`s a second."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(examples=["jb_01jd3m8x5k7q2r9w"])
    kind: str = Field(examples=["datasets.import"])
    subject: str = Field(description="The object that the work is for: `<table>/<id>`.")
    title: str
    state: JobState
    stage: str | None = Field(description="What it is doing now, in words.")
    done: float | None = Field(description="Units done in this stage.")
    total: float | None = Field(description="Units in this stage, where known.")
    unit: str | None = Field(examples=["tokens"])
    rate: float | None = Field(description="Units a second, smoothed over about ten seconds.")
    seconds_left: float | None = Field(description="Estimate for this stage.")
    attempt: int = Field(description="1 for the first; a retry or a resumption is the next.")
    error: JobError | None
    result: dict[str, Any] | None
    priority: int = Field(description="Higher runs first; first come, first served within one priority.")
    memory_bytes: int | None = Field(
        description="What it is expected to need at its peak, where that is known."
    )
    resumable: bool = Field(description="Continues from its last checkpoint after an interruption.")
    asked: Literal["stop", "pause"] | None = Field(
        description="A graceful end that was asked for and is not done."
    )
    created_at: datetime
    started_at: datetime | None = Field(description="Start of the latest attempt.")
    finished_at: datetime | None
