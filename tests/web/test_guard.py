"""Who may call: names, origins, rebinding, forgery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.web.conftest import make_app
from tests.web.live import live_server

PATH = "/api/v1/sample/form"
BODY = {"name": "x"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost.", "[::1]:{port}", "app.localhost"]
)
def test_loopback_names_are_served(http: httpx.Client, host: str) -> None:
    named = host.format(port=http.base_url.port)
    assert http.get("/api/v1/health", headers={"Host": named}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.5:8420", "", "a@localhost", "localhost:x"]
)
def test_other_names_are_refused_everywhere(http: httpx.Client, host: str) -> None:
    for path in ("/api/v1/health", "/", "/socket.io/?EIO=4&transport=polling"):
        response = http.get(path, headers={"Host": host})
        assert response.status_code in (400, 403)
        if response.status_code == 403:
            assert response.json()["code"] == "host_not_allowed"
            assert "allowed_hosts" in response.json()["hint"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
def test_pages_of_other_origins_are_refused(http: httpx.Client, origin: str, method: str) -> None:
    response = http.request(method, PATH, headers={"Origin": origin})
    assert (response.status_code, response.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in response.headers


def test_the_own_page_and_programs_may_call(http: httpx.Client) -> None:
    assert http.post(PATH, json=BODY, headers={"Origin": str(http.base_url).rstrip("/")}).status_code == 200
    assert http.post(PATH, json=BODY).status_code == 200
    assert http.post(PATH, json=BODY, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_forged_form_without_origin_is_refused(http: httpx.Client) -> None:
    response = http.post(PATH, json=BODY, headers={"Sec-Fetch-Site": "cross-site"})
    assert response.json()["code"] == "origin_not_allowed"
    assert http.get("/api/v1/health", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data_dir: Path = tmp_path_factory.mktemp("open")
    app = make_app(
        data_dir, host="0.0.0.0", allowed_hosts=["lab.example"], allowed_origins=["https://notebook.example"]
    )
    with live_server(app) as url:
        yield url


@pytest.mark.parametrize(
    ("host", "status"),
    [("lab.example", 200), ("10.0.0.7:8420", 200), ("[fe80::1]", 200), ("other.example", 403)],
)
def test_a_server_for_the_network_answers_to_numbers_and_allowed_names(
    open_server: str, host: str, status: int
) -> None:
    assert httpx.get(f"{open_server}/api/v1/health", headers={"Host": host}).status_code == status


def test_an_allowed_origin_may_call_and_read(open_server: str) -> None:
    headers = {"Origin": "https://notebook.example"}
    response = httpx.post(f"{open_server}{PATH}", json=BODY, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://notebook.example"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = httpx.options(f"{open_server}{PATH}", headers=headers | asked)
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    refused = httpx.post(f"{open_server}{PATH}", json=BODY, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
