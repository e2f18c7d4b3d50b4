"""`mistudio steer …`."""

from __future__ import annotations

from typing import Any

from tests.labels.test_api import command
from tests.steering.test_sessions import live

__all__ = ["command"]


def test_one_text_from_the_command_line(command: Any, database: Any, sae: str, extraction: str) -> None:
    index, maximum = live(database)
    code, out, _ = command(
        "steer", "run", "def settings", "--sae", "nearest", "--add", f"{index}=4", "--tokens", "5"
    )
    assert code == 0 and set(out["outputs"]) == {"unsteered", "steered"}
    assert out["features"][0]["maximum"] == maximum and len(out["outputs"]["steered"]["tokens"]) == 5
    code, again, _ = command("steer", "show", out["id"])
    assert again == out
    code, found, _ = command("steer", "sessions")
    assert [one["id"] for one in found] == [out["session_id"]]
    start = ("steer", "run", "--sae", sae, "--add", f"{index}=1")
    code, made, _ = command(*start, "--template", "I think", "--tokens", "3")
    assert (
        code == 0
        and made["request"]["prompt"].startswith("I think")
        and made["request"]["max_new_tokens"] == 3
    )
    assert command("templates", "show", "I think")[1]["uses"] == 1
    code, _, said = command(*start)
    assert code == 1 and "prompt" in said
    code, clamped, _ = command(
        "steer", "run", "def", "--sae", sae, "--clamp", f"nearest/{index}=0", "--tokens", "2"
    )
    assert code == 0 and clamped["features"][0]["mode"] == "clamp"
    assert command("steer", "delete", out["session_id"])[0] == 0
    assert command("steer", "show", out["id"])[0] == 1


def test_what_is_said_about_mistakes(command: Any, sae: str, extraction: str) -> None:
    for arguments, words in (
        (["--add", "x=1"], "“x=1” is not LATENT=STRENGTH"),
        (["--add", "other/1=1"], "does not say which of the SAEs"),
        ([], "No feature is given"),
        (["--add", "0=1"], "never fired"),
        (["--add", "99=1"], "no latent 99"),
        (["--add", "3=1", "--positions", "some"], "positions"),
        (["--add", "3=1", "--chat"], "has no chat template"),
    ):
        code, _, error = command("steer", "run", "hello", "--sae", sae, *arguments)
        assert code == 1 and words in error, error
        assert len(error.strip().splitlines()) == 1
    code, _, error = command("steer", "run", "hello", "--sae", "nobody", "--add", "1=1")
    assert code == 1 and "nobody" in error
