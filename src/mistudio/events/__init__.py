"""Events make state prompt: publish on a channel, and every client that follows it hears.

State is always readable by GET; an event is never the only place where something stands. Every event
carries a sequence number of its channel, so that a client knows what it missed (see
`mistudio.events.following`).
"""

from mistudio.events.bus import Event, EventBus, Replay
from mistudio.events.channels import ChannelInvalid, check_channel
from mistudio.events.local import LocalBus
from mistudio.events.opening import open_bus

__all__ = ["ChannelInvalid", "Event", "EventBus", "LocalBus", "Replay", "check_channel", "open_bus"]
