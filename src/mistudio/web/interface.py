"""The built web UI, served from inside the package."""

from __future__ import annotations

import os
import stat
from email.utils import formatdate
from pathlib import Path

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

STATIC = Path(__file__).parent / "static"

_MISSING = """\
miStudio is running, but its web UI has not been built.

From a checkout, build it with:    make ui
The API is at /api/v1 and described by /api/openapi.json.
"""

_SERVER_PATHS = ("api", "socket.io")


class Interface:
    """Serves files of `folder`; any other path gets `index.html`, since the UI routes in the browser.

    Files under `assets/` have the hash of their content in their name and may be kept for ever; the rest is
    asked for again each time (304 when unchanged). What belongs to the API is never answered with a page.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        self.folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that no route took."""
        if scope["type"] == "websocket":
            return await WebSocketClose()(scope, receive, send)
        path = scope["path"].lstrip("/")
        if path.partition("/")[0] in _SERVER_PATHS:
            raise HTTPException(404, f"There is nothing at “{scope['path'][:200]}”.")
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405)
        response = await anyio.to_thread.run_sync(self.response, path, Headers(scope=scope))
        return await response(scope, receive, send)

    def response(self, path: str, headers: Headers) -> Response:
        """The file at `path`, or the page that routes in the browser. Raises 404 for a file that is not
        there."""
        found = self._file(path)
        if found is None:
            if path.startswith("assets/"):
                raise HTTPException(404, "There is no such file.")  # a page would fail later, as a script
            path = "index.html"
            found = self._file(path)
        if found is None:
            return PlainTextResponse(_MISSING, 503)
        file, status = found
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        cache = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
        own = {
            "ETag": etag,
            "Cache-Control": cache,
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
        }
        if headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=own)
        return FileResponse(file, headers=own, stat_result=status)

    def _file(self, path: str) -> tuple[Path, os.stat_result] | None:
        if not path or "\0" in path or "\\" in path:
            return None
        try:
            file = (self.folder / path).resolve()
            status = file.stat()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode) or not file.is_relative_to(self.folder.resolve()):
            return None
        return file, status
