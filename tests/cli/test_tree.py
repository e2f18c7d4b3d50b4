"""Every command, found by walking the tree: what its help says, and that it has --json."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mistudio.cli import build_command

ROOMS = {"serve", "worker", "demo", "convert", "eval", "settings", "db", "jobs"} | {
    "models",
    "hub",
    "datasets",
    "templates",
    "activations",
    "saes",
    "train",
    "features",
    "labels",
    "steer",
    "monitor",
}


@pytest.fixture(scope="module")
def tree() -> Any:
    return build_command()


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from walk(below, (*path, name))


def test_every_domain_contributes_its_commands(tree: Any) -> None:
    assert set(tree.commands) == ROOMS
    assert set(tree.commands["db"].commands) == {"upgrade", "downgrade", "check"}
    assert {"list", "show", "cancel", "logs", "retry"} <= set(tree.commands["jobs"].commands)


def test_every_command_takes_json(tree: Any) -> None:
    without = [path for path, command in walk(tree) if "--json" not in options(command)]
    assert without == []


def test_every_command_option_and_argument_is_explained(tree: Any) -> None:
    for path, command in walk(tree):
        assert command.help and command.help.strip()[-1] in ".)", path
        for parameter in command.params:
            assert getattr(parameter, "help", None), (*path, parameter.name)


def options(command: Any) -> set[str]:
    return {word for parameter in command.params for word in getattr(parameter, "opts", ())}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["features", "list", "--help"], ["--version"]])
def test_help_needs_nothing(arguments: list[str]) -> None:
    """Neither a data folder nor valid settings."""
    command = [sys.executable, "-m", "mistudio.cli", *arguments]
    environment = {"PATH": "", "HOME": "/nonexistent", "MISTUDIO_PROT": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)
    assert done.stdout.strip() and done.stderr == ""
