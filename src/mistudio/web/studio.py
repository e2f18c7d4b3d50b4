"""What a running server holds, and the dependencies through which routes reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from mistudio.db import Database
from mistudio.settings import LoadedSettings, Settings

# A request that holds a transaction needs a thread once more to finish, so requests that wait for a lock or a
# connection must never hold all 40 threads: the rest waits for its turn without one.
WRITERS = 4
READERS = 16


class Publisher(Protocol):
    """Where events go (`mistudio.events.EventBus`)."""

    def publish(self, channel: str, type: str, data: Any, key: str | None = None) -> None:
        """Announce an event on a channel; events with a `key` are coalesced when they come too fast."""
        ...


class Dispatcher(Protocol):
    """Who starts queued jobs while the server runs (`mistudio.jobs`)."""

    def start(self) -> None:
        """Begin to take jobs from the queue."""
        ...

    def stop(self) -> None:
        """Stop taking jobs; returns within seconds."""
        ...


@dataclass
class Studio:
    """One running application: settings, database, events, and who runs its jobs.

    `read_state(channel)` returns `{"seq": int, "snapshot": dict | None}`, the same that a joining socket is
    given. `checks` are named probes for `/ready`; each returns None when well, else one sentence.
    """

    loaded: LoadedSettings
    database: Database
    events: Publisher
    dispatcher: Dispatcher | None = None
    read_state: Callable[[str], dict[str, Any]] | None = None
    checks: dict[str, Callable[[], str | None]] = field(default_factory=dict[str, Callable[[], "str | None"]])

    @property
    def settings(self) -> Settings:
        """The effective settings."""
        return self.loaded.settings


def _studio(request: Request) -> Studio:
    return request.app.state.studio


def _settings(request: Request) -> Settings:
    return request.app.state.studio.settings


def _session(request: Request) -> Iterator[Session]:
    with request.app.state.studio.database.session() as session:
        yield session


def _reading(request: Request) -> Iterator[Session]:
    with request.app.state.studio.database.reading() as session:
        yield session


# scope="function": the transaction is committed before the response leaves, so that a client can read what
# it wrote and a failing commit is an error response.
SessionDep = Annotated[Session, Depends(_session, scope="function", max_concurrency=WRITERS)]
"""A write transaction: committed when the route returns, rolled back when it raises."""
ReadingDep = Annotated[Session, Depends(_reading, scope="function", max_concurrency=READERS)]
"""A session for queries alone; takes no write lock. Objects must be converted before the route returns."""
SettingsDep = Annotated[Settings, Depends(_settings)]
StudioDep = Annotated[Studio, Depends(_studio)]
