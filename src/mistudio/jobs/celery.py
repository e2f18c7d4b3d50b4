"""Jobs on Celery workers over Redis. A message is a doorbell: it makes a worker run the next job of a queue.

The row in the database is the job; a message carries nothing that could be lost or come twice. Whoever hears
a bell claims the first queued job of that resource, so priorities hold whatever the broker does. A bell too
many finds the queue empty; bells that went missing are rung again by the sweeper.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from celery import Celery, signals
from kombu.exceptions import KombuError
from pydantic import SecretStr
from pydantic_core import to_json
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from mistudio.db import Database, utc_now
from mistudio.errors import StudioError
from mistudio.jobs import announce, memory, states
from mistudio.jobs.announce import Publisher
from mistudio.jobs.identity import this_process
from mistudio.jobs.recovery import recover
from mistudio.jobs.slots import Slots
from mistudio.jobs.supervisor import Supervisor
from mistudio.jobs.tables import Job
from mistudio.settings import ENVIRONMENT_PREFIX, Settings

logger = logging.getLogger(__name__)
TASK = "mistudio.run_job"
QUEUES = ("cpu", "gpu", "io")
UNHEARD_SECONDS = 5.0
_runs = itertools.count()


def make_app(settings: Settings) -> Celery:
    """The Celery application of these settings. Raises StudioError `redis_url_missing`."""
    if settings.redis_url is None:
        raise StudioError(
            "redis_url_missing",
            "Celery needs Redis, but the setting redis_url is not set.",
            hint="Set redis_url, e.g. redis://host:6379/0, or dispatch=local.",
        )
    app = Celery("mistudio", broker=settings.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_default_queue="cpu",
        # A message is acknowledged after its job, with no more fetched than can run: none waits behind a
        # long job on a busy worker while another is idle. The job of a dead worker is found by its lease.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # The work happens in processes of our own; a thread for each watches it, and hears of a shutdown.
        worker_pool="threads",
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "global_keyprefix": "mistudio:",
            "visibility_timeout": 30 * 24 * 3600,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
        },
    )
    return app


class CeleryDispatcher:
    """Rings for each queued job, and again for those that nobody heard."""

    def __init__(
        self, database: Database, settings: Settings, publisher: Publisher, app: Celery | None = None
    ) -> None:
        self._database = database
        self._settings = settings
        self._publisher = publisher
        self._app = app or make_app(settings)
        self._stopping = threading.Event()
        self._stop_listening: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Announce what this process changes, and sweep from time to time."""
        self._stop_listening = announce.listen(self._database, self._changed)
        self._thread = threading.Thread(target=self._sweep_regularly, name="sweeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Jobs run elsewhere; they are not touched."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        self._stop_listening()

    def enqueue(self, job: Job) -> None:
        """Ring once for this job."""
        try:
            self._ring(job.resource, job.id)
        except (KombuError, RedisError, OSError) as error:
            logger.warning("the job %s waits until Redis can be reached: %s", job.id, error)

    def enqueue_id(self, job_id: str) -> None:
        """Announce and ring for a job that another process queued (one job may submit another)."""
        with self._database.reading() as session:
            job = session.get(Job, job_id)
        if job is not None:
            self._changed(job)

    def sweep(self, ours: Sequence[str] = ()) -> None:
        """Take over orphans, and ring for queued jobs that waited while no bell was left in their queue."""
        recover(self._database, self._settings, ours=ours)
        unheard = utc_now() - timedelta(seconds=UNHEARD_SECONDS)
        waiting = select(Job.resource, func.count()).where(Job.state == "queued", Job.queued_at < unheard)
        with self._database.reading() as session:
            counts = session.execute(waiting.group_by(Job.resource)).all()
        for resource, jobs in counts:
            for _ in range(jobs - self._bells(resource)):
                self._ring(resource)

    def _changed(self, job: Job) -> None:
        announce.publish_job(self._publisher, job)
        if job.state == "queued":
            self.enqueue(job)

    def _ring(self, resource: str, job_id: str | None = None) -> None:
        policy = {"max_retries": 1, "interval_start": 0.1, "interval_max": 0.5}
        self._app.send_task(TASK, args=[resource], queue=resource, shadow=job_id, retry_policy=policy)

    def _bells(self, resource: str) -> int:
        with self._app.connection_for_read() as connection:
            return connection.default_channel.queue_declare(queue=resource, durable=True).message_count

    def _sweep_regularly(self) -> None:
        while not self._stopping.is_set():
            try:
                self.sweep()
            except (SQLAlchemyError, KombuError, RedisError, OSError) as error:
                logger.warning("queued jobs could not be swept: %s", error)
            except Exception:  # whatever the broker's client comes up with, the sweeper outlives it
                logger.exception("queued jobs could not be swept")
            self._stopping.wait(min(UNHEARD_SECONDS, self._settings.lease_seconds / 4))


class Host:
    """The jobs of one worker process: each message becomes a supervisor in the thread that got it."""

    def __init__(self, database: Database, settings: Settings, publisher: Publisher, app: Celery) -> None:
        self._database = database
        self._settings = settings
        self._publisher = publisher
        self._dispatcher = CeleryDispatcher(database, settings, publisher, app)
        self._slots = Slots(settings)
        self._supervisors: dict[str, Supervisor] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Announce and sweep."""
        self._dispatcher.start()

    def interrupt(self) -> None:
        """The worker shuts down: end the running jobs, so that resumable ones go on elsewhere."""
        self._stopping.set()
        with self._lock:
            supervisors = list(self._supervisors.values())
        for supervisor in supervisors:
            supervisor.interrupt()

    def _memory_taken(self) -> int:
        with self._lock:
            return sum(supervisor.memory_bytes for supervisor in self._supervisors.values())

    def run_next(self, resource: str) -> None:
        """Run the first queued job of this resource to its end, once a slot is free. None queued: return."""
        slot = None
        while slot is None:
            if self._stopping.is_set():
                return  # the job stays queued; the sweeper of another process rings again
            slot = self._slots.take(resource, timeout=1.0)
        try:
            with self._database.session() as session:
                short = memory.head_waits(
                    session,
                    [resource],
                    allowed=memory.job_memory(self._settings),
                    taken=self._memory_taken(),
                    only=None,
                )
                job = states.claim_next(
                    session,
                    [resource],
                    owner=f"{this_process()}|{next(_runs)}",
                    lease_seconds=self._settings.lease_seconds,
                    without_memory=short,
                )
            if job is None:
                return
            supervisor = Supervisor(
                job,
                database=self._database,
                settings=self._settings,
                publisher=self._publisher,
                slot=slot,
                on_submitted=self._dispatcher.enqueue_id,
            )
            with self._lock:
                self._supervisors[job.id] = supervisor
            try:
                if self._stopping.is_set():
                    supervisor.interrupt()
                supervisor.run()
            finally:
                with self._lock:
                    del self._supervisors[job.id]
        finally:
            self._slots.release(slot)


def serve_jobs(
    app: Celery,
    settings: Settings,
    open_publisher: Callable[[], Publisher],
    beside: Sequence[Callable[[Database, Settings], Callable[[], None]]] = (),
) -> None:
    """Make `app` run jobs when it is started as a worker. `beside` it, these are started; each returns the way to stop
    it."""
    host: list[Host] = []
    stops: list[Callable[[], None]] = []

    def run_job(resource: str) -> None:
        host[0].run_next(resource)

    app.task(run_job, name=TASK)

    def begin(**_: Any) -> None:
        database = Database(settings.effective_database_url)
        host.append(Host(database, settings, open_publisher(), app))
        host[0].start()
        stops.extend(start(database, settings) for start in beside)

    def leave(**_: Any) -> None:
        if host:
            host[0].interrupt()

    def end(**_: Any) -> None:
        for stop in stops:
            stop()

    signals.worker_init.connect(begin, weak=False)
    signals.worker_shutting_down.connect(leave, weak=False)
    signals.worker_shutdown.connect(end, weak=False)


def run_workers(settings: Settings, queues: Sequence[str]) -> int:
    """Run one Celery worker process for each queue, as wide as its slots, until SIGTERM or SIGINT.

    One process per queue, since Celery's concurrency is the process's: jobs of a full queue must not take the
    places of another. Returns the exit status: 0 if all ended well. Raises StudioError `queue_unknown`.
    """
    unknown = sorted(set(queues) - set(QUEUES))
    if unknown or not queues:
        raise StudioError(
            "queue_unknown",
            f"There is no queue “{unknown[0] if unknown else ''}”.",
            hint=f"Queues: {', '.join(QUEUES)}.",
        )
    make_app(settings)
    slots = Slots(settings)
    environment = os.environ | settings_environment(settings)
    workers = [
        subprocess.Popen(worker_command(queue, max(1, slots.size(queue)), settings), env=environment)
        for queue in dict.fromkeys(queues)
    ]

    def leave(number: int, _frame: FrameType | None) -> None:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    codes = [worker.wait() for worker in workers]
    return next((code for code in codes if code), 0)


def worker_command(queue: str, concurrency: int, settings: Settings) -> list[str]:
    """The command line of the worker for one queue."""
    name = f"{queue}-{os.getpid()}@%h"
    return [
        *(sys.executable, "-m", "celery", "-A", "mistudio.celery_app", "worker"),
        *("--queues", queue, "--concurrency", str(concurrency), "--hostname", name),
        *("--pool", "threads", "--loglevel", settings.log_level.upper()),
        *("--without-gossip", "--without-mingle"),
    ]


def settings_environment(settings: Settings) -> dict[str, str]:
    """The environment variables that give another process these settings."""
    found: dict[str, str] = {}
    for name, value in settings:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            plain = str(value) if isinstance(value, (str, Path)) else to_json(value).decode()
            found[ENVIRONMENT_PREFIX + name.upper()] = plain
    return found
