"""Events within one process: the bus of a laptop."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic_core import from_json

from mistudio.events.bus import HISTORY_EVENTS, HISTORY_SECONDS, Event, EventBus, Replay, first_seq
from mistudio.events.coalescing import Announcement

MAX_CHANNELS = 2_000
MAX_BYTES = 64_000_000


@dataclass
class _Channel:
    seq: int
    history: deque[tuple[Announcement, int, float]] = field(
        default_factory=deque[tuple[Announcement, int, float]]
    )
    size: int = 0


class LocalBus(EventBus):
    """Numbers and remembers events in memory: per channel the last 512 of the last 10 minutes, over all
    channels at most 64 MB and 2,000 channels; the channel that was quiet longest is forgotten first."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        history: int = HISTORY_EVENTS,
        max_channels: int = MAX_CHANNELS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(clock)
        self._history = history
        self._max_channels = max_channels
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        self._size = 0
        self._listeners: list[Callable[[Event], None]] = []

    def read(self, channel: str, last_seq: int | None = None) -> Replay:
        """See EventBus."""
        with self._lock:
            known = self._touch(channel)
            self._forget()
            if last_seq is None or last_seq > known.seq:
                return Replay(known.seq, None)
            missed = known.seq - last_seq
            if missed > len(known.history):
                return Replay(known.seq, None)
            wanted = list(known.history)[len(known.history) - missed :]
        return Replay(known.seq, [_event(announcement, seq) for announcement, seq, _ in wanted])

    def listen(self, listener: Callable[[Event], None]) -> None:
        """See EventBus."""
        self._listeners.append(listener)

    def check(self) -> str | None:
        """See EventBus; in one process there is nothing that could be away."""
        return None

    def _deliver(self, batch: list[Announcement]) -> list[Announcement]:
        for announcement in batch:
            with self._lock:
                known = self._touch(announcement.channel)
                known.seq += 1
                seq = known.seq
                known.history.append((announcement, seq, self._clock()))
                known.size += len(announcement.text)
                self._size += len(announcement.text)
                if len(known.history) > self._history:
                    self._drop_oldest(known)
                self._forget()
            if self._listeners:
                event = _event(announcement, seq)
                for listener in self._listeners:
                    listener(event)
        return []

    def _touch(self, channel: str) -> _Channel:
        known = self._channels.get(channel)
        if known is None:
            known = self._channels[channel] = _Channel(first_seq())
        self._channels.move_to_end(channel)
        while known.history and known.history[0][2] < self._clock() - HISTORY_SECONDS:
            self._drop_oldest(known)
        return known

    def _drop_oldest(self, known: _Channel) -> None:
        size = len(known.history.popleft()[0].text)
        known.size -= size
        self._size -= size

    def _forget(self) -> None:
        while len(self._channels) > 1 and (
            len(self._channels) > self._max_channels or self._size > self._max_bytes
        ):
            _, forgotten = self._channels.popitem(last=False)
            self._size -= forgotten.size


def _event(announcement: Announcement, seq: int) -> Event:
    return Event(
        channel=announcement.channel,
        seq=seq,
        type=announcement.type,
        data=from_json(announcement.text),
        at=announcement.at,
    )
