"""The outermost layer: request ids, the last resort for errors, and the headers that every response
carries."""

from __future__ import annotations

import contextvars
import logging
import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mistudio.settings import Settings
from mistudio.web.problems import problem, problem_for, problem_response

_log = logging.getLogger("mistudio.web")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

current_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""The id of the request that this task or thread works for."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Boundary:
    """Gives each request an id, and turns whatever nobody caught into a problem without any inner detail.

    The traceback of a defect goes to the log with the request's id and nowhere else.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        # Pages of other origins that the settings allow must be able to read the answers.
        cross_origin = {"Cross-Origin-Resource-Policy": "cross-origin"} if settings.allowed_origins else {}
        self.headers = _HEADERS | cross_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request or websocket."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"] = request_id
        token = current_request_id.set(request_id)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                headers["X-Request-ID"] = request_id
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
            elif message["type"] == "websocket.accept":
                started = True
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            found = problem_for(error, self.settings)
            if found is None:
                _log.exception("Request %s: %s %s failed", request_id, scope.get("method", ""), scope["path"])
                found = problem(
                    500,
                    "internal_error",
                    "The server failed to answer because of a defect of its own.",
                    hint=f"The server's log has the details under the request id {request_id}.",
                )
            if started:
                raise _Broken(request_id) from None
            await problem_response(found, request_id)(scope, receive, send_with_headers)
        finally:
            current_request_id.reset(token)


class _Broken(RuntimeError):
    """An answer broke off in the middle: the server must cut the connection, so that nobody takes it for
    whole."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the answer to request {request_id} broke off")
