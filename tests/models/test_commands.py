"""`mistudio models …` from a look at a folder to a question; jobs are worked on in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mistudio.cli import main
from tests.models.job_runs import run_here


@pytest.fixture
def models(settings: Any, database: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Any:
    """Run `mistudio models …`: its JSON, its plain output, or what it said on stderr when it was to fail."""
    from mistudio.console import console_options
    from mistudio.console.console import Console

    def run_job(console: Console, job_id: str) -> dict[str, Any]:
        return run_here(settings, database, job_id)[0]

    monkeypatch.setattr(Console, "run", run_job)
    monkeypatch.setattr("mistudio.db.migrate.upgrade", lambda *_: None)

    def run(*arguments: str, expect: int = 0, plain: bool = False) -> Any:
        capsys.readouterr()
        monkeypatch.setattr(console_options, "as_json", False)  # a process runs one command
        more = () if plain else ("--json",)
        with pytest.raises(SystemExit) as end:
            main(["--data-dir", str(settings.data_dir), *more, "models", *arguments])
        out = capsys.readouterr()
        assert int(end.value.code or 0) == expect, out.out + out.err
        return out.err if expect else out.out if plain else json.loads(out.out)

    return run


@pytest.mark.slow
def test_from_a_look_to_a_question(models: Any, tiny_llama_folder: Path) -> None:
    seen = models("preview", str(tiny_llama_folder), "--batch-size", "2")
    assert seen["n_layers"] == 3 and [one["dtype"] for one in seen["memory"]][-1] == "int4"
    said = models("add", str(tiny_llama_folder), "--dtype", "float8", expect=2)
    assert "dtype" in said and "float32" in said
    said = models("add", str(tiny_llama_folder), "--device", "cuda", expect=1)
    assert "this machine has none" in said and len(said.strip().splitlines()) == 1

    made = models("add", str(tiny_llama_folder), "--name", "tiny", "--dtype", "bfloat16")
    assert made["loading"]["dtype"] == "bfloat16" and made["hook_report"]["passed"]
    changed = models("change", "tiny", "--dtype", "float32")
    assert changed["loading"] == {"dtype": "float32", "quantization": "none", "device": "auto"}
    tree = models("modules", "tiny")
    assert tree["parameters"] == made["parameters"] == seen["parameters"]
    lines = models("modules", "tiny", plain=True)
    assert "0-2" in lines and "resid_post" in lines
    assert models("configuration", "tiny")["config"]["num_hidden_layers"] == 3
    assert len(models("memory", "tiny")) == 5
    report = models("verify", "tiny")
    assert report["passed"] and len(report["verdicts"]) == 7

    asked = ("def settings", "--tokens", "5", "--temperature", "1", "--seed", "3")
    one = models("generate", "tiny", *asked, "--alternatives", "2")
    assert len(one["generation"]["tokens"]) == 5
    assert [len(token["alternatives"]) for token in one["generation"]["tokens"]] == [2] * 5
    again = models("generate", "tiny", *asked, plain=True)
    assert one["generation"]["text"].strip() in again, "equal seeds give equal texts"
    grid = models("lens", "tiny", "def settings", "--last", "2", "--top-k", "3")["lens"]
    assert len(grid["hooks"]) == 4 and [len(cell) for cell in grid["ids"][0]] == [3, 3]
    assert "blocks.2.hook_resid_post" in models("lens", "tiny", "def settings", plain=True)
    said = models("generate", "tiny", "hello", "--chat", expect=1)
    assert "no chat template" in said
    assert models("delete", "tiny")["deleted"] == [made["id"]]
