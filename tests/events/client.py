"""A real python-socketio client that follows channels by the reference rule."""

from __future__ import annotations

import threading
from typing import Any

import socketio

from mistudio.events.following import Follower


class FollowingClient:
    """Follows channels; `events[channel]` are the events applied, `snapshots[channel]` those received."""

    def __init__(self, url: str, transport: str = "websocket", **options: Any) -> None:
        self.url = url
        self.transport = transport
        self.io = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.3, **options)
        self.followers: dict[str, Follower] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.snapshots: dict[str, list[Any]] = {}
        self.answers: list[dict[str, Any]] = []
        self.resyncs = 0
        self._lock = threading.RLock()
        self.io.on("event", self._event)
        self.io.on("resync", self._resync)
        self.io.on("connect", self._connected)

    def __enter__(self) -> FollowingClient:
        self.io.connect(self.url, transports=[self.transport], wait_timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave. The library waits for its last long poll to come back; nobody else has to."""
        threading.Thread(target=self.io.disconnect, daemon=True).start()

    def follow(self, channel: str) -> dict[str, Any]:
        """Subscribe; returns the answer."""
        events, snapshots = self.events.setdefault(channel, []), self.snapshots.setdefault(channel, [])
        with self._lock:
            self.followers[channel] = Follower(snapshots.append, events.append)
        return self.subscribe(channel)

    def subscribe(self, channel: str) -> dict[str, Any]:
        with self._lock:
            request = {"channel": channel, **self.followers[channel].subscribing()}
        answer = self.io.call("subscribe", request, timeout=10)
        self._answered(channel, answer)
        return answer

    def _answered(self, channel: str, answer: dict[str, Any]) -> None:
        self.answers.append(answer)
        if "error" not in answer:
            with self._lock:
                self.followers[channel].subscribed(answer)

    def _subscribe_behind(self, channel: str) -> None:
        with self._lock:
            request = {"channel": channel, **self.followers[channel].subscribing()}
        self.io.emit("subscribe", request, callback=lambda answer: self._answered(channel, answer))

    def _event(self, event: dict[str, Any]) -> None:
        with self._lock:
            follower = self.followers.get(event["channel"])
            if follower is None:
                return
            asked = follower.wants_subscribe
            follower.received(event)
            again = follower.wants_subscribe and not asked
        if again:
            self._subscribe_behind(event["channel"])

    def _resync(self, _data: Any) -> None:
        self.resyncs += 1
        for channel, follower in list(self.followers.items()):
            follower.lost_connection()
            self._subscribe_behind(channel)

    def _connected(self) -> None:
        for channel, follower in list(self.followers.items()):
            follower.lost_connection()
            self._subscribe_behind(channel)

    def numbers(self, channel: str) -> list[int]:
        """What the client would show: the newest snapshot's numbers, then those of the events after it."""
        with self._lock:
            return [event["data"]["n"] for event in self.events[channel]]
