"""The server goes away and comes back: the page says so, and shows the truth again by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.server import Server
from tests.e2e.window import open_window

SOON = 30_000

# A proxy that refuses the upgrade.
_NO_WEB_SOCKETS = """
window.WebSocket = class {
  constructor() {
    setTimeout(() => {
      this.onerror?.(new Event("error"));
      this.onclose?.({code: 1006, reason: ""});
    });
  }
  send() {}
  close() {}
};
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def upload(server: Server, name: str) -> None:
    """Add a data set behind the page's back."""
    import httpx

    files = {"file": (f"{name}.txt", b"One line.\n\nAnother line.\n")}
    httpx.post(f"{server.url}/api/v1/datasets/upload", files=files, timeout=30).raise_for_status()


def test_a_server_that_comes_back_is_shown_as_it_is_then(browser: Browser, server: Server) -> None:
    upload(server, "before")
    server.wait_for_jobs()
    with open_window(browser, server.url) as window:
        window.goto("/datasets")
        page = window.page
        grid = page.get_by_role("grid", name="Data sets")
        expect(grid).to_contain_text("before")
        expect(page.get_by_role("status", name="Live")).to_be_visible()
        page.evaluate("window.__sameDocument = true")
        server.stop()
        expect(page.get_by_text("offline", exact=True)).to_be_visible(timeout=SOON)
        expect(grid).to_contain_text("before")  # what is known stays
        assert window.axe() == []
        window.shoot("offline")
        server.start()
        upload(server, "meanwhile")
        expect(page.get_by_role("status", name="Live")).to_be_visible(timeout=SOON)
        expect(grid).to_contain_text("meanwhile", timeout=SOON)
        expect(page.get_by_text("offline", exact=True)).to_be_hidden()
        server.wait_for_jobs()
        expect(grid.get_by_text("ready")).to_have_count(2, timeout=SOON)
        assert page.evaluate("window.__sameDocument") is True
        window.allow("ERR_CONNECTION|Failed to fetch|WebSocket|status of 5|ERR_EMPTY_RESPONSE")
        window.assert_untroubled()


def test_without_web_sockets_events_still_arrive(browser: Browser, server: Server) -> None:
    with open_window(browser, server.url) as window:
        window.page.add_init_script(_NO_WEB_SOCKETS)
        window.goto("/datasets")
        upload(server, "over http")
        expect(window.page.get_by_role("grid", name="Data sets")).to_contain_text("over http", timeout=SOON)
        expect(window.page.get_by_role("grid", name="Data sets")).to_contain_text("ready", timeout=SOON)


def test_without_any_event_connection_the_state_is_read_again(browser: Browser, server: Server) -> None:
    with open_window(browser, server.url) as window:
        window.page.add_init_script(_NO_WEB_SOCKETS)
        window.page.route("**/socket.io/**", lambda route: route.abort())
        window.goto("/monitor")
        page = window.page
        expect(page.get_by_text("polling", exact=True)).to_be_visible(timeout=SOON)
        expect(page.locator("main")).to_contain_text("cores", timeout=SOON)
        window.goto("/datasets")
        expect(page.get_by_text("polling", exact=True)).to_be_visible(timeout=SOON)
        upload(server, "polled")
        expect(page.get_by_role("grid", name="Data sets")).to_contain_text("polled", timeout=SOON)
        page.unroute("**/socket.io/**")
        expect(page.get_by_role("status", name="Live")).to_be_visible(timeout=SOON)
