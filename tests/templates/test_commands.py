"""Templates on the command line, and an extraction that is started from one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine, cli

__all__ = ["cli"]
pytestmark = pytest.mark.slow


def test_templates_are_kept_moved_and_started_from(
    cli: CommandLine, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"hooks": ["blocks.*.hook_resid_post"], "settings": {"n_tokens": 500}}))
    made = cli.json("templates", "add", "extraction", "all layers", "--from", str(settings), "--favourite")
    assert made["favourite"] and made["body"]["dtype"] == "float16"
    settings.write_text(json.dumps({"hooks": []}))
    said = cli.refused("templates", "add", "extraction", "none", "--from", str(settings))
    assert "hooks" in said
    assert cli.json("templates", "duplicate", "all layers")["name"] == "all layers copy"
    changed = cli.json("templates", "change", "all layers copy", "--name", "other", "--description", "kept")
    assert changed["description"] == "kept"
    file = tmp_path / "templates.json"
    assert cli.json("templates", "export", str(file))["templates"] == 2
    cli.run("templates", "delete", "other")
    preview = cli.json("templates", "import", str(file), "--preview")
    assert [row["state"] for row in preview["rows"]] == ["same", "new"]
    assert cli.json("templates", "import", str(file))["imported"] == 1
    assert [one["name"] for one in cli.json("templates", "list", "--own")] == ["all layers", "other"]
    assert [one["name"] for one in cli.json("templates", "list", "-q", "ALL LAY")] == ["all layers"]
    shipped = cli.json("templates", "list", "--builtin", "--kind", "training", "--architecture", "topk")
    assert shipped and all(one["builtin"] and one["architecture"] == "topk" for one in shipped)
    assert "comes with miStudio" in cli.refused("templates", "delete", "all layers", shipped[0]["id"])
    assert len(cli.json("templates", "list", "--own")) == 2  # none was deleted
    assert [one["name"] for one in cli.json("templates", "list", "--favourites")] == ["all layers"]
    assert "no file of templates" in cli.refused("templates", "import", str(settings))

    text = tmp_path / "text.txt"
    text.write_text("".join(f"Line {i} of some text to read.\n" for i in range(200)))
    cli.run("models", "add", str(tiny_llama_folder), "--name", "tiny")
    cli.run("datasets", "add", str(text), "--name", "lines")
    tokens = cli.json("datasets", "tokenize", "lines", "--model", "tiny", "--context-length", "32")
    start = ("activations", "harvest", tokens["id"], "--template", "all layers")
    forecast = cli.json(*start, "--forecast")
    assert len(forecast["hooks"]) == 3 and forecast["seconds"] is None
    cache = cli.json(*start, "--with", "n_tokens=400", "--dtype", "int8")
    assert (cache["n_tokens"], cache["dtype"], len(cache["hooks"])) == (400, "int8", 3)
    assert cli.json("templates", "show", "all layers")["uses"] == 1
    assert "measured" in cli.json(*start, "--forecast")["basis"]
    figures = cli.json("activations", "statistics", cache["id"])
    assert len(figures) == 3 and all(one["token_kurtosis"] > 1 for one in figures)
    report = cli.json("activations", "statistics", cache["id"], "--hook", cache["hooks"][1])
    assert sum(report["norm_counts"]) == 400
    assert cli.json("activations", "rename", cache["id"], "mine")["name"] == "mine"
    cli.run("activations", "statistics", "mine")
