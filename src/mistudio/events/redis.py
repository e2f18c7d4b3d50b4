"""Events over Redis: any process publishes, every web server hears, and the numbers are Redis's own."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import redis
from pydantic_core import from_json
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from mistudio.errors import StudioError
from mistudio.events.bus import HISTORY_EVENTS, HISTORY_SECONDS, Event, EventBus, Replay
from mistudio.events.coalescing import Announcement
from mistudio.events.local import LocalBus

_log = logging.getLogger("mistudio.events")

SOCKET_CHANNEL = "mistudio:sockets"
"""The Redis channel over which the Socket.IO servers hear what to emit."""

_SEQ_SECONDS = 86_400
_PUBLISHER_SECONDS = 600

# One script, so that the order of the numbers is the order of the history and of what the servers hear. A
# publisher counts its announcements: one that is sent again, because the answer to the first try was lost,
# is known by that.
_PUBLISH = """
local seen = redis.call('GET', KEYS[3])
if seen and tonumber(seen) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[7])
local seq = redis.call('INCR', KEYS[1])
if seq == 1 then
  local now = redis.call('TIME')
  seq = now[1] * 1000000 + now[2] + 1
  redis.call('SET', KEYS[1], string.format('%.0f', seq))
  redis.call('DEL', KEYS[2])
end
redis.call('EXPIRE', KEYS[1], ARGV[6])
local event = '{"seq":' .. string.format('%.0f', seq) .. ',' .. ARGV[2]
redis.call('RPUSH', KEYS[2], event)
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[4]), -1)
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', KEYS[4], '{"data":[' .. event .. '],' .. ARGV[3])
return 1
"""

_READ = """
local seq = redis.call('GET', KEYS[1])
if not seq then
  local now = redis.call('TIME')
  seq = string.format('%.0f', now[1] * 1000000 + now[2])
  redis.call('SET', KEYS[1], seq, 'EX', ARGV[2])
  redis.call('DEL', KEYS[2])
end
if ARGV[1] == '' then return {seq} end
local missed = tonumber(seq) - tonumber(ARGV[1])
if missed < 0 or missed > redis.call('LLEN', KEYS[2]) then return {seq} end
if missed == 0 then return {seq, {}} end
return {seq, redis.call('LRANGE', KEYS[2], -missed, -1)}
"""


class RedisBus(EventBus):
    """The bus of a cluster. Workers only publish with it; web servers also read, and hear through Socket.IO's
    Redis manager.

    Channels under `local` tell about this server alone (its processors, its disk) and stay in it. While
    Redis is away, announcements wait (bounded) and are sent when it is back.
    """

    def __init__(
        self, url: str, *, local: Sequence[str] = ("system",), clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock)
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=2,
            socket_connect_timeout=2,
            health_check_interval=15,
            retry=Retry(NoBackoff(), 1),
        )
        self._publish_script = self._redis.register_script(_PUBLISH)
        self._read_script = self._redis.register_script(_READ)
        self._publisher = secrets.token_hex(8)
        self._sent = 0
        self._away = False
        self._local = LocalBus(clock)
        self._local_prefixes = tuple(local)

    def publish(self, channel: str, type: str, data: Any, key: str | None = None) -> None:
        """See EventBus."""
        if self._is_local(channel):
            self._local.publish(channel, type, data, key)
        else:
            super().publish(channel, type, data, key)

    def read(self, channel: str, last_seq: int | None = None) -> Replay:
        """See EventBus. Raises StudioError `redis_unreachable`."""
        if self._is_local(channel):
            return self._local.read(channel, last_seq)
        try:
            answer = cast(
                "list[Any]",
                self._read_script(
                    keys=[_key(channel, "seq"), _key(channel, "log")],
                    args=["" if last_seq is None else last_seq, _SEQ_SECONDS],
                ),
            )
        except RedisError as error:
            raise StudioError(
                "redis_unreachable",
                "The server that carries events (Redis) does not answer.",
                hint="Check redis_url and that Redis runs; the rest of miStudio goes on.",
                status=503,
            ) from error
        events = [cast("Event", from_json(item)) for item in answer[1]] if len(answer) > 1 else None
        return Replay(int(answer[0]), events)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Only what is local comes this way; the rest through the Redis manager of the Socket.IO server."""
        self._local.listen(listener)

    def check(self) -> str | None:
        """See EventBus."""
        try:
            self._redis.ping()
        except RedisError:
            return "Redis does not answer."
        return None

    def flush(self, timeout: float = 2.0) -> bool:
        """See EventBus."""
        return self._local.flush(timeout) and super().flush(timeout)

    def close(self, timeout: float = 2.0) -> None:
        """See EventBus."""
        self._local.close(timeout)
        super().close(timeout)
        self._redis.close()

    def _is_local(self, channel: str) -> bool:
        return channel.partition("/")[0] in self._local_prefixes

    def _deliver(self, batch: list[Announcement]) -> list[Announcement]:
        for index, announcement in enumerate(batch):
            channel = announcement.channel
            try:
                self._publish_script(
                    keys=[
                        _key(channel, "seq"),
                        _key(channel, "log"),
                        f"mistudio:events:from:{self._publisher}",
                        SOCKET_CHANNEL,
                    ],
                    args=[
                        self._sent + 1,
                        _event_text(announcement),
                        _socket_text(announcement, self._publisher),
                        HISTORY_EVENTS,
                        HISTORY_SECONDS,
                        _SEQ_SECONDS,
                        _PUBLISHER_SECONDS,
                    ],
                )
            except RedisError as error:
                if not self._away:
                    _log.warning("Events wait because Redis does not answer: %s", type(error).__name__)
                self._away = True
                return batch[index:]
            self._sent += 1
            self._away = False
        return []


def _key(channel: str, part: str) -> str:
    return f"mistudio:events:{{{channel}}}:{part}"


def _event_text(announcement: Announcement) -> str:
    """The event's JSON after its number; the script puts `{"seq":N,` before it."""
    return (
        f'"channel":{json.dumps(announcement.channel)},"type":{json.dumps(announcement.type)},'
        f'"data":{announcement.text},"at":{json.dumps(announcement.at)}}}'
    )


def _socket_text(announcement: Announcement, publisher: str) -> str:
    """The rest of the message by which python-socketio's pub/sub managers are told to emit to a room."""
    return json.dumps(
        {
            "method": "emit",
            "event": "event",
            "binary": False,
            "namespace": "/",
            "room": announcement.channel,
            "skip_sid": None,
            "callback": None,
            "host_id": publisher,
        }
    ).removeprefix("{")
