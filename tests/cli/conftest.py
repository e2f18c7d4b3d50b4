"""The command line as a person has it, in the test's process or each command in one of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import run_apart, run_here


@dataclass
class CommandLine:
    """`mistudio` over one data folder."""

    data_dir: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    apart: bool = False
    """Whether each command is a process of its own, as what libraries read from the environment asks for."""

    def run(
        self, *arguments: str, expect: int = 0, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one command; whatever it says, it says without a traceback, a place of this machine or a secret."""
        words = ["--data-dir", str(self.data_dir), *arguments]
        given = {"COLUMNS": "200", "NO_COLOR": "1"} | self.environment | dict(environment or {})
        run = run_apart if self.apart else run_here
        done = run(words, cwd=self.data_dir.parent, environment=given)
        assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        if not {"settings", "monitor"} & set(arguments):  # these are asked for the folder
            assert str(self.data_dir) not in done.stdout + done.stderr, done.stderr
        return done

    def json(self, *arguments: str, **options: Any) -> Any:
        """What a command prints with --json: one JSON document and nothing besides."""
        return json.loads(self.run(*arguments, "--json", **options).stdout)

    def refused(self, *arguments: str, **options: Any) -> str:
        """The one line that a command says when it fails with exit code 1."""
        done = self.run(*arguments, expect=1, **options)
        said = [line for line in done.stderr.splitlines() if line.startswith("mistudio: ")]
        assert len(said) == 1 and done.stdout == "", done.stdout + done.stderr
        return said[0].removeprefix("mistudio: ")


@pytest.fixture
def cli(data_dir: Path) -> CommandLine:
    """The command line over an empty data folder."""
    return CommandLine(data_dir)


@pytest.fixture
def cli_apart(data_dir: Path) -> CommandLine:
    """The same, each command a process of its own."""
    return CommandLine(data_dir, apart=True)
