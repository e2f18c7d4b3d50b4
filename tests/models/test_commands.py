"""`mistudio models …` from a look at a folder to a question, each command a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def models(tmp_path: Path, *arguments: str, expect: int = 0, plain: bool = False) -> Any:
    """Run a command; its JSON, its plain output, or what it said on stderr when it was to fail."""
    more = () if plain else ("--json",)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mistudio.cli",
            "--data-dir",
            str(tmp_path / "data"),
            *more,
            "models",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    if expect:
        return done.stderr
    return done.stdout if plain else json.loads(done.stdout)


def test_from_a_look_to_a_question(tmp_path: Path, tiny_llama_folder: Path) -> None:
    seen = models(tmp_path, "preview", str(tiny_llama_folder), "--batch-size", "2")
    assert seen["n_layers"] == 3 and [one["dtype"] for one in seen["memory"]][-1] == "int4"
    said = models(tmp_path, "add", str(tiny_llama_folder), "--dtype", "float8", expect=2)
    assert "dtype" in said and "float32" in said
    said = models(tmp_path, "add", str(tiny_llama_folder), "--device", "cuda", expect=1)
    assert "this machine has none" in said and len(said.strip().splitlines()) == 1

    made = models(tmp_path, "add", str(tiny_llama_folder), "--name", "tiny", "--dtype", "bfloat16")
    assert made["loading"]["dtype"] == "bfloat16" and made["hook_report"]["passed"]
    changed = models(tmp_path, "change", "tiny", "--dtype", "float32")
    assert changed["loading"] == {"dtype": "float32", "quantization": "none", "device": "auto"}
    tree = models(tmp_path, "modules", "tiny")
    assert tree["parameters"] == made["parameters"] == seen["parameters"]
    lines = models(tmp_path, "modules", "tiny", plain=True)
    assert "0-2" in lines and "resid_post" in lines
    assert models(tmp_path, "configuration", "tiny")["config"]["num_hidden_layers"] == 3
    assert len(models(tmp_path, "memory", "tiny")) == 5
    report = models(tmp_path, "verify", "tiny")
    assert report["passed"] and len(report["verdicts"]) == 7

    asked = ("def settings", "--tokens", "5", "--temperature", "1", "--seed", "3")
    one = models(tmp_path, "generate", "tiny", *asked, "--alternatives", "2")
    assert len(one["generation"]["tokens"]) == 5
    assert [len(token["alternatives"]) for token in one["generation"]["tokens"]] == [2] * 5
    again = models(tmp_path, "generate", "tiny", *asked, plain=True)
    assert one["generation"]["text"].strip() in again, "equal seeds give equal texts"
    grid = models(tmp_path, "lens", "tiny", "def settings", "--last", "2", "--top-k", "3")["lens"]
    assert len(grid["hooks"]) == 4 and [len(cell) for cell in grid["ids"][0]] == [3, 3]
    assert "blocks.2.hook_resid_post" in models(tmp_path, "lens", "tiny", "def settings", plain=True)
    said = models(tmp_path, "generate", "tiny", "hello", "--chat", expect=1)
    assert "no chat template" in said
    assert models(tmp_path, "delete", "tiny")["deleted"] == [made["id"]]
