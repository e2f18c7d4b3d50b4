"""The hub's access token: encrypted on the disk, never in an answer, settings before the stored one."""

from __future__ import annotations

import stat
from typing import Any

import pytest
from pydantic import SecretStr

from mistudio.errors import StudioError
from mistudio.hub import token
from tests.models.api import open_api

SECRET = "hf_abcDEF123456"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)


def test_a_stored_token_is_encrypted_and_only_its_owner_may_read_it(settings: Any) -> None:
    assert token.hub_token(settings) is None and token.token_source(settings) is None
    token.store_token(settings, f" {SECRET}\n")
    assert token.hub_token(settings) == SECRET and token.token_source(settings) == "stored"
    files = list((settings.data_dir / "secrets").iterdir())
    assert {path.name for path in files} == {"key", "hub_token"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert SECRET.encode() not in path.read_bytes()
    key = (settings.data_dir / "secrets" / "key").read_bytes()
    token.store_token(settings, "hf_other")
    assert token.hub_token(settings) == "hf_other"
    assert (settings.data_dir / "secrets" / "key").read_bytes() == key
    assert token.forget_token(settings) and not token.forget_token(settings)
    assert token.hub_token(settings) is None


def test_settings_and_environment_come_first(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token.store_token(settings, SECRET)
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    assert (token.hub_token(settings), token.token_source(settings)) == ("hf_environment", "environment")
    named = settings.model_copy(update={"hf_token": SecretStr("hf_named")})
    assert (token.hub_token(named), token.token_source(named)) == ("hf_named", "settings")


def test_a_lost_key_is_said_and_mended_by_storing_again(settings: Any) -> None:
    token.store_token(settings, SECRET)
    (settings.data_dir / "secrets" / "key").unlink()
    with pytest.raises(StudioError, match="cannot be decrypted") as refused:
        token.hub_token(settings)
    assert refused.value.code == "hub_token_unreadable"
    token.store_token(settings, SECRET)
    assert token.hub_token(settings) == SECRET


@pytest.mark.parametrize("wrong", ["", "  ", "two words", "töken"])
def test_what_is_no_token_is_refused(settings: Any, wrong: str) -> None:
    with pytest.raises(StudioError, match="not an access token"):
        token.store_token(settings, wrong)
    assert not (settings.data_dir / "secrets").exists()


@pytest.mark.slow
def test_over_the_api_a_token_goes_in_and_never_out(settings: Any, database: Any) -> None:
    with open_api(settings, database) as api:
        assert api.ask("GET", "/hub")["token"] is None
        answer = api.ask("PUT", "/hub/token", json={"token": SECRET})
        assert answer["token"] == "stored" and answer["endpoint"].startswith("http")
        assert SECRET not in str(api.ask("GET", "/hub")) + str(api.ask("GET", "/settings"))
        refused = api.ask("PUT", "/hub/token", 422, json={"token": "not a token"})
        assert "not a token" not in refused["detail"]
        api.ask("DELETE", "/hub/token", 204)
        assert api.ask("GET", "/hub")["token"] is None
