"""The Socket.IO face of the event bus. Rooms are channels.

Client to server: `subscribe {channel, last_seq?}` is answered with `{seq, snapshot}` or `{seq, events}`, or
with `{error: {code, message}}`; `unsubscribe {channel}` with `{}`. Server to client: `event`, and `resync`
when the server itself may have missed something. `mistudio.events.following` tells how a client keeps
order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from mistudio.events.bus import Event, EventBus
from mistudio.events.channels import check_channel
from mistudio.events.snapshots import Snapshots

_log = logging.getLogger("mistudio.events")

PATH = "/socket.io"
CHANNELS_PER_SOCKET = 200
MAX_MESSAGE_BYTES = 64_000
MAX_BEHIND = 5_000
"""Packets that may wait for one client; one that is further behind is cut off, and comes back for a
snapshot."""
_READERS = 8
_SLOW_CHECK_SECONDS = 5.0


class EventSockets:
    """An ASGI application, to be mounted at `PATH`, that brings the bus to browsers.

    `per_address` is how many sockets one client address may hold open (`address_of(scope)` tells it). With
    `redis_url` several servers share rooms through python-socketio's Redis manager.
    """

    def __init__(
        self,
        bus: EventBus,
        snapshots: Snapshots,
        *,
        per_address: int,
        address_of: Callable[[Scope], str],
        redis_url: str | None = None,
    ) -> None:
        self._bus = bus
        self._snapshots = snapshots
        self._per_address = per_address
        self._address_of = address_of
        self._addresses: dict[str, str] = {}
        self._websockets: dict[str, int] = {}
        self._carriers: dict[str, asyncio.Task[Any]] = {}  # the task that serves a client's websocket
        self._outgoing: asyncio.Queue[Event] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._limiter = anyio.CapacityLimiter(_READERS)
        self._redis_url = redis_url
        self._server: Any = None
        self._asgi: Any = None
        self._opening: asyncio.Task[None] | None = None
        bus.listen(self._hear)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connected(self) -> int:
        """How many clients are connected to this server."""
        return len(self._addresses)

    async def start(self) -> None:
        """Begin to bring events to clients; call it in the server's event loop.

        Socket.IO is loaded behind the back of the server, which can answer other requests before.
        """
        self._loop = asyncio.get_running_loop()
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        self._server, self._asgi = await asyncio.to_thread(self._build)
        self._tasks = [asyncio.create_task(self._emit()), asyncio.create_task(self._cut_off_slow_clients())]

    def _build(self) -> tuple[Any, Any]:
        import socketio

        manager: Any = None
        if self._redis_url is not None:
            from mistudio.events.redis_manager import ClusterManager

            manager = ClusterManager(self._redis_url)
        server: Any = socketio.AsyncServer(
            async_mode="asgi",
            client_manager=manager,
            cors_allowed_origins=[],  # Host and Origin are judged before any request comes here
            max_http_buffer_size=MAX_MESSAGE_BYTES,
            logger=False,
            engineio_logger=False,
        )
        server.on("connect", self._connect)
        server.on("disconnect", self._disconnect)
        server.on("subscribe", self._subscribe)
        server.on("unsubscribe", self._unsubscribe)
        return server, socketio.ASGIApp(server, socketio_path=PATH)

    async def disconnect_all(self) -> None:
        """Send every client away (it will try to come back, here or to another server)."""
        for sid in list(self._addresses):
            await self._server.disconnect(sid, ignore_queue=True)

    async def stop(self) -> None:
        """Disconnect everybody and end."""
        self._loop = None
        if self._opening is None:
            return
        await self._opening
        for task in self._tasks:
            task.cancel()
        await self.disconnect_all()
        await self._server.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count open websockets per address; the rest is Socket.IO's."""
        if self._opening is None:
            raise RuntimeError("the event sockets were not started")
        await asyncio.shield(self._opening)
        if scope["type"] != "websocket":
            await self._asgi(scope, receive, send)
            return
        address = self._address_of(scope)
        if self._websockets.get(address, 0) >= self._per_address:
            await PlainTextResponse("Too many open sockets from this address.", 429)(scope, receive, send)
            return
        self._websockets[address] = self._websockets.get(address, 0) + 1
        task = scope["mistudio.task"] = asyncio.current_task()
        if task and (upgraded := parse_qs(scope["query_string"].decode("latin-1")).get("sid")):
            self._carriers[upgraded[0]] = task
        try:
            await self._asgi(scope, receive, send)
        finally:
            self._carriers = {sid: carrier for sid, carrier in self._carriers.items() if carrier is not task}
            self._websockets[address] -= 1
            if not self._websockets[address]:
                del self._websockets[address]

    async def _connect(self, sid: str, environ: dict[str, Any], _auth: Any = None) -> None:
        address = self._address_of(environ["asgi.scope"])
        if list(self._addresses.values()).count(address) >= self._per_address:
            from socketio.exceptions import ConnectionRefusedError

            raise ConnectionRefusedError(
                f"This address holds {self._per_address} open sockets already. Close some pages, or raise the "
                "setting sockets_per_address."
            )
        self._addresses[sid] = address
        task = environ["asgi.scope"].get("mistudio.task")
        if task is not None:
            self._carriers[self._server.manager.eio_sid_from_sid(sid, "/")] = task

    async def _disconnect(self, sid: str, _reason: Any = None) -> None:
        self._addresses.pop(sid, None)

    async def _subscribe(self, sid: str, request: Any = None) -> dict[str, Any]:
        try:
            channel, last_seq = _subscription(request)
            rooms = self._server.rooms(sid)
            if channel not in rooms and len(rooms) > CHANNELS_PER_SOCKET:
                return _error("too_many_channels", f"A socket can follow {CHANNELS_PER_SOCKET} channels.")
            # First the room, then the number, then the state: an event can only come twice, never be missed.
            await self._server.enter_room(sid, channel)
            return await self._in_thread(self._answer, channel, last_seq)
        except Exception as error:
            await self._leave(sid, request)
            code, message = getattr(error, "code", None), getattr(error, "message", None)
            if isinstance(code, str) and isinstance(message, str):
                return _error(code, message)
            _log.exception("A subscription failed")
            return _error("internal_error", "This channel cannot be read; see the log.")

    def _answer(self, channel: str, last_seq: int | None) -> dict[str, Any]:
        replay = self._bus.read(channel, last_seq)
        if replay.events is not None:
            return {"seq": replay.seq, "events": replay.events}
        return {"seq": replay.seq, "snapshot": self._snapshots.read(channel)}

    async def _unsubscribe(self, sid: str, request: Any = None) -> dict[str, Any]:
        await self._leave(sid, request)
        return {}

    async def _leave(self, sid: str, request: Any) -> None:
        channel = request.get("channel") if isinstance(request, dict) else None
        if isinstance(channel, str) and channel != sid:  # the room of its own name is how a client is reached
            await self._server.leave_room(sid, channel)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)

    def _hear(self, event: Event) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._outgoing.put_nowait, event)
            except RuntimeError:
                self._loop = None  # the loop was closed

    async def _emit(self) -> None:
        while True:
            event = await self._outgoing.get()
            try:
                await self._server.emit("event", event, room=event["channel"], ignore_queue=True)
            except Exception:
                _log.exception("An event could not be sent")

    async def _cut_off_slow_clients(self) -> None:
        while True:
            await asyncio.sleep(_SLOW_CHECK_SECONDS)
            for eio_sid, socket in list(self._server.eio.sockets.items()):
                if socket.queue.qsize() > MAX_BEHIND:
                    _log.warning("A client is %d events behind and is cut off", socket.queue.qsize())
                    await self._cut_off(eio_sid, socket)

    async def _cut_off(self, eio_sid: str, socket: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await socket.close(wait=False, abort=True)
        self._server.eio.sockets.pop(eio_sid, None)
        carrier = self._carriers.pop(eio_sid, None)
        if carrier is not None:
            carrier.cancel()  # closes the connection, so that the client knows and comes back


def _subscription(request: Any) -> tuple[str, int | None]:
    fields: dict[str, Any] = request if isinstance(request, dict) else {}
    last_seq = fields.get("last_seq")
    if not isinstance(last_seq, int) or isinstance(last_seq, bool) or not 0 <= last_seq < 2**53:
        last_seq = None
    return check_channel(fields.get("channel")), last_seq


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
