"""`mistudio serve` as a process: cold start, a port in use, its address, and its end with open sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from mistudio.errors import StudioError
from mistudio.serving import address_of, bind
from mistudio.settings import Settings
from tests.events.client import FollowingClient
from tests.web.live import wait_until

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "pyarrow",
    "pandas",
    "sae_lens",
    "tokenizers",
    "gguf",
    "accelerate",
)


@contextmanager
def serving(data_dir: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [
        sys.executable,
        "-m",
        "mistudio.cli",
        "--data-dir",
        str(data_dir),
        "serve",
        "--port",
        "0",
        *flags,
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=data_dir
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            process.kill()
            raise AssertionError(f"no address: {line!r} {process.communicate()[1]}")
        yield process, found.group()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_serve_announces_its_address_and_answers(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, url):
        assert httpx.get(f"{url}/api/v1/health").json()["status"] == "ok"
        assert httpx.get(f"{url}/api/v1/ready").json()["ready"] is True
        assert httpx.get(f"{url}/api/v1/jobs").json()["items"] == []
        assert "server" not in httpx.get(url).headers
        with FollowingClient(url) as client:
            assert client.follow("system")["snapshot"]["now"]["memory"]["total"] > 0
        assert process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_seconds_with_open_sockets_and_polls(tmp_path: Path, how: signal.Signals) -> None:
    with (
        serving(tmp_path) as (process, url),
        FollowingClient(url, reconnection=False) as socket_client,
        FollowingClient(url, "polling", reconnection=False) as polling,
    ):
        socket_client.follow("jobs")
        polling.follow("jobs")
        address = url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as half:
            half.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
            time.sleep(0.3)
            began = time.monotonic()
            process.send_signal(how)
            process.wait(timeout=10)
            assert time.monotonic() - began < 5
    assert process.returncode in (0, -how)
    wait_until(lambda: not socket_client.io.connected)


def test_a_port_in_use_is_told_before_anything_is_loaded() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings(port=other.getsockname()[1])
        with pytest.raises(StudioError) as told:
            bind(settings)
    assert told.value.code == "port_in_use"
    assert str(settings.port) in told.value.message
    assert "--port 0" in (told.value.hint or "")


@pytest.mark.slow
def test_a_port_in_use_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "mistudio.cli",
            "--data-dir",
            str(tmp_path / "new"),
            "serve",
            "--port",
            port,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"Port {port}" in done.stderr
    assert not (tmp_path / "new").exists(), "something half-made was left"


def test_a_port_below_1024_is_told() -> None:
    child = os.fork()
    if child == 0:  # root may listen on any port, so an ordinary user tries
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            bind(Settings(port=1))
        except StudioError as error:
            os._exit(0 if "may not listen" in str(error) else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_address_that_is_not_of_this_machine_is_told() -> None:
    with pytest.raises(StudioError) as told:
        bind(Settings(host="203.0.113.7", port=0))
    assert told.value.code == "address_unusable"
    assert "127.0.0.1" in (told.value.hint or "")


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")]
)
def test_the_address_is_one_that_a_browser_can_open(host: str, shown: str) -> None:
    listener = bind(Settings(host=host, port=0))
    assert address_of(listener).startswith(shown)
    listener.close()


@pytest.mark.slow
def test_a_data_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    command = [
        sys.executable,
        "-m",
        "mistudio.cli",
        "--data-dir",
        str(tmp_path / "file"),
        "serve",
        "--port",
        "0",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    assert "data folder" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_web_process_loads_nothing_heavy(tmp_path: Path) -> None:
    """After assembling the whole application and answering requests, no science package is in memory."""
    program = f"""
import json, sys
from pathlib import Path
import mistudio.serving
from mistudio.app import create_app
from mistudio.db import Base
from mistudio.settings import LoadedSettings, Settings
from starlette.testclient import TestClient
app = create_app(LoadedSettings(Settings(data_dir=Path({str(tmp_path)!r})), {{}}), migrate=False)
Base.metadata.create_all(app.state.studio.database.engine)
with TestClient(app, base_url="http://localhost") as client:
    answers = [client.get(path).status_code for path in ("/api/v1/health", "/api/v1/ready", "/api/v1/jobs")]
print(json.dumps([answers, sorted(name for name in {HEAVY!r} if name in sys.modules)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[200, 200, 200], []]
