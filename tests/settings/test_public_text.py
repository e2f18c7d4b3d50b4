"""What anybody may read names no place on the machine and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistudio.settings import Settings, public_text


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("{data}/tokens/tk_1/0.bin is torn.", "tokens/tk_1/0.bin is torn."),
        ("“{data}/a b/c” and '{data}/d'", "“a b/c” and 'd'"),
        ("{data} cannot be written.", "the data folder cannot be written."),
        ("Nothing fits into {data}.", "Nothing fits into the data folder."),
        ("sqlite:///{data}/mistudio.db", "sqlite:///mistudio.db"),
        ("{data}-old/x stays", "{data}-old/x stays"),
        ("/mnt{data}/x stays", "/mnt{data}/x stays"),
        ("The token hf_very_secret was refused.", "The token … was refused."),
        ("a/b and /etc/hosts stay", "a/b and /etc/hosts stay"),
    ],
)
def test_places_and_secrets_are_left_out(text: str, public: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = Settings(data_dir=data, hf_token="hf_very_secret")  # type: ignore[arg-type]
    assert public_text(text.format(data=data), settings) == public.format(data=data)


def test_a_linked_folder_is_known_by_both_its_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    settings = Settings(data_dir=tmp_path / "link")
    text = f"{tmp_path}/link/x and {tmp_path}/real/y"
    assert public_text(text, settings) == "x and y"


def test_the_root_folder_is_not_cut_out_of_everything() -> None:
    assert public_text("/etc/hosts", Settings(data_dir=Path("/"))) == "/etc/hosts"
