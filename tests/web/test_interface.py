"""The built UI: files, client routes, caching, and what to do when it was not built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mistudio.web import interface
from tests.web.conftest import make_app
from tests.web.live import live_server

PAGE = "<!doctype html><title>miStudio</title>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "assets" / "index-3fa9.js").write_text("console.log(1)")
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    return folder


@pytest.fixture(scope="module")
def http(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    app = make_app(tmp_path_factory.mktemp("data"))
    app.router.default = interface.Interface(folder)
    with live_server(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/trainings/tr_1?tab=curves", "/a/b/c", "/index.html", "/apiary"])
def test_every_client_route_gets_the_page(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert (response.status_code, response.text) == (200, PAGE)
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["content-type"].startswith("text/html")


def test_assets_are_kept_for_ever_and_pages_are_asked_for_again(http: httpx.Client) -> None:
    asset = http.get("/assets/index-3fa9.js")
    assert asset.headers["content-type"].startswith(("text/javascript", "application/javascript"))
    assert "immutable" in asset.headers["cache-control"]
    page = http.get("/")
    again = http.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.head("/favicon.svg").headers["content-type"] == "image/svg+xml"


def test_a_missing_asset_is_missing(http: httpx.Client) -> None:
    assert http.get("/assets/old-1234.js").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/link.txt",
        "/assets/..%5c..%5csecret.txt",
        "//etc/passwd",
        "/%00",
    ],
)
def test_nothing_outside_the_folder_is_served(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert "secret" not in response.text
    assert "root:" not in response.text
    assert response.status_code in (200, 400, 404)


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/"])
def test_the_api_is_never_answered_with_a_page(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_an_unbuilt_ui_says_how_to_build_it(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    app.router.default = interface.Interface(tmp_path / "nowhere")
    with live_server(app) as url:
        response = httpx.get(url)
        assert response.status_code == 503
        assert "make ui" in response.text
        assert httpx.get(f"{url}/api/v1/health").status_code == 200
