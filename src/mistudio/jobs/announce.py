"""Telling clients about a change of a job: after the commit, once, by the process that made the change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from mistudio.db import Database
from mistudio.jobs.schemas import JobOut
from mistudio.jobs.tables import Job

logger = logging.getLogger(__name__)
Listener = Callable[[Job], None]
_listeners: WeakKeyDictionary[Engine, list[Listener]] = WeakKeyDictionary()
_CHANGES = "mistudio.jobs.changes"


class Publisher(Protocol):
    """Whatever carries events to clients (`mistudio.events` has a local and a Redis one)."""

    def publish(self, channel: str, type: str, data: dict[str, Any], key: str | None = None) -> object:
        """Publish one event; of events with one key, only the newest matters."""
        ...


def job_event(job: Job | JobOut) -> dict[str, Any]:
    """The data of an event of type `job`: JobOut as JSON."""
    return JobOut.model_validate(job).model_dump(mode="json")


def publish_job(publisher: Publisher, job: Job | JobOut, key: str | None = None) -> None:
    """Publish the job's present state on all of its channels. A carrier that fails is logged, not raised.

    A change of state has no `key` and always gets through; progress has one: the newest replaces the rest.
    """
    data = job_event(job)
    for channel in (f"jobs/{job.id}", "jobs", job.subject):
        try:
            publisher.publish(channel, "job", data, key)
        except Exception:
            logger.exception("the event of job %s on %s could not be published", job.id, channel)


def listen(database: Database, listener: Listener) -> Callable[[], None]:
    """Call `listener(job)` after each commit of this process that changed a job. Returns the way to stop."""
    listeners = _listeners.setdefault(database.engine, [])
    listeners.append(listener)

    def stop() -> None:
        if listener in listeners:
            listeners.remove(listener)

    return stop


def announce_changes(database: Database, publisher: Publisher) -> Callable[[], None]:
    """Publish every change of a job that this process makes (a dispatcher does so by itself)."""
    return listen(database, lambda job: publish_job(publisher, job))


def changed(session: Session, job: Job) -> None:
    """Note that this transaction changed the job; the listeners hear of it after the commit."""
    session.info.setdefault(_CHANGES, {})[job.id] = job  # several changes in one transaction are seen as one


def _after_commit(session: Session) -> None:
    if session.in_nested_transaction():
        return  # only the outermost commit makes the change visible to others
    for job in session.info.pop(_CHANGES, {}).values():
        for listener in list(_listeners.get(session.get_bind().engine, [])):
            try:
                listener(job)
            except Exception:  # the change is committed: whoever made it must not see this as a failure of it
                logger.exception("a listener failed for job %s", job.id)


def _after_rollback(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop(_CHANGES, None)


event.listen(Session, "after_commit", _after_commit)
event.listen(Session, "after_rollback", _after_rollback)
