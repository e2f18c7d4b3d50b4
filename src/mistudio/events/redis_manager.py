"""python-socketio's Redis manager, which also tells clients when it may have missed something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from socketio import AsyncRedisManager

from mistudio.events.redis import SOCKET_CHANNEL

_log = logging.getLogger("mistudio.events")


class ClusterManager(AsyncRedisManager):
    """Hears over Redis what to emit to this server's clients.

    Redis does not keep what it could not hand over, so after a broken connection every client is told to
    `resync`: it asks for what followed the last number that it saw.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, channel=SOCKET_CHANNEL)
        self.server: Any

    async def _listen(self) -> AsyncIterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        pause, told = 0.1, False
        while True:
            client: Any = redis.asyncio.Redis.from_url(
                self.redis_url, socket_connect_timeout=2, health_check_interval=10
            )
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(SOCKET_CHANNEL)
                    # Wait for the answer, so that nothing falls between the subscription and the resync.
                    await subscription.get_message(timeout=5)
                    await self.server.emit("resync", {}, ignore_queue=True)
                    pause, told = 0.1, False
                    async for message in subscription.listen():
                        yield message["data"]
            except (RedisError, OSError) as error:
                if not told:
                    _log.warning("Events from other servers wait for Redis: %s", type(error).__name__)
            finally:
                await client.aclose()
            told = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
