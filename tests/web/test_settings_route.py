"""Secrets never leave the server."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mistudio.settings import load_settings
from mistudio.web.routes import list_settings


def test_secrets_are_only_said_to_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTUDIO_HF_TOKEN", "hf_topsecret")
    monkeypatch.setenv("MISTUDIO_REDIS_URL", "redis://:topsecret@localhost")
    monkeypatch.setenv("MISTUDIO_DATABASE_URL", "postgresql+psycopg://me:topsecret@localhost/db")
    loaded = load_settings(flags={"data_dir": tmp_path})
    shown = list_settings(SimpleNamespace(settings=loaded.settings, loaded=loaded))  # type: ignore[arg-type]
    assert "topsecret" not in repr(shown)
    by_name = {item.name: item for item in shown}
    assert (by_name["hf_token"].value, by_name["hf_token"].source) == ("set", "environment")
    assert by_name["database_url"].value == "postgresql+psycopg://me:***@localhost/db"
