"""An OpenAI-compatible endpoint on the loopback interface, which can be told to misbehave."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Reply = tuple[int, dict[str, str], Any]


def completion(text: str) -> Reply:
    """A chat completion with this text."""
    return 200, {}, {"choices": [{"message": {"role": "assistant", "content": text}}]}


def sensible(body: dict[str, Any]) -> Reply:
    """A label out of the first example's marked word, and marks by whether the passages hold that word."""
    text = body["messages"][-1]["content"]
    lines = re.findall(r"^\d+\. (.*)$", text, re.MULTILINE)
    if "JSON list" in text:
        described = re.search(r"Description: passages with (.*)", text)
        return completion(json.dumps([int(bool(described) and described[1] in line) for line in lines]))
    marked = re.search(r"«([^»]*)»", lines[0])
    return completion(f"Label: “passages with {marked[1]}”" if marked else "")


class Endpoint:
    """Answers by `answer`, after the replies in `first`. Remembers what it was sent, and how many asked at once."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Reply] = sensible
        self.first: deque[Reply] = deque()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.delay = 0.0
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                    outer.requests.append(body | {"path": self.path})
                    outer.headers.append(dict(self.headers))
                    prepared = outer.first.popleft() if outer.first else None
                time.sleep(outer.delay)
                status, headers, answer = prepared or outer.answer(body)
                with outer._lock:
                    outer._now -= 1
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
