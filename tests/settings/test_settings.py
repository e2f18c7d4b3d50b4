"""Settings: precedence, sources, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistudio.errors import StudioError
from mistudio.settings import Settings, load_settings


def test_flags_beat_environment_beats_file_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "mistudio.toml"
    config.write_text("port = 1111\nhost = '127.0.0.2'\ncpu_slots = 3\n")
    monkeypatch.setenv("MISTUDIO_PORT", "2222")
    monkeypatch.setenv("MISTUDIO_HOST", "127.0.0.3")
    loaded = load_settings(config=config, flags={"port": 3333})
    assert (loaded.settings.port, loaded.settings.host, loaded.settings.cpu_slots) == (3333, "127.0.0.3", 3)
    assert loaded.sources["port"] == "flag"
    assert loaded.sources["host"] == "environment"
    assert loaded.sources["cpu_slots"] == "file mistudio.toml"
    assert loaded.sources["io_slots"] == "default"


def test_every_setting_says_what_it_means() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_an_unknown_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "mistudio.toml"
    config.write_text("prot = 1\n")
    with pytest.raises(StudioError, match=r"Unknown setting “prot” \(file mistudio\.toml\)"):
        load_settings(config=config)
    monkeypatch.setenv("MISTUDIO_PROT", "1")
    with pytest.raises(StudioError, match="MISTUDIO_PROT"):
        load_settings()


def test_a_value_out_of_range_is_named_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTUDIO_PORT", "99999")
    with pytest.raises(StudioError, match=r"“port” \(environment\)"):
        load_settings()


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "mistudio.toml"
    config.write_bytes(content)
    with pytest.raises(StudioError, match=r"mistudio\.toml is not valid TOML"):
        load_settings(config=config)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTUDIO_HF_TOKEN", "hf_secret")
    loaded = load_settings()
    assert "hf_secret" not in repr(loaded)
    assert "hf_secret" not in loaded.settings.model_dump_json()
