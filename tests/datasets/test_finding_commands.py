"""Previewing, finding, changing, composing and deleting data sets on the command line."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets.test_commands import as_json, mistudio, tables

pytestmark = pytest.mark.slow
__all__ = ["tables"]


def test_from_a_preview_to_a_deletion(data_dir: Path, tables: None, tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl.gz"
    rows = [{"q": f"question {i}", "a": f"answer {i}"} for i in range(40)]
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    shown = as_json(data_dir, "datasets", "preview", str(path), "--rows", "2")
    assert [row["values"]["a"] for row in shown["rows"]] == ["answer 0", "answer 1"]
    assert shown["text_column"] is None
    printed = mistudio(data_dir, "datasets", "preview", str(path)).stdout
    assert "question 4" in printed and "jsonl.gz" in printed

    template = ("--template", "{q} {a}")
    added = as_json(data_dir, "datasets", "add", str(path), *template, "--tag", "toy", "--tag", "qa")
    assert (added["text_column"], added["tags"], added["rows"]) == ("joined", ["qa", "toy"], 40)
    other = as_json(data_dir, "datasets", "add", str(path), "--text-column", "q", "--name", "other")
    tried = mistudio(data_dir, "datasets", "compose", "other", "x", "--template", "{a}?", "--dry-run").stdout
    assert "answer 3?" in tried
    made = as_json(data_dir, "datasets", "compose", "other", "x", "--template", "{a}?", "--keep-text")
    assert made["name"] == "x" and made["ready"]
    assert as_json(data_dir, "datasets", "show", "other")["text_column"] == "q"

    changed = as_json(data_dir, "datasets", "change", "other", "--favourite", "--tag", "new")
    assert changed["favourite"] and changed["tags"] == ["new"]
    assert [one["name"] for one in as_json(data_dir, "datasets", "list", "--favourite")] == ["other"]
    assert [one["name"] for one in as_json(data_dir, "datasets", "list", "--tag", "toy")] == ["qa"]
    both = as_json(data_dir, "datasets", "list", "--kind", "file", "--status", "ready", "--sort", "name")
    assert [one["name"] for one in both] == ["other", "qa"]
    assert as_json(data_dir, "datasets", "list", "--search", "nothing") == []
    mistudio(data_dir, "datasets", "list", "--kind", "moon", expect=2)
    mistudio(data_dir, "datasets", "compose", "other", "y", expect=2)
    mistudio(data_dir, "datasets", "compose", "other", "y", "--chat", "q", expect=2)

    uses = as_json(data_dir, "datasets", "uses", "qa")
    assert uses["count"] == len(uses["items"]) and uses["bytes"] > 0
    refused = mistudio(data_dir, "datasets", "delete", "qa", "none", expect=1).stderr
    assert "no data set" in refused
    gone = as_json(data_dir, "datasets", "delete", "qa", "other")["deleted"]
    assert {added["id"], other["id"]} <= set(gone)
    assert as_json(data_dir, "datasets", "list") == []


def test_a_token_is_set_from_a_pipe_and_forgotten(data_dir: Path, tables: None) -> None:
    def hub(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mistudio.cli", "--data-dir", str(data_dir), "hub", *arguments, "--json"],
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    done = hub("token", "set", given="hf_secret\n")
    assert done.returncode == 0 and '"stored"' in done.stdout and "hf_secret" not in done.stdout + done.stderr
    shown = hub("show")
    assert json.loads(shown.stdout)["token"] == "stored" and "hf_secret" not in shown.stdout + shown.stderr
    assert json.loads(hub("token", "forget").stdout) == {"forgotten": True}
