"""Progress comes faster than anyone can look: keyed events are thinned, and the newest always gets
through."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

KEYED_PER_SECOND = 10
MAX_WAITING_KEYS = 1_000
MAX_READY = 20_000


@dataclass(frozen=True)
class Announcement:
    """An event before it has its number. `text` is its data as JSON; `at` is ISO 8601 in UTC."""

    channel: str
    type: str
    text: str
    at: str
    key: str | None = None


class Coalescer:
    """Decides which announcements may leave, and when. Pure: it is told the time and does nothing by itself.

    An announcement without a key leaves at once. Of those with a key at most `KEYED_PER_SECOND` a second
    leave per channel; while they wait, only the newest of each key is kept, and keys take turns in the
    order in which they began to wait. A keyless announcement never overtakes: whatever waits on its channel
    leaves before it, so the order of the events of one key, and their order around keyless ones, is the
    order of publishing.
    """

    def __init__(self) -> None:
        self.interval = 1 / KEYED_PER_SECOND
        self._ready: deque[Announcement] = deque()
        self._waiting: dict[str, OrderedDict[str, Announcement]] = {}
        self._last_keyed: dict[str, float] = {}
        self.dropped = 0
        """Announcements given up because nobody took them (see `MAX_READY`)."""

    def offer(self, announcement: Announcement, now: float) -> None:
        """Add an announcement at the time `now` (seconds of any steady clock)."""
        channel = announcement.channel
        if announcement.key is None:
            for earlier in self._waiting.pop(channel, {}).values():
                self._let_go(earlier)
            self._let_go(announcement)
            return
        waiting = self._waiting.setdefault(channel, OrderedDict())
        waiting[announcement.key] = announcement
        if len(waiting) > MAX_WAITING_KEYS:
            self._let_go(waiting.popitem(last=False)[1])
        self._release(channel, now)

    def take(self, now: float) -> list[Announcement]:
        """Everything that may leave at the time `now`, in order; it is then gone from here."""
        for channel in list(self._waiting):
            self._release(channel, now)
        if len(self._last_keyed) > 1_000:
            # A set-back clock must not keep entries for ever either, hence abs.
            recent = {c: t for c, t in self._last_keyed.items() if abs(now - t) < self.interval}
            self._last_keyed = recent
        taken = list(self._ready)
        self._ready.clear()
        return taken

    def drain(self) -> list[Announcement]:
        """Everything that is left, at the end."""
        for waiting in self._waiting.values():
            self._ready.extend(waiting.values())
        self._waiting.clear()
        taken = list(self._ready)
        self._ready.clear()
        return taken

    def next_due(self, now: float) -> float | None:
        """When `take` will next have something (may be in the past); None while nothing waits."""
        if self._ready:
            return now
        due = (self._last_keyed.get(channel, now) + self.interval for channel in self._waiting)
        return min(due, default=None)

    def put_back(self, announcements: list[Announcement]) -> None:
        """Return what could not be delivered; it will be taken first."""
        self._ready.extendleft(reversed(announcements))

    def _release(self, channel: str, now: float) -> None:
        last = self._last_keyed.get(channel)
        if last is not None and now < last + self.interval:
            return
        waiting = self._waiting[channel]
        self._let_go(waiting.popitem(last=False)[1])
        self._last_keyed[channel] = now
        if not waiting:
            del self._waiting[channel]

    def _let_go(self, announcement: Announcement) -> None:
        if len(self._ready) >= MAX_READY:
            self._ready.popleft()
            self.dropped += 1
        self._ready.append(announcement)
