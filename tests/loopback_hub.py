"""A small Hugging Face hub on loopback: what the real clients ask of one, and how one can misbehave.

`HF_ENDPOINT` is read when `huggingface_hub` is imported, so point a child process at `LoopbackHub.url`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

LFS_BYTES = 10_000
TOKEN = "hf_loopback"
_API = re.compile(r"([^/]+/[^/]+)(?:/(revision|tree|paths-info|auth-check|refs)(?:/([^/]+))?(?:/(.*))?)?")
Fault = Literal[
    "hang",  # never answers
    "slow",  # a twentieth of the body every tenth of a second
    "cut",  # the connection breaks in the middle of the body
    "wrong_bytes",  # the right length, other content than the ETag says
    "wrong_length",  # a whole answer, shorter than the listing and the ETag's size say
    "no_ranges",  # the whole file, whatever range was asked for
    "error_500",
    "rate_limit",
    "denied",  # 403 in the middle of it all, as when a token is revoked
    "gone",  # 404 for a file that the listing names
]


@dataclass
class Repository:
    """One repository at one commit. `fault` is what goes wrong whenever a file over `LFS_BYTES` is fetched; before it
    come the `faults` (None: nothing goes wrong), one for each fetch."""

    files: dict[str, bytes]
    kind: Literal["model", "dataset"] = "model"
    gated: bool = False
    fault: Fault | None = None
    faults: list[Fault | None] = field(default_factory=list[Fault | None])
    elsewhere: bool = False
    """Whether large files lie on another host, behind signed links, as on the real hub."""
    link_uses: int | None = None
    """How many answers such a link gives before it has expired."""
    commit: str = field(default="0123456789abcdef0123456789abcdef01234567")

    def next_fault(self) -> Fault | None:
        """What goes wrong this time."""
        return self.faults.pop(0) if self.faults else self.fault

    def entry(self, name: str) -> dict[str, Any]:
        """A file as the tree listing shows it."""
        content = self.files[name]
        found: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _git_oid(content)}
        if len(content) > LFS_BYTES:
            found["lfs"] = {
                "oid": _sha256(content),
                "size": len(content),
                "pointerSize": 134,
            }
        return found


@cache
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class LoopbackHub:
    """The running hub. `requests` is every request line seen, `ranges` the ranges asked for, `served` the bytes of
    files sent, for tests that count them."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict[str, Repository])
    requests: list[str] = field(default_factory=list[str])
    ranges: list[str] = field(default_factory=list[str])
    served: int = 0
    hang_everything: bool = False
    links: dict[str, int] = field(default_factory=dict[str, int])
    leaked: list[str] = field(default_factory=list[str])
    """Requests to the other host that brought the access token along."""
    stopped: threading.Event = field(default_factory=threading.Event)


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """Serve repositories on a free loopback port while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = LoopbackHub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.stopped.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any
    _is_elsewhere = False

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    @property
    def hub(self) -> LoopbackHub:
        return self.server.hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer()

    def _answer(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        if self.hub.hang_everything:
            self.hub.stopped.wait(60)
            return
        path = unquote(urlsplit(self.path).path)
        try:
            if path.startswith("/signed/"):
                self._signed(path)
            elif path.startswith("/api/"):
                self._api(path.removeprefix("/api/"))
            else:
                self._resolve(path.strip("/"))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # /api/{models|datasets}/{repo}[/revision/{rev} | /tree/{rev}[/{folder}] | /paths-info/{rev} | /auth-check]

    def _api(self, path: str) -> None:
        kind, _, rest = path.partition("/")
        match = re.fullmatch(
            r"([^/]+/[^/]+)(?:/(revision|tree|paths-info|auth-check|refs)(?:/([^/]+))?(?:/(.*))?)?", rest
        )
        if kind not in ("models", "datasets") or match is None:
            return self._error(404, "EntryNotFound", "no such route")
        name, verb, revision, below = match[1], match[2], match[3], match[4]
        repository = self._repository(kind.removesuffix("s"), name, revision)
        if repository is None:
            return None
        if verb == "auth-check":
            return self._json({}) if self._allowed(repository) else None
        if verb == "tree":
            recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["False"])[0].lower() == "true"
            return self._json(_tree(repository, (below or "").strip("/"), recursive))
        if verb == "paths-info":
            body = json.loads(self._body) if self._body.startswith(b"{") else parse_qs(self._body.decode())
            names = body["paths"] if isinstance(body["paths"], list) else [body["paths"]]
            return self._json([e for n in names for e in _path_info(repository, n)])
        if verb == "refs":
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commit}
            return self._json({"branches": [branch], "converts": [], "tags": []})
        siblings = [_sibling(n, c) for n, c in repository.files.items()]
        return self._json(
            {
                "_id": "0" * 24,
                "id": name,
                "modelId": name,
                "sha": repository.commit,
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "private": False,
                "disabled": False,
                "gated": "manual" if repository.gated else False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": siblings,
            }
        )

    # /[datasets/]{repo}/resolve/{rev}/{file}

    def _resolve(self, path: str) -> None:
        kind = "dataset" if path.startswith("datasets/") else "model"
        match = re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path.removeprefix("datasets/"))
        if match is None:
            return self._error(404, "EntryNotFound", "no such route")
        repository = self._repository(kind, match[1], match[2])
        if repository is None or not self._allowed(repository):
            return None
        content = repository.files.get(match[3])
        if content is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        large = len(content) > LFS_BYTES
        if large and repository.elsewhere and not self._is_elsewhere:
            return self._redirect(repository, path, content)
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        headers["ETag"] = f'"{_sha256(content) if large else _git_oid(content)}"'
        if large:
            headers["X-Linked-Size"], headers["X-Linked-Etag"] = str(len(content)), headers["ETag"]
        status, body = 200, content
        fault = repository.next_fault() if large and self.command == "GET" else None
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted:
            self.hub.ranges.append(wanted[0])
        if wanted and fault != "no_ranges":
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            if first >= len(content):
                return self._error(416, "RangeNotSatisfiable", "beyond the end")
            status, body = 206, content[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{len(content)}"
        if fault == "denied":
            return self._error(403, None, "the token was revoked")
        if fault == "gone":
            return self._error(404, "EntryNotFound", "Entry not found")
        if fault == "error_500":
            return self._error(500, None, "the disk of the hub broke")
        if fault == "rate_limit":
            return self._error(429, None, "slow down", {"Retry-After": "1"})
        if fault == "hang":
            self.hub.stopped.wait(60)
            return None
        if fault == "wrong_bytes":
            body = bytes(len(body))
        if fault == "wrong_length":
            body = body[: len(body) - 100]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return None
        self.hub.served += len(body)
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif fault == "slow":
            for start in range(0, len(body), max(1, len(body) // 20)):
                self.wfile.write(body[start : start + max(1, len(body) // 20)])
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self.wfile.write(body)
        return None

    def _redirect(self, repository: Repository, path: str, content: bytes) -> None:
        link = f"/signed/{len(self.hub.links)}/{path}"
        self.hub.links[link] = 0
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{self.server.server_port}{link}")
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-Etag", f'"{_sha256(content)}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _signed(self, link: str) -> None:
        if "Authorization" in self.headers:
            self.hub.leaked.append(link)
        path = link.split("/", 3)[3]
        repository = self.hub.repositories["/".join(path.removeprefix("datasets/").split("/")[:2])]
        self.hub.links[link] += 1
        if repository.link_uses is not None and self.hub.links[link] > repository.link_uses:
            return self._error(403, None, "Request has expired")
        gated, repository.gated = repository.gated, False  # the link itself is the permission
        self._is_elsewhere = True
        try:
            self._resolve(path)
        finally:
            self._is_elsewhere = False
            repository.gated = gated

    def _repository(self, kind: str, name: str, revision: str | None) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None or repository.kind != kind:
            self._error(404, "RepoNotFound", "Repository not found")
            return None
        if revision not in (None, "main", repository.commit):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository

    def _allowed(self, repository: Repository) -> bool:
        if not repository.gated or self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        status = 403 if self.headers.get("Authorization") else 401
        self._error(status, "GatedRepo", "Access to this resource is restricted. Please log in.")
        return False

    def _error(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        body = b"" if self.command == "HEAD" else json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _git_oid(content)}
    if len(content) > LFS_BYTES:
        digest = _sha256(content)
        found["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
    return found


def _tree(repository: Repository, below: str, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{below}/" if below else ""
    found: dict[str, dict[str, Any]] = {}
    for name in repository.files:
        if not name.startswith(prefix):
            continue
        folder, slash, _ = name.removeprefix(prefix).partition("/")
        if slash:
            found.setdefault(
                prefix + folder, {"type": "directory", "path": prefix + folder, "size": 0, "oid": "0" * 40}
            )
        if recursive or not slash:
            found[name] = repository.entry(name)
    return list(found.values())


def _path_info(repository: Repository, name: str) -> list[dict[str, Any]]:
    name = name.strip("/")
    if name in repository.files:
        return [repository.entry(name)]
    if any(file.startswith(f"{name}/") for file in repository.files):
        return [_directory(name)]
    return []


def _directory(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
