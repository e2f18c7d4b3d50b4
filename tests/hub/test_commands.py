"""The command line keeps what a broken download left, says how to go on, and goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback_hub import LoopbackHub, Repository, loopback_hub
from tests.models.hub_runs import ROOT, hub_environment
from tests.warm import Program

pytestmark = pytest.mark.slow
Run = Callable[..., Any]

LINES = b"".join(b'{"text": "line %d of a longer text"}\n' % i for i in range(4000))


@pytest.fixture
def hub(tiny_llama_folder: Path) -> Iterator[LoopbackHub]:
    model = {path.name: path.read_bytes() for path in tiny_llama_folder.iterdir() if path.is_file()}
    with loopback_hub() as hub:
        hub.repositories["some/lines"] = Repository({"rows.jsonl": LINES}, kind="dataset")
        hub.repositories["tiny/llama"] = Repository(model)
        yield hub


@pytest.fixture
def run(hub: LoopbackHub, data_dir: Path, tmp_path: Path) -> Run:
    environment = hub_environment(hub, tmp_path)

    def run(*arguments: str, expect: int = 0) -> Any:
        words = ("--data-dir", str(data_dir), *arguments, "--json")
        done = Program("mistudio.cli", *words, environment=environment, cwd=ROOT).wait()
        assert done.returncode == expect, done.stdout + done.stderr
        return json.loads(done.stdout) if expect == 0 else done.stderr.splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("domain", "repo", "fault"),
    [("datasets", "some/lines", "denied"), ("models", "tiny/llama", "wrong_bytes")],
)
def test_a_broken_download_is_kept_and_gone_on_with(
    hub: LoopbackHub, run: Run, data_dir: Path, domain: str, repo: str, fault: Any
) -> None:
    hub.repositories[repo].fault = fault
    said = run(domain, "add", repo, expect=1)
    [kept] = run(domain, "list")
    assert f"mistudio {domain} retry {kept['id']}" in said, said
    assert not kept["ready"] and kept["job"]["state"] == "failed"
    hub.repositories[repo].fault = None
    assert run(domain, "retry", kept["name"])["ready"]
    assert list((data_dir / "downloads").iterdir()) == []
    assert "nothing to retry" in run(domain, "retry", kept["name"], expect=1)
    run(domain, "add", repo.replace("/", "/no-"), expect=1)
    assert [one["id"] for one in run(domain, "list")] == [kept["id"]], "what no retry can mend is not kept"
