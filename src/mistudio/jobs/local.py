"""Jobs on this machine: a thread takes them from the queue as slots become free, another owns each."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select

from mistudio.db import Database, utc_now
from mistudio.jobs import announce, memory, states
from mistudio.jobs.announce import Publisher
from mistudio.jobs.identity import this_process
from mistudio.jobs.recovery import recover
from mistudio.jobs.slots import Slots
from mistudio.jobs.supervisor import Supervisor
from mistudio.jobs.tables import Job
from mistudio.settings import Settings

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.5
ECHO_SECONDS = 10.0
_runs = itertools.count()


class LocalDispatcher:
    """Runs queued jobs in processes of this machine. Several may share one database.

    `only` restricts it to these jobs (a command that waits for its own job runs it like this).
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        publisher: Publisher,
        *,
        only: set[str] | None = None,
        slots: Slots | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._publisher = publisher
        self._only = only
        self._slots = slots or Slots(settings)
        self._supervisors: dict[str, Supervisor] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._stop_listening: Callable[[], None] = lambda: None
        self._echoed: dict[tuple[str, str], None] = {}
        self._echo_from = utc_now()

    def start(self) -> None:
        """Take over orphaned jobs and begin to run queued ones."""
        self._stop_listening = announce.listen(self._database, self._changed)
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop taking jobs, end those that run, and return when their processes are gone."""
        self._stopping.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            supervisors, threads = list(self._supervisors.values()), list(self._threads.values())
        for supervisor in supervisors:
            supervisor.interrupt()
        for thread in threads:
            thread.join()
        self._stop_listening()

    def enqueue(self, job: Job) -> None:
        """Look at the queue at once."""
        self._awake.set()

    def running(self) -> set[str]:
        """The ids of the jobs that run here."""
        with self._lock:
            return set(self._supervisors)

    def _memory_taken(self) -> int:
        """What the jobs that run here are expected to need."""
        with self._lock:
            return sum(supervisor.memory_bytes for supervisor in self._supervisors.values())

    def _changed(self, job: Job) -> None:
        """A job was changed by this process (after its commit)."""
        announce.publish_job(self._publisher, job)
        with self._lock:
            supervisor = self._supervisors.get(job.id)
        if supervisor is not None:
            supervisor.wake()
        if job.state == "queued":
            self.enqueue(job)

    def _run(self) -> None:
        recovered_at = -float("inf")
        while not self._stopping.is_set():
            try:
                if time.monotonic() - recovered_at > self._settings.lease_seconds / 4:
                    recover(self._database, self._settings, ours=self.running(), only=self._only)
                    recovered_at = time.monotonic()
                self._launch()
                if self._only is None and self._settings.redis_url is None:
                    self._echo()
            except Exception:  # a database that is away, or locked for long: the dispatcher outlives it
                logger.exception("the queue could not be served")
            self._awake.wait(POLL_SECONDS)
            self._awake.clear()

    def _launch(self) -> None:
        """Start queued jobs while there are slots for them."""
        while not self._stopping.is_set():
            resources = self._slots.available()
            waiting = select(Job.id).where(Job.state == "queued", Job.resource.in_(resources)).limit(1)
            if self._only is not None:
                waiting = waiting.where(Job.id.in_(self._only))
            with self._database.reading() as session:  # takes no lock when there is nothing to do
                if session.scalar(waiting) is None:
                    return
            owner = f"{this_process()}|{next(_runs)}"
            with self._database.session() as session:
                short = memory.head_waits(
                    session,
                    resources,
                    allowed=memory.job_memory(self._settings),
                    taken=self._memory_taken(),
                    only=self._only,
                )
                job = states.claim_next(
                    session,
                    resources,
                    owner=owner,
                    lease_seconds=self._settings.lease_seconds,
                    only=self._only,
                    without_memory=short,
                )
            if job is None:
                return
            self._supervise(job)

    def _supervise(self, job: Job) -> None:
        slot = self._slots.take(job.resource)
        assert slot is not None, "this thread alone takes slots, and looked"
        supervisor = Supervisor(
            job,
            database=self._database,
            settings=self._settings,
            publisher=self._publisher,
            slot=slot,
            on_submitted=lambda _: self._awake.set(),
        )

        def work() -> None:
            try:
                supervisor.run()
            except Exception:
                logger.exception("the supervisor of job %s failed; its lease will expire", job.id)
            finally:
                with self._lock:
                    self._supervisors.pop(job.id, None)
                    self._threads.pop(job.id, None)
                self._slots.release(slot)
                self._awake.set()

        thread = threading.Thread(target=work, name=f"job {job.id}", daemon=True)
        with self._lock:
            self._supervisors[job.id] = supervisor
            self._threads[job.id] = thread
        thread.start()

    def _echo(self) -> None:
        """Publish what other processes changed: without Redis, their own events reach nobody here."""
        recent = select(Job).where(Job.updated_at >= self._echo_from, Job.updated_by != this_process())
        with self._database.reading() as session:
            jobs = list(session.scalars(recent.order_by(Job.updated_at)))
        for job in jobs:
            stamp = (job.id, job.updated_at.isoformat())
            if stamp not in self._echoed:
                self._echoed[stamp] = None
                announce.publish_job(self._publisher, job)
        # Transactions become visible a little later than their stamps say.
        self._echo_from = max(self._echo_from, utc_now() - timedelta(seconds=ECHO_SECONDS))
        if len(self._echoed) > 10_000:
            for stamp in list(self._echoed)[:5_000]:
                del self._echoed[stamp]
