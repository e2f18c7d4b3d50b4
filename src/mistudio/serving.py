"""`mistudio serve`: bind, assemble, announce the address, and end within seconds when asked to."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import sys
import webbrowser
from typing import Any

import uvicorn

from mistudio.errors import StudioError
from mistudio.settings import LoadedSettings, Settings

GRACE_SECONDS = 2
"""How long open requests may take to finish once the server is asked to end."""


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Bound before anything else is loaded, so that a port in use is told at once.

    Raises StudioError `port_in_use` or `address_unusable`.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(settings, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise _unusable(settings, error) from error
    return listener


def _unusable(settings: Settings, error: OSError) -> StudioError:
    if error.errno == errno.EADDRINUSE:
        return StudioError(
            "port_in_use",
            f"Port {settings.port} on {settings.host} is in use, perhaps by another miStudio.",
            hint="Stop the other program, or choose another port: serve --port 0 takes any free one.",
            status=409,
        )
    if error.errno == errno.EACCES:
        return StudioError(
            "port_forbidden",
            f"This user may not listen on port {settings.port}.",
            hint="Choose a port above 1023: mistudio serve --port 8420.",
        )
    return StudioError(
        "address_unusable",
        f"The server cannot listen on {settings.host}: {error.strerror or error}.",
        hint="Check the setting host; 127.0.0.1 always works.",
    )


def address_of(listener: socket.socket) -> str:
    """The URL at which a browser on this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Announces itself when it really answers, and lets go of event sockets before it waits for requests."""

    def __init__(
        self, config: uvicorn.Config, app: Any, url: str, *, open_browser: bool, as_json: bool
    ) -> None:
        super().__init__(config)
        self._studio_app = app
        self._url = url
        self._open_browser = open_browser
        self._as_json = as_json

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            line = f"miStudio is at {self._url}  (stop with Ctrl-C)"
            sys.stdout.write((json.dumps({"url": self._url}) if self._as_json else line) + "\n")
            sys.stdout.flush()
            if self._open_browser:
                webbrowser.open(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.servers:
            listener.close()  # nobody new, while the old ones are sent away
        await self._studio_app.state.sockets.disconnect_all()
        await super().shutdown(sockets)


def serve(loaded: LoadedSettings, open_browser: bool = False, as_json: bool = False) -> None:
    """Serve until interrupted; the address is announced as a line, or as JSON.

    Raises StudioError for anything that keeps the server from starting.
    """
    settings = loaded.settings
    listener = bind(settings)
    try:
        from mistudio.app import create_app

        logging.basicConfig(
            level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        logging.getLogger("alembic").setLevel(logging.WARNING)
        app = create_app(loaded)
        app.state.prepare()
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning" if settings.log_level != "debug" else "debug",
            access_log=settings.log_level == "debug",
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
            proxy_headers=False,
            server_header=False,
            ws_max_size=64_000,
        )
        server = _Server(config, app, address_of(listener), open_browser=open_browser, as_json=as_json)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
        if not server.started:
            raise StudioError(
                "serve_failed", "The server could not start.", hint="The lines above tell what went wrong."
            )
    finally:
        listener.close()
