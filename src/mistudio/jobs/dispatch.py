"""Who starts queued jobs: one narrow interface, chosen by the settings."""

from __future__ import annotations

from typing import Protocol

from mistudio.db import Database
from mistudio.jobs.announce import Publisher
from mistudio.jobs.tables import Job
from mistudio.settings import Settings


class Dispatcher(Protocol):
    """Brings queued jobs to a supervisor. While started, it also announces what this process changes."""

    def enqueue(self, job: Job) -> None:
        """A job was queued: see to it that it is started, soon but not necessarily here."""
        ...

    def start(self) -> None:
        """Begin, and pick up what was left behind."""
        ...

    def stop(self) -> None:
        """End within seconds: resumable jobs that run go back to the queue, others are told to stop."""
        ...


def open_dispatcher(database: Database, settings: Settings, publisher: Publisher) -> Dispatcher:
    """The dispatcher for a web server with these settings. Raises StudioError if it cannot work with them."""
    if settings.dispatch == "celery":
        from mistudio.jobs.celery import CeleryDispatcher

        return CeleryDispatcher(database, settings, publisher)
    from mistudio.jobs.local import LocalDispatcher

    return LocalDispatcher(database, settings, publisher)
