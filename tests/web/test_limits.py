"""Body sizes and request rates, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.web.limits import MAX_ADDRESSES, RateLimit, client_address
from tests.web.conftest import make_app
from tests.web.live import live_server

FORM = "/api/v1/sample/form"


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1_000):
        yield b" " * 1_000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(http: httpx.Client, chunked: bool) -> None:
    content = chunks(50_000) if chunked else b" " * 50_000
    response = http.post(FORM, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert "10,000 bytes" in response.json()["detail"]
    assert http.post(FORM, json={"name": "x" * 9_000}).status_code == 200


def test_a_length_that_lies_is_counted(server: str) -> None:
    """A chunked body that goes on for ever is cut off; the server does not wait for its end."""
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        head = f"POST {FORM} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(20):
            raw.sendall(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        assert b" 413 " in raw.recv(4_096)


def test_uploads_have_their_own_limit(tmp_path: Path) -> None:
    app = make_app(tmp_path, max_body_bytes=1_000, max_upload_bytes=100_000)
    with live_server(app) as server:
        url = f"{server}/api/v1/sample/upload"
        assert httpx.post(url, files={"file": b"x" * 50_000}).json() == {"bytes": 50_000}
        assert httpx.post(url, files={"file": b"x" * 120_000}).status_code == 413


def test_too_many_requests_wait_for_their_turn(tmp_path: Path) -> None:
    app = make_app(tmp_path, rate_limit_per_minute=60)
    with live_server(app) as server, httpx.Client(base_url=server, timeout=30) as http:
        answers = [http.get("/api/v1/health") for _ in range(65)]
        assert [a.status_code for a in answers[:60]] == [200] * 60
        refused = answers[-1]
        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        assert http.get("/").status_code != 429, "the page itself must load, to say what is wrong"


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), max_size=40), st.integers(1, 600))
def test_the_bucket_never_grants_more_than_its_rate(steps: list[tuple[float, int]], per_minute: int) -> None:
    now = [0.0]
    limit = RateLimit(None, per_minute=per_minute, clock=lambda: now[0])  # type: ignore[arg-type]
    granted = 0
    for pause, requests in steps:
        now[0] += pause
        for _ in range(requests):
            wait = limit.wait_for("10.0.0.1")
            granted += wait == 0
            assert wait <= 60 / per_minute + 1e-6
        assert granted <= per_minute + now[0] * per_minute / 60 + 1e-6
    assert limit.wait_for("10.0.0.2") == 0


def test_many_addresses_take_bounded_memory() -> None:
    limit = RateLimit(None, per_minute=10)  # type: ignore[arg-type]
    for number in range(MAX_ADDRESSES + 100):
        limit.wait_for(str(number))
    assert len(limit._buckets) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("client", "address"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_whom_a_limit_counts_for(client: str, address: str) -> None:
    assert client_address({"client": (client, 1)}) == address
