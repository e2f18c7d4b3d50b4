"""A real server with the sample domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mistudio.app import create_app
from mistudio.settings import LoadedSettings, Settings
from tests.web import sample
from tests.web.live import live_server


def make_app(data_dir: Path, **settings: Any) -> Any:
    """The application with the sample domain alone."""
    loaded = LoadedSettings(Settings(data_dir=data_dir, **settings), {"port": "flag"})
    app = create_app(loaded, domains=[sample.domain], migrate=False, dispatcher=lambda *_: None)
    sample.metadata.create_all(app.state.studio.database.engine)
    return app


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live_server(make_app(tmp_path_factory.mktemp("data"), max_body_bytes=10_000)) as url:
        yield url


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=30) as client:
        yield client
