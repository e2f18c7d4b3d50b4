"""A browser for the session, servers with real data folders, and windows that must stay untroubled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.e2e.chromium import ARGUMENTS, executable
from tests.e2e.server import Server
from tests.e2e.tiny import TinyData, make_tiny_data
from tests.e2e.window import Window, open_window

INTERFACE = Path(__file__).parents[2] / "src" / "mistudio" / "web" / "static" / "index.html"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder needs a browser and servers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    assert INTERFACE.is_file(), "the web UI is not built: run `make ui`"
    expect.set_options(timeout=15_000)  # two browsers, two servers and their jobs share the cores
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose data folder is fresh, and stays so."""
    server = Server(tmp_path_factory.mktemp("empty"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, tiny_llama_folder: Path) -> TinyData:
    """A data folder with a tiny model and tokens, to be copied."""
    return make_tiny_data(tmp_path_factory.mktemp("tiny"), tiny_llama_folder)


@pytest.fixture
def window(browser: Browser, empty_server: Server) -> Iterator[Window]:
    """A window on the empty server; the test fails when anything went wrong in it."""
    with open_window(browser, empty_server.url) as window:
        yield window
        window.assert_untroubled()
