"""Every way a transfer can go wrong ends as the whole file or as one clear error, and the next attempt goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.loopback_hub import TOKEN, Fault, LoopbackHub, Repository, loopback_hub
from tests.models.hub_runs import ROOT, hub_environment
from tests.warm import Program

pytestmark = pytest.mark.slow

CONTENT = random.Random(1).randbytes(300_000)
ENDS: dict[str, set[str]] = {
    "hang": {"hub_unreachable"},
    "slow": {"whole"},
    "cut": {"hub_unreachable", "download_broken"},
    "wrong_bytes": {"download_broken"},
    "wrong_length": {"download_broken"},
    "no_ranges": {"whole"},
    "error_500": {"hub_unreachable"},
    "rate_limit": {"hub_rate_limited"},
    "denied": {"hub_refused"},
    "gone": {"hub_file_gone"},
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with loopback_hub() as hub:
        yield hub


def fetch(hub: LoopbackHub, folder: Path, *files: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
    wanted = {"folder": str(folder), "patience": 1.0, "fetch": files} | more
    environment = hub_environment(hub, folder) | more.get("environment", {})
    program = Program("tests.hub.fetch_child", given=json.dumps(wanted), environment=environment, cwd=ROOT)
    done = program.wait()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_fault_ends_clearly_and_the_next_attempt_makes_it_whole(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    assert set(ENDS) == set(get_args(Fault))
    files = [(f"some/{fault}", "data.bin") for fault in ENDS]
    for fault in get_args(Fault):
        # Cut short again and again, a transfer that is continued would creep to its end.
        content = CONTENT[:20_000] if fault == "cut" else CONTENT
        hub.repositories[f"some/{fault}"] = Repository({"data.bin": content}, kind="dataset", fault=fault)
    hub.repositories["some/cut"].faults = ["cut", "error_500", "error_500"]
    for fault, found in zip(ENDS, fetch(hub, tmp_path, *files), strict=True):
        assert found.get("code", "whole") in ENDS[fault], (fault, found)
        assert found["seen"] == sorted(found["seen"]), fault
        place = tmp_path / f"some-{fault}" / "data.bin"
        assert place.exists() == ("bytes" in found)
        if "code" in found:
            assert f"some/{fault}" in found["message"] and found["message"].count(".") <= 3
            assert found["hint"] or found["code"] == "hub_refused"
        assert found["seconds"] < 30, fault
    for repository in hub.repositories.values():
        repository.fault, repository.faults = None, []
    for fault, found in zip(ENDS, fetch(hub, tmp_path, *files), strict=True):
        assert "bytes" in found, (fault, found)
        place = tmp_path / f"some-{fault}" / "data.bin"
        assert place.read_bytes() == hub.repositories[f"some/{fault}"].files["data.bin"], fault
        assert [path.name for path in place.parent.iterdir()] == ["data.bin"], fault


def test_it_goes_on_at_the_byte_where_it_stopped(hub: LoopbackHub, tmp_path: Path) -> None:
    repository = Repository({"deep/data.bin": CONTENT}, kind="dataset", faults=["cut", "denied"])
    hub.repositories["some/data"] = repository
    [stopped] = fetch(hub, tmp_path, ("some/data", "deep/data.bin"))
    assert stopped["code"] == "hub_refused"
    [partial] = (tmp_path / "some-data" / "deep").iterdir()
    here = partial.stat().st_size
    assert partial.name.endswith(".partial") and 0 < len(CONTENT) // 2 - here < 1 << 16
    hub.ranges.clear()
    before = hub.served
    [done] = fetch(hub, tmp_path, ("some/data", "deep/data.bin"))
    assert done["bytes"] == len(CONTENT) and done["seen"][:2] == [here, here], "what is here was hashed first"
    assert hub.ranges == [f"bytes={here}-"] and hub.served - before == len(CONTENT) - here
    before = hub.served
    assert set(fetch(hub, tmp_path, ("some/data", "deep/data.bin"))[0]["seen"]) == {len(CONTENT)}
    assert hub.served == before, "what is there is not fetched again"


def test_a_file_that_changed_meanwhile_begins_anew(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repositories["some/data"] = Repository({"a.bin": CONTENT}, kind="dataset", faults=["cut", "denied"])
    fetch(hub, tmp_path, ("some/data", "a.bin"))
    hub.repositories["some/data"].files["a.bin"] = CONTENT[::-1]
    [done] = fetch(hub, tmp_path, ("some/data", "a.bin"))
    assert done["seen"][0] == 0
    assert (tmp_path / "some-data" / "a.bin").read_bytes() == CONTENT[::-1]
    assert [path.name for path in (tmp_path / "some-data").iterdir()] == ["a.bin"]


def test_gates_tokens_and_what_is_not_there(hub: LoopbackHub, tmp_path: Path) -> None:
    files = {"data.bin": CONTENT, "small.txt": b"small"}
    hub.repositories["some/gated"] = Repository(files, kind="dataset", gated=True)
    wanted = [("some/gated", "data.bin"), ("some/none", "data.bin"), ("some/gated", "small.txt")]
    codes = [one.get("code") for one in fetch(hub, tmp_path, *wanted)]
    assert codes == ["hub_gated", "hub_not_found", "hub_gated"]
    assert [one.get("code") for one in fetch(hub, tmp_path, wanted[0], token="hf_wrong")] == ["hub_gated"]
    right = fetch(hub, tmp_path, wanted[0], wanted[2], token=TOKEN)
    assert [one.get("bytes") for one in right] == [len(CONTENT), 5]


def test_offline_means_no_request_at_all(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repositories["some/data"] = Repository({"data.bin": CONTENT}, kind="dataset")
    [found] = fetch(hub, tmp_path, ("some/data", "data.bin"), environment={"HF_HUB_OFFLINE": "1"})
    assert found["code"] == "hub_offline" and "HF_HUB_OFFLINE" in found["message"]
    assert hub.requests == []
