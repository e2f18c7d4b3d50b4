"""The same jobs on real Celery workers, over a real Redis and a real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from mistudio import jobs
from mistudio.console.waiting import run_job
from mistudio.db import Database
from mistudio.errors import StudioError
from mistudio.events import EventBus, open_bus
from mistudio.jobs.celery import CeleryDispatcher, make_app, settings_environment, worker_command
from mistudio.jobs.dispatch import open_dispatcher
from mistudio.settings import LoadedSettings, Settings, load_settings
from tests.jobs.conftest import REPOSITORY, Desk, Recorder, make_tables
from tests.jobs.plugin import CountParams
from tests.services import postgres_database

pytestmark = pytest.mark.slow
Worker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def settings(data_dir: Path, postgres_url: str, redis_url: str) -> Iterator[Settings]:
    """A cluster of its own: an empty database and an empty Redis."""
    redis.Redis.from_url(redis_url).flushall()
    with postgres_database(postgres_url) as url:
        yield Settings(
            data_dir=data_dir,
            database_url=url,
            redis_url=redis_url,  # type: ignore[arg-type]
            dispatch="celery",
            plugins=["tests.jobs.plugin"],
            lease_seconds=3,
            cancel_grace_seconds=0.5,
            device="cpu",
        )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """The tables of jobs on PostgreSQL."""
    database = Database(settings.effective_database_url)
    make_tables(database)
    yield database
    database.dispose()


@pytest.fixture
def dispatcher(database: Database, settings: Settings, recorder: Recorder) -> Iterator[CeleryDispatcher]:
    """What a web server has."""
    dispatcher = open_dispatcher(database, settings, recorder)
    assert isinstance(dispatcher, CeleryDispatcher)
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    """Starts worker processes, and kills what is left of them at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*queues: str) -> subprocess.Popen[bytes]:
        if len(queues) > 1:
            command = [sys.executable, "-m", "tests.jobs.worker", _with_secrets(settings), *queues]
        else:
            command = worker_command(queues[0], 1, settings)
        environment = os.environ | settings_environment(settings)
        process = subprocess.Popen(command, env=environment, cwd=REPOSITORY)
        started.append(process)
        return process

    yield start
    for process in started:
        family = [process]
        if process.poll() is None:
            family = [*psutil.Process(process.pid).children(recursive=True), process]  # type: ignore[list-item]
        for one in family:
            one.kill()
        process.wait()


def _with_secrets(settings: Settings) -> str:
    plain: dict[str, Any] = settings.model_dump(mode="json")
    assert settings.redis_url is not None
    return json.dumps(plain | {"redis_url": settings.redis_url.get_secret_value()})


def counting(folder: Path, name: str = "a", **options: Any) -> CountParams:
    return CountParams(file=folder / f"{name}.count", trace=folder / f"{name}.trace", **options)


@pytest.mark.usefixtures("dispatcher")
def test_workers_run_jobs_by_queue_and_stop_cleanly(desk: Desk, settings: Settings, worker: Worker) -> None:
    kinds = ["test.count", "test.count_io", "test.count_gpu"]
    ids = [desk.submit(kind, counting(desk.folder, kind, steps=5)) for kind in kinds]
    bus = open_bus(settings)
    seen = {job_id: bus.read(f"jobs/{job_id}").seq for job_id in ids}
    workers = worker("cpu", "gpu", "io")
    for job_id in ids:
        job = desk.end(job_id, timeout=60)
        assert (job.state, job.attempt) == ("succeeded", 1), job.error
        assert job.result is not None and job.result["device"] == "cpu"
    for job_id in ids:
        desk.until(lambda job_id=job_id: "succeeded" in _told(bus, job_id, seen[job_id]))
        told = _told(bus, job_id, seen[job_id])
        assert [state for state in told if state in ("succeeded", "failed", "cancelled")] == ["succeeded"]
        assert told[0] == "running"  # “queued” was told by this process, to its own recorder
    bus.close()
    long = counting(desk.folder, "long", steps=10_000)
    job_id = desk.submit("test.count", long)
    desk.until(lambda: long.file.exists() and int(long.file.read_text()) > 3, timeout=60)
    workers.terminate()
    assert workers.wait(timeout=30) == 0
    job = desk.job(job_id)
    assert (job.state, job.attempt) == ("queued", 2)
    assert desk.do(jobs.cancel, job_id).state == "cancelled"


def _told(bus: EventBus, job_id: str, since: int) -> list[str]:
    events = bus.read(f"jobs/{job_id}", since).events
    assert events is not None
    return [event["data"]["state"] for event in events]


