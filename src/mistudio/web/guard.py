"""Who may call: there are no accounts, so a web page elsewhere must not be able to use this server."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from mistudio.web.problems import Problem, problem, problem_response

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses requests under a name that is not this server's (DNS rebinding), and those that a page of
    another origin sends (cross-site request forgery, also over websockets).

    Names that are allowed: loopback, the address that the server binds to, and `allowed_hosts`. A server
    that binds to every address also answers to any numeric address: a rebinding attack needs a name.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, allowed_hosts: Iterable[str], allowed_origins: Iterable[str]
    ) -> None:
        self.app = app
        self.hosts = {name.lower().rstrip(".") for name in (*_LOOPBACK, host, *allowed_hosts)}
        self.any_number = host in ("0.0.0.0", "::", "")
        self.origins = {origin.lower().rstrip("/") for origin in allowed_origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let pass, or answer 403."""
        if scope["type"] in ("http", "websocket"):
            refusal = self.judge(scope)
            if refusal is not None:
                response = problem_response(refusal, scope.get("request_id"))
                return await response(scope, receive, send)
        return await self.app(scope, receive, send)

    def judge(self, scope: Scope) -> Problem | None:
        """The refusal for this request, or None."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name == b"host" and name in headers:
                return _refuse("host_invalid", "The request names more than one host.")
            headers[name] = value
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = _host_name(host)
        if name is None or not self._is_ours(name):
            return _refuse(
                "host_not_allowed",
                f"This server does not answer to the name “{(name or host)[:100]}”.",
                "Add the name to the setting allowed_hosts, or call the server by its own address.",
            )
        method = "CONNECT" if scope["type"] == "websocket" else scope["method"]
        origin = headers.get(b"origin")
        if origin is not None:
            text = origin.decode("latin-1").lower()
            if text not in self.origins and urlsplit(text).netloc != host:
                return _refuse(
                    "origin_not_allowed",
                    f"A page of “{text[:100]}” may not call this server.",
                    "Add the origin to the setting allowed_origins if you trust that page.",
                )
        elif method not in _SAFE and headers.get(b"sec-fetch-site", b"none") in (b"cross-site", b"same-site"):
            return _refuse("origin_not_allowed", "A page of another site may not call this server.")
        return None

    def _is_ours(self, name: str) -> bool:
        if name in self.hosts:
            return True
        try:
            number = ip_address(name)
        except ValueError:
            return name.endswith(".localhost")
        return self.any_number or number.is_loopback


def _host_name(host: str) -> str | None:
    """The name in a Host header, without port and brackets; None if it is not one."""
    try:
        parsed = urlsplit(f"//{host}")
        _ = parsed.port
    except ValueError:
        return None
    if not parsed.hostname or "@" in host or parsed.path or parsed.query or parsed.fragment:
        return None
    return parsed.hostname.rstrip(".")


def _refuse(code: str, detail: str, hint: str | None = None) -> Problem:
    return problem(403, code, detail, hint=hint)
