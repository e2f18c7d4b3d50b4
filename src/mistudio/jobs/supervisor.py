"""The owner of one running job: its process, its lease, its progress and its end."""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, cast

from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from mistudio.db import Database
from mistudio.jobs import states
from mistudio.jobs.announce import Publisher, publish_job
from mistudio.jobs.environment import job_environment
from mistudio.jobs.failures import INTERRUPTED, exit_error, killed_from_outside, out_of_memory, public_error
from mistudio.jobs.joblog import JobLog, log_path
from mistudio.jobs.memory import kernel_kills, machine_memory, starved
from mistudio.jobs.pace import Pace
from mistudio.jobs.process import JobProcess
from mistudio.jobs.schemas import JobError, JobOut, JobState
from mistudio.jobs.slots import Slot
from mistudio.jobs.states import End, Lease
from mistudio.jobs.tables import Job
from mistudio.settings import Settings

logger = logging.getLogger(__name__)
WATCH_SECONDS = 0.25
RECORD_SECONDS = 1.0
LAST_GRACE_SECONDS = 5.0


class Supervisor:
    """Runs one claimed job in a process of its own and settles how it ends, unless the lease is lost."""

    def __init__(
        self,
        job: Job,
        *,
        database: Database,
        settings: Settings,
        publisher: Publisher,
        slot: Slot,
        on_submitted: Callable[[str], None],
    ) -> None:
        """`job` is freshly claimed; `on_submitted(job_id)` is told of jobs that this one submitted."""
        self.job_id = job.id
        self.memory_bytes = job.memory_bytes or 0
        """what it is expected to need"""
        self._peak = 0
        self._kills = kernel_kills()
        self._lease = Lease(job.id, job.attempt, cast(str, job.lease_owner))
        self._title = job.title
        self._database = database
        self._settings = settings
        self._publisher = publisher
        self._slot = slot
        self._on_submitted = on_submitted
        self._shown = JobOut.model_validate(job)
        self._pace = Pace(job.done, job.total, job.unit, job.stage)
        self._unrecorded = False
        self._reported: End | None = None
        self._reported_at = 0.0
        self._leaving: Literal["cancel", "interrupt"] | None = None
        self._leaving_since = 0.0
        self._stop_asked = False
        self._interrupted = False
        self._lost = False
        self._renewed_at = time.monotonic()
        self._lock = threading.Lock()
        self._awake = threading.Event()

    def run(self) -> None:
        """Run the job to its end, or until the lease is lost. Returns when its process is gone."""
        try:
            log = JobLog(log_path(self._settings, self.job_id))
        except OSError as error:
            self._fail_to_start(error)
            return
        log.write(f"── {self._title}: attempt {self._lease.attempt} on {platform.node()} ──")
        try:
            process = self._start(log)
        except OSError as error:
            self._fail_to_start(error)
            log.close()
            return
        try:
            while not process.has_ended():
                self._awake.wait(WATCH_SECONDS)
                self._awake.clear()
                self._watch(process)
        finally:
            code = process.close()
        if self._lost:
            log.write("The lease on this job was lost: this attempt ends without a result.")
        else:
            job = self._settle(self._end(code))
            if job is not None:
                log.write(f"── {_told(job)} ──")
        log.close()

    def wake(self) -> None:
        """Look at the job's row at once: something about it has changed."""
        self._awake.set()

    def interrupt(self) -> None:
        """End the attempt because the hosting process stops; a resumable job goes back to the queue."""
        self._interrupted = True
        self._awake.set()

    def _start(self, log: JobLog) -> JobProcess:
        environment = job_environment(self._settings, os.environ) | self._slot.environment()
        return JobProcess(
            self.job_id,
            hello={"settings": _plain(self._settings), "device": self._slot.device},
            environment=environment,
            log=log,
            on_report=self._hear,
            on_end=self.wake,
        )

    # What the job reports (in the thread that reads the pipe)

    def _hear(self, report: dict[str, Any]) -> None:
        if "progress" in report:
            with self._lock:
                self._pace.update(**report["progress"])
                self._unrecorded = True
                shown = self._shown = self._shown.model_copy(update=self._pace.columns())
            publish_job(self._publisher, shown, key=f"job:{self.job_id}")
        elif "publish" in report:
            try:
                self._publisher.publish(**report["publish"])
            except Exception as error:
                logger.warning("an event of job %s could not be published: %s", self.job_id, error)
        elif "job" in report:
            self._on_submitted(report["job"])
        elif "end" in report:
            self._reported, self._reported_at = End(**report["end"]), time.monotonic()
            self.wake()

    # What the supervisor does about it (in its own thread)

    def _watch(self, process: JobProcess) -> None:
        self._peak = max(self._peak, process.memory())
        try:
            state, asked = self._look()
        except SQLAlchemyError:
            logger.exception("the row of job %s could not be reached", self.job_id)
            if time.monotonic() - self._renewed_at < self._settings.lease_seconds:
                return
            state, asked = None, None  # by now somebody else may have taken it over
        if state is None:
            self._lost = True
            process.kill()
            return
        if state == "cancelling":
            self._leave(process, "cancel")
        elif self._interrupted or asked == "pause":
            self._leave(process, "interrupt")
        elif asked == "stop" and not self._stop_asked:
            self._stop_asked = True
            process.ask("stop")
        self._press(process)

    def _look(self) -> tuple[JobState | None, str | None]:
        """The row's state and what is asked; progress is recorded and the lease renewed when due."""
        since = time.monotonic() - self._renewed_at
        if since < RECORD_SECONDS or (not self._unrecorded and since < self._settings.lease_seconds / 4):
            with self._database.reading() as session:
                row = session.get(Job, self.job_id)
            held = row is not None and Lease(row.id, row.attempt, row.lease_owner or "") == self._lease
        else:
            with self._lock:
                progress = self._pace.columns() if self._unrecorded else None
                self._unrecorded = False
            with self._database.session() as session:
                row = states.renew(
                    session, self._lease, lease_seconds=self._settings.lease_seconds, progress=progress
                )
            held = row is not None
            self._renewed_at = time.monotonic()
        if row is None or not held:
            return None, None
        with self._lock:
            self._shown = JobOut.model_validate(row).model_copy(update=self._pace.columns())
        return cast(JobState, row.state), row.asked

    def _leave(self, process: JobProcess, why: Literal["cancel", "interrupt"]) -> None:
        if self._leaving != why:
            self._leaving, self._leaving_since = why, time.monotonic()
            process.ask(why)

    def _press(self, process: JobProcess) -> None:
        """Ask, then SIGTERM, then SIGKILL; and a process that has reported its end must go."""
        now, grace = time.monotonic(), self._settings.cancel_grace_seconds
        if self._reported and now - self._reported_at > LAST_GRACE_SECONDS:
            process.kill()
        elif self._leaving and not self._reported:
            waited = now - self._leaving_since
            if waited > grace + min(grace, LAST_GRACE_SECONDS):
                process.kill()
            elif waited > grace:
                process.terminate()

    def _end(self, code: int) -> End:
        """How the attempt ended, from what the process reported or, failing that, how it exited."""
        if self._reported is not None:
            if self._reported.kind == "interrupted":
                return End("interrupted", error=INTERRUPTED.model_dump())
            return self._reported
        if self._leaving == "cancel":
            return End("cancelled")
        if self._leaving == "interrupt":
            return End("interrupted", error=INTERRUPTED.model_dump())
        if code == -signal.SIGKILL and starved(self._peak, kernel_kills() - self._kills, machine_memory()):
            # a second try would end like the first
            return End("failed", error=out_of_memory(self._peak, machine_memory()).model_dump())
        error = exit_error(code).model_dump()
        if killed_from_outside(code):
            return End("interrupted", error=error, suspicious=True)
        return End("failed", error=error)

    def _fail_to_start(self, error: OSError) -> None:
        logger.error("the process of job %s could not be started: %s", self.job_id, error)
        known = public_error(error, self.job_id, self._settings)
        if known.code == "internal":
            what = f"The system refused to start the job's process: {error.strerror or 'no reason given'}."
            known = JobError(
                code="process_not_started", message=what, hint="Retry it when the cause is mended."
            )
        self._settle(End("failed", error=known.model_dump()))

    def _settle(self, end: End) -> Job | None:
        started = time.monotonic()
        progress = self._pace.columns() if self._unrecorded else None
        while True:
            try:
                with self._database.session() as session:
                    return states.settle(session, self._lease, end, progress=progress)
            except SQLAlchemyError:
                logger.exception("the end of job %s could not be written", self.job_id)
                if time.monotonic() - started > 3 * self._settings.lease_seconds:
                    return None  # the lease has run out, and whoever takes it over decides
                time.sleep(1.0)


def _told(job: Job) -> str:
    if job.error:
        return f"{job.state}: {job.error['message']}"
    return f"interrupted; queued as attempt {job.attempt}" if job.state == "queued" else job.state


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON, secrets in clear: for the pipe to the job's own process only."""
    secrets = {name: value.get_secret_value() for name, value in settings if isinstance(value, SecretStr)}
    return settings.model_dump(mode="json") | secrets
