"""What a newcomer reads is true: the commands exist, and the generated files are fresh."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z0-9]+):(?!=)", MAKEFILE, re.M))


def test_the_two_commands_are_the_first_thing_in_the_readme() -> None:
    first = re.search(r"```\n(.*?)```", README, re.S)
    assert first is not None and README[: first.start()].strip() == "# miStudio"
    assert [line.split("#")[0].split() for line in first[1].strip().splitlines()] == [
        ["make", "demo"],
        ["make", "test"],
    ]


def test_every_make_target_that_is_named_exists_and_is_listed() -> None:
    texts = [
        README,
        *(path.read_text("utf-8") for path in (ROOT / "ui" / "README.md", ROOT / "CONTRIBUTING.md")),
    ]
    named = {name for text in texts for name in re.findall(r"(?:`|^)make ([a-z0-9]+)", text, re.M)}
    assert {"demo", "test"} <= named <= TARGETS
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert done.returncode == 0 and listed == TARGETS


_COMMANDS = """
import json
from mistudio.cli import build_command
def tree(command):
    return {name: tree(one) for name, one in getattr(command, "commands", {}).items()}
print(json.dumps(tree(build_command())))
"""


@pytest.mark.slow
def test_every_command_of_the_readme_exists(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _COMMANDS], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    commands = json.loads(done.stdout)
    named = re.findall(r"mistudio ([a-z]+)(?: ([a-z]+)(?![\w.]))?", README)
    assert len(named) >= 8
    for group, command in named:
        assert group in commands, f"`mistudio {group}` is no command"
        if command and commands[group]:
            assert command in commands[group], f"`mistudio {group} {command}` is no command"


@pytest.mark.slow
def test_the_generated_client_is_fresh(tmp_path: Path) -> None:
    document = subprocess.run(
        [sys.executable, "-m", "mistudio.app", "--openapi"], capture_output=True, cwd=tmp_path, timeout=120
    )
    assert document.returncode == 0, document.stderr.decode()
    stored = (ROOT / "ui" / "openapi.json").read_bytes()
    assert document.stdout == stored, "ui/openapi.json is stale: run `make api`"
    generator = ROOT / "ui" / "node_modules" / ".bin" / "openapi-typescript"
    assert generator.exists(), "the UI's packages are not installed: run `make ui`"
    made = tmp_path / "schema.d.ts"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [str(generator), str(ROOT / "ui" / "openapi.json"), "-o", str(made)],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    fresh = (ROOT / "ui" / "src" / "api" / "schema.d.ts").read_text("utf-8")
    assert made.read_text("utf-8") == fresh, "ui/src/api/schema.d.ts is stale: run `make api`"
