"""Run a job from the command line to its end, with a progress bar that shows rate and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mistudio.db import Database
from mistudio.errors import Conflict, StudioError
from mistudio.events import open_bus
from mistudio.jobs import Job, cancel, get_job, pause
from mistudio.jobs.local import LocalDispatcher
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.settings import LoadedSettings, Settings

_POLL_SECONDS = 0.1
_LINE_SECONDS = 15.0


class Watch(Protocol):
    """What shows a job while it runs."""

    def show(self, job: Job) -> None:
        """Draw the job as it is now; called several times a second."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found."""
        ...


def run_job(
    database: Database,
    loaded: LoadedSettings,
    job_id: str,
    *,
    watch: Watch | None = None,
    pauses: bool = False,
) -> dict[str, Any]:
    """Wait for the job, running it here unless a server or worker takes it first; returns its result.

    With dispatch=celery the workers run it. Ctrl-C cancels it or, where it `pauses`, asks it to save and wait; a second
    Ctrl-C cancels that, too. `watch` takes the place of the progress bar.
    Raises StudioError with the job's error, `job_cancelled` or `job_paused`.
    """
    watch = watch or _default_watch()
    with _dispatching(database, loaded.settings, job_id):
        try:
            job = _watch(database, job_id, watch)
        except KeyboardInterrupt:
            job = _leave(database, job_id, watch, pauses)
        finally:
            watch.close()
    if job.state == "failed":
        error = job.error or {}
        raise StudioError(
            error.get("code", "job_failed"), error.get("message", "The job failed."), hint=error.get("hint")
        )
    if job.state in ("cancelled", "paused"):
        raise StudioError(f"job_{job.state}", f"{job.title}: {job.state}.")
    return job.result or {}


def _leave(database: Database, job_id: str, watch: Watch, pauses: bool) -> Job:
    """Ask the job to end, or to save and wait; the job when it has."""
    try:
        with database.session() as session:
            (pause if pauses else cancel)(session, job_id)
        return _watch(database, job_id, watch)
    except Conflict:  # it has just ended
        return _watch(database, job_id, watch)
    except KeyboardInterrupt:
        with database.session() as session:
            cancel(session, job_id)
        return _watch(database, job_id, watch)


@contextmanager
def _dispatching(database: Database, settings: Settings, job_id: str) -> Generator[None]:
    """See to it that somebody starts the job, which was queued before anybody listened."""
    if settings.dispatch == "local":
        local = LocalDispatcher(database, settings, _Unheard(), only={job_id})
        local.start()
        try:
            yield
        finally:
            local.stop()
        return
    from mistudio.jobs.celery import CeleryDispatcher

    bus = open_bus(settings)
    celery = CeleryDispatcher(database, settings, bus)
    celery.start()
    try:
        celery.enqueue_id(job_id)
        yield
    finally:
        celery.stop()
        bus.close()


class _Unheard:
    """Nobody listens to a command's own events; a server on the same data folder sees the rows change."""

    def publish(self, channel: str, type: str, data: Any, key: str | None = None) -> None:
        """Drop the event."""


def _watch(database: Database, job_id: str, watch: Watch) -> Job:
    while True:
        with database.reading() as session:
            job = get_job(session, job_id)
        watch.show(job)
        if job.state in FINAL_STATES or job.state == "paused":
            return job
        time.sleep(_POLL_SECONDS)


def _default_watch() -> Watch:
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Bar:
    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<44}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[figures]:<34}"),
            TimeElapsedColumn(),
            console=RichConsole(stderr=True),
        )
        self._task: TaskID = self._progress.add_task("", total=None, figures="")
        self._progress.start()

    def show(self, job: Job) -> None:
        ended = job.state in FINAL_STATES
        self._progress.update(
            self._task,
            description=_heading(job),
            total=1.0 if ended else job.total,
            completed=1.0 if ended else (job.done or 0.0),
            figures=job.state if ended else figures(job),
        )

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    def __init__(self) -> None:
        self._at, self._said = 0.0, ("", "")

    def show(self, job: Job) -> None:
        said = ((job.stage or "").partition(", ")[0], job.state)
        now = time.monotonic()
        if said != self._said or now - self._at >= _LINE_SECONDS:
            self._at, self._said = now, said
            sys.stderr.write(f"{_heading(job)}: {job.state} {figures(job)}".rstrip() + "\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Lines stay as they are."""


def _heading(job: Job) -> str:
    return f"{job.title} · {job.stage}" if job.stage and job.state == "running" else job.title


def figures(job: Job) -> str:
    """`120k/400k tokens · 1.9k/s · 2:31 left`, with what is known."""
    parts: list[str] = []
    if job.done is not None and job.total:
        parts.append(f"{_short(job.done)}/{_short(job.total)} {job.unit or ''}".rstrip())
    if job.rate:
        parts.append(f"{_short(job.rate)}/s")
    if job.seconds_left is not None and job.state == "running":
        seconds = round(job.seconds_left)
        parts.append(f"{seconds // 60}:{seconds % 60:02d} left")
    return " · ".join(parts)


def _short(number: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{suffix}"
    return f"{number:.3g}"
