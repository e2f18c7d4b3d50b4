"""The event bus: where everything is published, whoever carries it."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from pydantic_core import to_json

from mistudio.db import utc_now
from mistudio.events.channels import check_channel
from mistudio.events.coalescing import Announcement, Coalescer

_log = logging.getLogger("mistudio.events")

HISTORY_EVENTS = 512
HISTORY_SECONDS = 600


class Event(TypedDict):
    """What a client receives. `seq` grows by one from event to event of a channel."""

    channel: str
    seq: int
    type: str
    data: Any
    at: str


@dataclass(frozen=True)
class Replay:
    """Where a channel stands. `events` is what followed the sequence number asked about, or None where the
    history does not reach back that far and the client needs a snapshot."""

    seq: int
    events: list[Event] | None


def first_seq() -> int:
    """Where a new sequence begins: the clock in microseconds.

    After a restart, or after a channel was forgotten, numbers thereby go on above all earlier ones: a
    client that comes back with an old number can never be mistaken for one that is up to date. Below 2^53
    until 2255, so that JavaScript counts them exactly.
    """
    return time.time_ns() // 1000


class EventBus(ABC):
    """Publishing for any thread. Nothing blocks the publisher: a thread of the bus numbers and delivers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._coalescer = Coalescer()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._delivering = False

    def publish(self, channel: str, type: str, data: Any, key: str | None = None) -> None:
        """Announce an event. `data` is anything that pydantic can write as JSON; NaN and infinity become
        null.

        Events that share a `key` are states of one thing, of which the newest counts: over 10 a second on the
        channel, the older are dropped and the newest is delivered when its turn comes. Events without a key
        are all delivered. After `close` it does nothing. Raises ChannelInvalid.
        """
        check_channel(channel)
        text = to_json(data, inf_nan_mode="null").decode()
        announcement = Announcement(channel, type, text, utc_now().isoformat(), key)
        with self._changed:
            if self._closed:
                return
            self._coalescer.offer(announcement, self._clock())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mistudio-events", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until everything published so far is delivered (tests, ends of processes). False on
        timeout."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._delivering or self._coalescer.next_due(self._clock()) is not None:
                left = deadline - time.monotonic()
                if left <= 0 or self._thread is None or not self._thread.is_alive():
                    return False
                self._changed.wait(left)
        return True

    def close(self, timeout: float = 2.0) -> None:
        """Deliver what waits, then stop. Nothing can be published afterwards."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    @abstractmethod
    def read(self, channel: str, last_seq: int | None = None) -> Replay:
        """Where the channel stands, and what came after `last_seq` if the history still knows."""

    @abstractmethod
    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each event that this process must bring to its own clients (from the bus
        thread)."""

    @abstractmethod
    def check(self) -> str | None:
        """None when events flow, else one sentence that says why not."""

    @abstractmethod
    def _deliver(self, batch: list[Announcement]) -> list[Announcement]:
        """Number and deliver; return those that could not be delivered now and must be tried again."""

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                while True:
                    now = self._clock()
                    due = self._coalescer.next_due(now)
                    if self._closed or (due is not None and due <= now):
                        break
                    self._changed.wait(None if due is None else due - now)
                closing = self._closed
                batch = self._coalescer.drain() if closing else self._coalescer.take(now)
                self._delivering = True
            left: list[Announcement] = []
            try:
                left = self._deliver(batch)
            except Exception:
                _log.exception("Events could not be delivered")
            with self._changed:
                self._delivering = False
                if left:
                    self._coalescer.put_back(left)
                self._changed.notify_all()
                if closing:
                    return
                pause = min(2.0, pause * 2 or 0.1) if left else 0.0
                if pause:
                    self._changed.wait_for(lambda: self._closed, pause)
