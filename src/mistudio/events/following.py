"""How a client keeps a channel in order: the reference rule, for Python clients and for anyone who writes
another.

1. On connecting, and on connecting again, emit `subscribe {channel, last_seq}` (without `last_seq` the
   first time). Events that arrive before the answer are kept aside.
2. The answer holds `seq` and either `snapshot` (put it in place of what is known) or `events` (apply in
   order). From then on `last_seq = seq`. Apply what was kept aside by rule 3.
3. An event whose `seq` is `last_seq + 1` is applied; one at or below `last_seq` is dropped, it is known
   already; one above means that something was lost: keep it aside and subscribe again with `last_seq`.
4. On `resync` subscribe again to every channel with its `last_seq`.
5. While the socket is down, `GET /api/v1/state/{channel}` every few seconds gives the same `seq` and
   `snapshot`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Follower:
    """The rule for one channel, without any network: the caller emits `subscribe` when `wants_subscribe` is
    true.

    `on_snapshot(snapshot)` and `on_event(event)` are called in order, each event exactly once.
    """

    def __init__(
        self, on_snapshot: Callable[[Any], None], on_event: Callable[[dict[str, Any]], None]
    ) -> None:
        self._on_snapshot = on_snapshot
        self._on_event = on_event
        self._aside: list[dict[str, Any]] = []
        self.last_seq: int | None = None
        self.wants_subscribe = True

    def lost_connection(self) -> None:
        """The socket went down, or the server said `resync`."""
        self.wants_subscribe = True

    def subscribing(self) -> dict[str, Any]:
        """What to send besides the channel; call it when the request leaves."""
        return {} if self.last_seq is None else {"last_seq": self.last_seq}

    def subscribed(self, answer: dict[str, Any]) -> None:
        """The answer to `subscribe`."""
        self.wants_subscribe = False
        if answer.get("events") is not None:
            for event in answer["events"]:
                self._apply(event)
        else:
            self._on_snapshot(answer.get("snapshot"))
        self.last_seq = answer["seq"]
        aside, self._aside = self._aside, []
        for event in sorted(aside, key=lambda event: event["seq"]):
            self.received(event)

    def received(self, event: dict[str, Any]) -> None:
        """An event of this channel arrived."""
        if self.wants_subscribe or self.last_seq is None or event["seq"] > self.last_seq + 1:
            self._aside.append(event)
            self.wants_subscribe = True
        else:
            self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        if self.last_seq is not None and event["seq"] <= self.last_seq:
            return
        self._on_event(event)
        self.last_seq = event["seq"]