@pytest.mark.usefixtures("dispatcher")
def test_work_goes_on_elsewhere_after_kill_9_of_a_worker(
    desk: Desk, settings: Settings, worker: Worker
) -> None:
    first = worker("cpu")
    params = counting(desk.folder, steps=100)
    job_id = desk.submit("test.count", params)
    desk.until(lambda: params.file.exists() and int(params.file.read_text()) > 5, timeout=60)
    desk.do(lambda session, job: jobs.get_job(session, job), job_id)
    first.kill()
    first.wait()
    worker("cpu")
    job = desk.end(job_id, timeout=60)
    assert (job.state, job.attempt) == ("succeeded", 2), job.error
    assert job.result is not None and job.result["from"] > 5


def test_lost_messages_are_sent_again_and_cancel_reaches_a_worker(
    desk: Desk, settings: Settings, worker: Worker, recorder: Recorder, redis_url: str
) -> None:
    lost = desk.submit("test.count", counting(desk.folder, "lost", steps=2))  # no dispatcher heard of it
    worker("cpu")
    assert desk.end(lost, timeout=60).state == "succeeded"
    dispatcher = CeleryDispatcher(desk.database, settings, recorder)
    dispatcher.start()
    try:
        low = counting(desk.folder, "low", steps=10_000)
        job_id = desk.submit("test.count", low)
        desk.until(low.trace.exists, timeout=60)
        waiting = [
            desk.submit("test.count", counting(desk.folder, str(n), steps=1), priority=n) for n in range(3)
        ]
        redis.Redis.from_url(redis_url).delete("mistudio:cpu")
        desk.do(jobs.cancel, job_id)
        assert desk.end(job_id, timeout=20).state == "cancelled"
        ended = [desk.end(one, timeout=60) for one in waiting]
        assert [job.state for job in ended] == ["succeeded"] * 3
        order = sorted(ended, key=lambda job: job.started_at or job.created_at)
        assert [job.priority for job in order] == [2, 1, 0]
    finally:
        dispatcher.stop()


def test_a_command_does_not_wait_for_a_sweeper(
    desk: Desk, settings: Settings, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command queues its job, and only then begins to wait for it: the bell must ring nevertheless."""
    worker("cpu")
    desk.end(desk.submit("test.count", counting(desk.folder, "warm", steps=1)), timeout=60)  # it is ready
    monkeypatch.setattr("mistudio.jobs.celery.UNHEARD_SECONDS", 1_000)
    job_id = desk.submit("test.count", counting(desk.folder, steps=2))
    started = time.monotonic()
    assert run_job(desk.database, LoadedSettings(settings, {}), job_id)["to"] == 2
    # The worker's own sweeper would ring 5 s after the job was queued.
    assert time.monotonic() - started < 4.5


def test_a_burst_of_sweeps_leaves_no_more_bells_than_jobs(
    desk: Desk, settings: Settings, recorder: Recorder, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistudio.jobs.celery.UNHEARD_SECONDS", -1)
    for number in range(3):
        desk.submit("test.count", counting(desk.folder, str(number)))
    dispatcher = CeleryDispatcher(desk.database, settings, recorder)
    for _ in range(5):
        dispatcher.sweep()
    assert redis.Redis.from_url(redis_url).llen("mistudio:cpu") == 3


def test_submitting_works_while_redis_is_down(desk: Desk, settings: Settings, recorder: Recorder) -> None:
    down = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")})
    dispatcher = CeleryDispatcher(desk.database, down, recorder)
    dispatcher.start()
    try:
        job_id = desk.submit("test.count", counting(desk.folder))
        assert desk.job(job_id).state == "queued"
        assert recorder.states("jobs") == ["queued"]
    finally:
        dispatcher.stop()


def test_settings_survive_the_way_through_the_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = settings.model_copy(
        update={"import_folders": [tmp_path], "cpu_threads": 3, "allowed_hosts": ["a"]}
    )
    for name, value in settings_environment(full).items():
        monkeypatch.setenv(name, value)
    assert load_settings().settings == full


def test_celery_without_redis_is_refused(data_dir: Path) -> None:
    with pytest.raises(StudioError, match="redis_url is not set"):
        make_app(Settings(data_dir=data_dir, dispatch="celery"))


def test_an_unknown_queue_is_named(settings: Settings) -> None:
    from mistudio.jobs.celery import run_workers

    with pytest.raises(StudioError, match="tpu"):
        run_workers(settings, ["cpu", "tpu"])


def test_a_worker_that_hears_a_signal_from_outside_is_not_a_failed_job(
    desk: Desk, worker: Worker, dispatcher: CeleryDispatcher
) -> None:
    worker("cpu")
    params = counting(desk.folder, steps=60)
    job_id = desk.submit("test.count", params)
    desk.until(params.trace.exists, timeout=60)
    os.kill(int(params.trace.read_text().split()[1]), signal.SIGTERM)
    job = desk.end(job_id, timeout=60)
    assert (job.state, job.attempt) == ("succeeded", 2)
