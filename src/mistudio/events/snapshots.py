"""The state that a client is given when it joins a channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mistudio.db import Database
from mistudio.domain import load
from mistudio.events.bus import EventBus
from mistudio.events.channels import check_channel


class Snapshots:
    """Reads a channel's state through the function that its domain named for the longest matching prefix.

    The functions are imported on first use and called as `function(session, channel) -> dict`. A channel of
    which no domain tells has the snapshot None: its events say that something changed, and where to look is
    the client's business.
    """

    def __init__(self, bus: EventBus, database: Database, readers: Mapping[str, str]) -> None:
        self._bus = bus
        self._database = database
        self._readers = {prefix.rstrip("/"): path for prefix, path in readers.items()}
        self._loaded: dict[str, Callable[..., Any]] = {}

    def read(self, channel: str) -> dict[str, Any] | None:
        """The present state of a channel. Raises ChannelInvalid, or what the domain raises (NotFound…)."""
        prefix = check_channel(channel)
        while prefix and prefix not in self._readers:
            prefix = prefix.rpartition("/")[0]
        if not prefix:
            return None
        if prefix not in self._loaded:
            self._loaded[prefix] = load(self._readers[prefix])
        with self._database.reading() as session:
            return self._loaded[prefix](session, channel)

    def read_state(self, channel: str) -> dict[str, Any]:
        """Sequence number and state, the number read first: events up to it are surely in the state."""
        seq = self._bus.read(check_channel(channel)).seq
        return {"seq": seq, "snapshot": self.read(channel)}
