"""How much one client may send, and how often: body sizes and requests per address."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistudio.web.problems import problem, problem_response

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_MARK = "__accepts_upload__"
MAX_ADDRESSES = 20_000


def accepts_upload(endpoint: Endpoint) -> Endpoint:
    """Mark a route function (below `@router.post`) as one whose body may be as large as
    `max_upload_bytes`."""
    setattr(endpoint, _MARK, True)
    return endpoint


def is_upload(endpoint: Any) -> bool:
    """Whether a route function was marked with `accepts_upload`."""
    return bool(getattr(endpoint, _MARK, False))


def client_address(scope: Scope) -> str:
    """The client that limits count for: its IPv4 address, or its IPv6 network (a /64 is one household)."""
    host = str((scope.get("client") or ("unknown", 0))[0])
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64)) if not parsed.is_loopback else "::1"
    return str(parsed)


class BodyLimit:
    """Refuses bodies over the limit with 413, whether they say their length or come in chunks."""

    def __init__(
        self, app: ASGIApp, *, limit: int, upload_limit: int, uploads: Sequence[re.Pattern[str]]
    ) -> None:
        self.app = app
        self.limit = limit
        self.upload_limit = upload_limit
        self.uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body as the application reads it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        upload = scope["method"] != "GET" and any(pattern.match(scope["path"]) for pattern in self.uploads)
        limit = self.upload_limit if upload else self.limit
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise _too_large(limit)
            return message

        return await self.app(scope, counted, send)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(
        413, f"The request body is larger than the {limit:,} bytes that this address accepts."
    )


class RateLimit:
    """A token bucket per client address: `per_minute` at once, refilled at that rate. Memory is bounded."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        per_minute: int,
        prefixes: Sequence[str] = ("/api/", "/socket.io"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.capacity = float(per_minute)
        self.rate = per_minute / 60
        self.prefixes = tuple(prefixes)
        self.clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_for(self, address: str) -> float:
        """Take one token; 0 if there was one, else the seconds until there is."""
        now = self.clock()
        tokens, since = self._buckets.pop(address, (self.capacity, now))
        tokens = min(self.capacity, tokens + (now - since) * self.rate)
        granted = tokens >= 1
        self._buckets[address] = (tokens - 1 if granted else tokens, now)
        while len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self.rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429 with Retry-After once the bucket is empty."""
        if scope["type"] in ("http", "websocket") and scope["path"].startswith(self.prefixes):
            wait = self.wait_for(client_address(scope))
            if wait > 0:
                found = problem(
                    429,
                    "too_many_requests",
                    f"This address made more than {self.capacity:,.0f} requests a minute.",
                    hint=f"Wait {wait:.0f} s, or raise the setting rate_limit_per_minute.",
                )
                seconds = max(1, int(wait) + 1)
                response = problem_response(found, scope.get("request_id"), {"Retry-After": str(seconds)})
                return await response(scope, receive, send)
        return await self.app(scope, receive, send)
