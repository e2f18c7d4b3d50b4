"""What a job's work function is given: its progress, its log, its events, its inbox, and whether to go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from sqlalchemy import delete, select

from mistudio.db import Database
from mistudio.jobs.tables import JobMessage
from mistudio.settings import Settings

logger = logging.getLogger("job")
INBOX_POLL_SECONDS = 0.03


class JobCancelled(Exception):
    """Raised inside a job that was asked to cancel, or by one that finds its subject gone. Let it pass."""


class JobInterrupted(Exception):
    """Raised inside a job that must leave for now (pause, server stop). Save a checkpoint and let it pass."""


class Reporter(Protocol):
    """The way out of the job process. `latest` keeps only the newest report per key when there are many."""

    def report(self, report: dict[str, Any]) -> None:
        """Send this report, after all that came before it."""
        ...

    def latest(self, key: str, report: dict[str, Any]) -> None:
        """Send this report soon, unless a newer one of the same key replaces it."""
        ...


@dataclass
class Asked:
    """What the supervisor has asked of this process so far; written by the thread that listens to it."""

    cancel: threading.Event = field(default_factory=threading.Event)
    interrupt: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass
class JobContext:
    """The surroundings of one running job. `device` is where models run: `cpu` or `cuda:0`."""

    job_id: str
    kind: str
    subject: str
    attempt: int
    settings: Settings
    database: Database
    device: str
    reporter: Reporter
    asked: Asked = field(default_factory=Asked)

    @property
    def data_dir(self) -> Path:
        """The folder that holds everything stored."""
        return self.settings.data_dir

    @property
    def stop_requested(self) -> bool:
        """Whether the job was asked to finish early and keep what it has."""
        return self.asked.stop.is_set()

    def check(self) -> None:
        """Raises JobCancelled or JobInterrupted if the job was asked to leave. Cheap enough for any loop."""
        if self.asked.cancel.is_set():
            raise JobCancelled
        if self.asked.interrupt.is_set():
            raise JobInterrupted

    def progress(
        self,
        done: float,
        total: float | None = None,
        unit: str | None = None,
        stage: str | None = None,
        doing: str = "",
        rate: float | None = None,
    ) -> None:
        """Say how far the present stage is, in `unit`s; rate and time left are derived. Checks like `check`.

        `unit` and `stage` stay what they were when left out; the count starts anew with a new stage. Work that
        comes in bursts says in `doing`, shown behind the stage, what goes on while `done` stands still, and in `rate`
        how many units a second come of what is left.
        """
        self.check()
        self._unit = unit or self._unit
        self._stage = stage or self._stage
        now = {"done": done, "total": total, "unit": self._unit, "stage": self._stage, "at": time.monotonic()}
        now |= {"doing": doing, "rate": rate}
        self.reporter.latest("progress", {"progress": now})

    def log(self, message: str, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
        """Write a line to the job's log, which its owner reads."""
        logger.log(logging.getLevelNamesMapping()[level.upper()], message)

    def publish(self, channel: str, type: str, data: dict[str, Any], key: str | None = None) -> None:
        """Send an event to clients. Of events with one `key`, only the newest is kept when they are many."""
        report = {"publish": {"channel": channel, "type": type, "data": data, "key": key}}
        if key is None:
            self.reporter.report(report)
        else:
            self.reporter.latest(f"publish {channel} {key}", report)

    def inbox(self, timeout: float) -> dict[str, Any] | None:
        """Take the next message sent to this job, waiting up to `timeout` seconds. Checks like `check`."""
        deadline = time.monotonic() + timeout
        oldest = select(JobMessage).where(JobMessage.job_id == self.job_id).order_by(JobMessage.id).limit(1)
        while True:
            self.check()
            with self.database.reading() as session:
                message = session.scalars(oldest).one_or_none()
            if message is not None:
                with self.database.session() as session:
                    session.execute(delete(JobMessage).where(JobMessage.id == message.id))
                return message.body
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(INBOX_POLL_SECONDS, left))

    def messages(self) -> list[JobMessage]:
        """All that was sent to this job and not taken, in its order; they stay until `forget_messages`."""
        waiting = select(JobMessage).where(JobMessage.job_id == self.job_id).order_by(JobMessage.id)
        with self.database.reading() as session:
            return list(session.scalars(waiting))

    def forget_messages(self, ids: Sequence[int]) -> None:
        """Delete messages that have been dealt with."""
        if ids:
            with self.database.session() as session:
                session.execute(delete(JobMessage).where(JobMessage.id.in_(ids)))

    def __post_init__(self) -> None:
        self._unit: str | None = None
        self._stage: str | None = None
