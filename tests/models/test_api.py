"""Models over HTTP."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.models.api import Api


def test_the_life_of_a_model(api: Api, tiny_llama_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llama_folder, tmp_path / "tiny")
    wanted: dict[str, Any] = {"source": {"kind": "folder", "path": str(tmp_path / "tiny")}}
    added = api.ask("POST", "/models", 202, json=wanted)
    assert added["id"].startswith("md_") and added["job"]["kind"] == "models.add" and not added["ready"]
    for path in ("tokenize", "memory"):
        method = "POST" if path == "tokenize" else "GET"
        refused = api.ask(method, f"/models/{added['id']}/{path}", 409, json={"text": "x"})
        assert refused["code"] == "model_not_ready"
    api.work(added)
    shown = api.ask("GET", f"/models/{added['id']}")
    assert shown["ready"] and shown["architecture"] == "LlamaForCausalLM"
    assert shown["hook_points"][0] == {
        "name": "blocks.0.hook_resid_pre",
        "layer": 0,
        "kind": "resid_pre",
        "d": 32,
        "n_heads": None,
    }
    assert [m["id"] for m in api.ask("GET", "/models?q=tin&sort=-parameters")["items"]] == [added["id"]]
    tokens = api.ask("POST", f"/models/{added['id']}/tokenize", json={"text": "def f(): 🦊"})["tokens"]
    assert tokens[0]["text"] == "def" and tokens[0]["start"] == 0
    forecast = api.ask("GET", f"/models/{added['id']}/memory?dtype=float16&batch_size=2")
    assert forecast["weights"] == 2 * shown["parameters"]
    renamed = api.ask("PATCH", f"/models/{added['id']}", json={"name": "smaller"})
    assert renamed["name"] == "smaller"
    assert api.ask("GET", f"/models/{added['id']}/users") == []
    api.ask("DELETE", f"/models/{added['id']}", 204)
    api.ask("GET", f"/models/{added['id']}", 404)
    assert api.ask("GET", "/models")["total"] == 0


def test_wrong_wishes(api: Api, tmp_path: Path) -> None:
    def add(expect: int, source: dict[str, Any], **more: Any) -> Any:
        return api.ask("POST", "/models", expect, json={"source": source} | more)

    assert add(400, {"kind": "folder", "path": str(tmp_path / "none")})["code"] == "path_not_found"
    assert add(403, {"kind": "folder", "path": "/etc"})["code"] == "path_not_allowed"
    assert add(422, {"kind": "hub", "repo": "../etc/passwd"})["code"] == "invalid_input"
    assert add(422, {"kind": "hub", "repo": "a/b"}, unknown=1)["fields"]
    assert add(422, {"kind": "ftp"})["code"] == "invalid_input"
    api.ask("GET", "/models/md_none", 404)
    api.ask("DELETE", "/models/md_none", 404)
    assert api.ask("GET", "/models")["total"] == 0


def test_a_failed_model_says_why_and_can_be_removed(api: Api, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    added = api.ask(
        "POST", "/models", 202, json={"source": {"kind": "folder", "path": str(tmp_path / "empty")}}
    )
    again = api.ask("POST", "/models", 409, json={"name": "empty", "source": {"kind": "hub", "repo": "a/b"}})
    assert again["code"] == "name_taken"
    api.ask("DELETE", f"/models/{added['id']}", 204)
    job = api.ask("GET", f"/jobs/{added['job']['id']}")
    assert job["state"] == "cancelled"


@pytest.mark.slow
def test_the_web_process_stays_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, mistudio.models.routes, mistudio.datasets.routes, mistudio.activations.routes;"
        "print(sorted({'torch','transformers','datasets','pyarrow','tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
