"""What must happen only once a transaction is committed: removing folders, telling clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.orm import Session

_ACTIONS = "mistudio.after_commit"


class Publisher(Protocol):
    """Whatever carries events: a job's context, or the web's event bus."""

    def publish(self, channel: str, type: str, data: Any, key: str | None = None) -> object:
        """Send an event to the clients of a channel."""
        ...


def after_commit(session: Session, action: Callable[[], object]) -> None:
    """Run `action` when the session's outermost transaction has committed; forget it if that rolls back."""
    session.info.setdefault(_ACTIONS, []).append(action)


def announce(session: Session, publisher: Publisher, table: str, id: str, type: str) -> None:
    """After the commit, tell clients that a row was `created`, `changed` or `deleted`."""

    def tell() -> None:
        for channel in (table, f"{table}/{id}"):
            publisher.publish(channel, type, {"id": id})

    after_commit(session, tell)


def _committed(session: Session) -> None:
    if not session.in_nested_transaction():
        for action in session.info.pop(_ACTIONS, []):
            action()


def _rolled_back(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop(_ACTIONS, None)


event.listen(Session, "after_commit", _committed)
event.listen(Session, "after_rollback", _rolled_back)
