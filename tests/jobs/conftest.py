"""Databases, dispatchers and server processes over the test plugin's kinds of jobs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mistudio.db import Base, Database
from mistudio.domain import JobKind
from mistudio.jobs import Job, await_job, get_job, register_kinds, submit
from mistudio.jobs.local import LocalDispatcher
from mistudio.settings import Settings
from tests.jobs.plugin import domain

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[str, JobKind] = {kind.name: kind for kind in domain.job_kinds}
    register_kinds(kinds)
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    """Short leases and little patience, so that the tests are quick."""
    return Settings(
        data_dir=data_dir,
        plugins=["tests.jobs.plugin"],
        lease_seconds=3,
        cancel_grace_seconds=0.5,
        cpu_slots=2,
        device="cpu",
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """An SQLite database with the tables of jobs."""
    database = Database(settings.effective_database_url)
    Base.metadata.create_all(database.engine, tables=_tables())
    yield database
    database.dispose()


def _tables() -> list[Any]:
    return [Base.metadata.tables[name] for name in ("jobs", "job_messages")]


def make_tables(database: Database) -> None:
    """Create the tables of jobs in another database."""
    Base.metadata.create_all(database.engine, tables=_tables())


@dataclass
class Recorder:
    """A publisher that remembers: (channel, type, data) in order."""

    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def publish(self, channel: str, type: str, data: dict[str, Any], key: str | None = None) -> None:
        """Remember it."""
        with self.lock:
            self.events.append((channel, type, data))

    def states(self, channel: str) -> list[str]:
        """The states that the events of type `job` on this channel went through."""
        with self.lock:
            states = [data["state"] for at, type, data in self.events if (at, type) == (channel, "job")]
        return [state for before, state in zip([None, *states], states, strict=False) if state != before]

    def finals(self, channel: str) -> list[str]:
        """Every announcement of a final state on this channel."""
        final = ("succeeded", "failed", "cancelled")
        with self.lock:
            return [
                d["state"]
                for at, type, d in self.events
                if at == channel and type == "job" and d["state"] in final
            ]


@pytest.fixture
def recorder() -> Recorder:
    """Where the dispatcher publishes."""
    return Recorder()


@pytest.fixture
def dispatcher(database: Database, settings: Settings, recorder: Recorder) -> Iterator[LocalDispatcher]:
    """A running local dispatcher."""
    dispatcher = LocalDispatcher(database, settings, recorder)
    dispatcher.start()
    yield dispatcher
    dispatcher.stop()


@dataclass
class Desk:
    """Shorthand over one database."""

    database: Database
    folder: Path

    def submit(self, kind: str, params: BaseModel, **options: Any) -> str:
        """Queue a job; its id."""
        subject = options.pop("subject", "things/th_1")
        with self.database.session() as session:
            return submit(session, kind, subject=subject, title=kind, params=params, **options).id

    def do(self, action: Callable[..., Any], job_id: str, *arguments: Any) -> Any:
        """One action in a transaction of its own."""
        with self.database.session() as session:
            return action(session, job_id, *arguments)

    def job(self, job_id: str) -> Job:
        """The row as it is."""
        with self.database.reading() as session:
            return get_job(session, job_id)

    def end(self, job_id: str, timeout: float = 30) -> Job:
        """The row once the job has ended."""
        return await_job(self.database, job_id, timeout, interval=0.02)

    def until(self, condition: Callable[[], Any], timeout: float = 30) -> Any:
        """Wait for a condition to hold."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)
        return value

    def until_state(self, job_id: str, state: str) -> Job:
        """The row once it is in this state."""
        self.until(lambda: self.job(job_id).state == state)
        return self.job(job_id)


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    """Shorthand over the test's database."""
    return Desk(database, tmp_path)


@pytest.fixture
def server() -> Iterator[Callable[[Settings], subprocess.Popen[str]]]:
    """Starts server processes that run jobs; those that still live are killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(settings: Settings) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.jobs.host", settings.model_dump_json()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
