"""A job that keeps a model loaded: it takes requests from its inbox, serves them in turn, and ends itself when idle."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.db import utc_now
from mistudio.jobs import Job, JobContext

Phase = Literal["waiting", "loading", "ready", "writing", "ending", "ended", "failed"]
Loaded = TypeVar("Loaded")

LOADING, READY, WRITING = "Loading", "Ready", "Writing"
_LISTEN_SECONDS = 0.2
_OTHERS_CHECK_SECONDS = 1.0
_OTHERS_WAIT_SECONDS = 2.0


def ask(session: Session, job_id: str, request_id: str) -> None:
    """Put a request into a warm job's inbox."""
    jobs.send(session, job_id, {"serve": request_id})


def stop(session: Session, job_id: str, request_id: str) -> None:
    """Tell a warm job to stop serving a request, or not to begin."""
    jobs.send(session, job_id, {"stop": request_id})


def takes_requests(job: Job | None) -> bool:
    """Whether a warm job will serve what is asked of it now."""
    return job is not None and job.state in ("queued", "running") and job.asked is None


def phase_of(job: Job | None) -> Phase:
    """What a warm job is doing."""
    if job is None or job.state in ("succeeded", "cancelled"):
        return "ended"
    if job.state == "failed":
        return "failed"
    if job.state == "queued":
        return "waiting"
    if job.state == "cancelling" or job.asked is not None:
        return "ending"
    phases: dict[str | None, Phase] = {READY: "ready", WRITING: "writing"}
    return phases.get(job.stage, "loading")


class Warm:
    """The loop. `unit` is what requests are counted in, such as "texts"."""

    def __init__(self, context: JobContext, unit: str) -> None:
        self._context, self._unit = context, unit
        self._waiting: deque[str] = deque()
        self._stopped: set[str] = set()
        self._served = 0

    def run(
        self,
        load: Callable[[], Loaded],
        serve: Callable[[str, Loaded], None],
        *,
        idle_seconds: float,
        yield_seconds: float,
    ) -> dict[str, Any]:
        """Load, then serve until idle, asked to end, or (after `yield_seconds`) in the way of other work.

        `serve` gets a request's id and what was loaded; it calls `begin` once it finds that the request still stands,
        and must keep a request's own failure to itself. The returned dict says why the job ended.
        """
        self._say(LOADING)
        loaded = load()
        self._say(READY)
        quiet_since = checked = time.monotonic()
        while True:
            self.listen(0.0 if self._waiting else _LISTEN_SECONDS)
            if self._context.stop_requested:
                return self._ended("asked")
            if self._waiting:
                serve(self._waiting.popleft(), loaded)
                if not self._waiting:
                    self._say(READY)
                quiet_since = time.monotonic()
                continue
            now = time.monotonic()
            if now - quiet_since >= idle_seconds:
                return self._ended("idle")
            if now - quiet_since >= yield_seconds and now - checked >= _OTHERS_CHECK_SECONDS:
                checked = now
                if self._others_wait():
                    return self._ended("yielded")

    def begin(self) -> None:
        """Say that a request is being served now."""
        self._say(WRITING)
        self._served += 1

    def listen(self, timeout: float = 0.0) -> None:
        """Take what is in the inbox, waiting up to `timeout` seconds for the first message."""
        while (message := self._context.inbox(timeout)) is not None:
            timeout = 0.0
            if "serve" in message:
                self._waiting.append(str(message["serve"]))
            elif "stop" in message:
                self._stopped.add(str(message["stop"]))

    def is_stopped(self, request_id: str) -> bool:
        """Whether to leave off serving this request, as far as has been heard by now."""
        return request_id in self._stopped or self._context.stop_requested

    def forget(self, request_id: str) -> None:
        """A request that was deleted while it was served: leave off."""
        self._stopped.add(request_id)

    def _say(self, stage: str) -> None:
        self._context.progress(self._served, None, self._unit, stage=stage)

    def _ended(self, why: str) -> dict[str, Any]:
        self._context.log(f"Ended ({why}) after {self._served} {self._unit}.")
        return {"ended": why, self._unit: self._served}

    def _others_wait(self) -> bool:
        """Whether a job has been queued for a while that may need the place which this idle one holds."""
        pools = ["gpu"] if self._context.device != "cpu" else ["gpu", "cpu"]
        with self._context.database.reading() as session:
            oldest = session.scalar(
                select(Job.created_at)
                .where(Job.state == "queued", Job.resource.in_(pools))
                .order_by(Job.created_at)
                .limit(1)
            )
        return oldest is not None and (utc_now() - oldest).total_seconds() > _OTHERS_WAIT_SECONDS
