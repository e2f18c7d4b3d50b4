"""A file read by ranges: what is read is fetched, once, and kept; what arrives wrong is never kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mistudio.hub.ranges import BLOCK
from tests.hub.test_download import fetch
from tests.loopback_hub import TOKEN, LoopbackHub, Repository, loopback_hub

pytestmark = pytest.mark.slow

CONTENT = random.Random(2).randbytes(6 * BLOCK + 12_345)
FILE = ("some/data", "deep/data.bin")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with loopback_hub() as hub:
        hub.repositories["some/data"] = Repository({"deep/data.bin": CONTENT}, kind="dataset")
        yield hub


def read(hub: LoopbackHub, folder: Path, offset: int, size: int) -> dict[str, Any]:
    [found] = fetch(hub, folder, FILE, range=[offset, size])
    return found


def here(folder: Path) -> set[str]:
    return {path.suffix for path in (folder / "some-data" / "deep").iterdir()}


def test_what_is_read_is_fetched_once_and_the_whole_is_checked(hub: LoopbackHub, tmp_path: Path) -> None:
    middle = read(hub, tmp_path, 2 * BLOCK + 5, BLOCK)
    assert bytes.fromhex(middle["read"]) == CONTENT[2 * BLOCK + 5 :][:BLOCK]
    assert hub.served == 2 * BLOCK and middle["check"] == "part"
    assert sum(middle["seen"]) == 2 * BLOCK
    again = read(hub, tmp_path, 2 * BLOCK, 2 * BLOCK)
    assert bytes.fromhex(again["read"]) == CONTENT[2 * BLOCK : 4 * BLOCK]
    assert hub.served == 2 * BLOCK and again["before"] == 2 * BLOCK and again["seen"] == []
    end = read(hub, tmp_path, len(CONTENT) - 10, 100)
    assert bytes.fromhex(end["read"]) == CONTENT[-10:]
    whole = read(hub, tmp_path, 0, len(CONTENT))
    assert bytes.fromhex(whole["read"]) == CONTENT and whole["check"] == "whole"
    assert hub.served == len(CONTENT), "no byte was fetched twice"


def test_a_break_keeps_the_blocks_that_came_and_is_asked_again(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repositories["some/data"].faults = ["cut", "denied"]
    stopped = read(hub, tmp_path, 0, 6 * BLOCK)
    assert stopped["code"] == "hub_refused"
    hub.ranges.clear()
    done = read(hub, tmp_path, 0, 6 * BLOCK)
    assert done["before"] >= 2 * BLOCK and bytes.fromhex(done["read"]) == CONTENT[: 6 * BLOCK]
    assert hub.ranges == [f"bytes={done['before']}-{6 * BLOCK - 1}"]


def test_what_was_torn_on_the_disk_is_fetched_again(hub: LoopbackHub, tmp_path: Path) -> None:
    read(hub, tmp_path, 0, 3 * BLOCK)
    [data] = (tmp_path / "some-data" / "deep").glob("*.ranges")
    with data.open("r+b") as file:
        file.seek(BLOCK + 17)
        file.write(b"torn")
    before = hub.served
    assert bytes.fromhex(read(hub, tmp_path, 0, 3 * BLOCK)["read"]) == CONTENT[: 3 * BLOCK]
    assert hub.served - before == BLOCK


def test_lies_are_told_and_not_kept(hub: LoopbackHub, tmp_path: Path) -> None:
    repository = hub.repositories["some/data"]
    repository.fault = "no_ranges"
    found = read(hub, tmp_path, BLOCK, BLOCK)
    assert found["code"] == "hub_no_ranges" and "without a limit" in found["hint"]
    assert not (tmp_path / "some-data").exists(), "nothing of it was kept"
    repository.fault = "wrong_length"
    found = read(hub, tmp_path, 0, BLOCK)
    assert found["code"] == "download_broken", found
    repository.fault = "wrong_bytes"
    found = read(hub, tmp_path, 0, len(CONTENT))
    assert found["code"] == "download_broken" and "checksum" in found["message"]
    assert here(tmp_path) == set()
    repository.fault = None
    assert read(hub, tmp_path, 0, len(CONTENT))["check"] == "whole"


@pytest.mark.parametrize(
    ("fault", "code"),
    [("hang", "hub_unreachable"), ("rate_limit", "hub_rate_limited"), ("gone", "hub_file_gone")],
)
def test_refusals_are_one_clear_error(hub: LoopbackHub, tmp_path: Path, fault: Any, code: str) -> None:
    hub.repositories["some/data"].fault = fault
    found = read(hub, tmp_path, 0, 10)
    assert found["code"] == code and found["seconds"] < 30


def test_signed_links_to_another_host_get_no_token_and_are_renewed(hub: LoopbackHub, tmp_path: Path) -> None:
    repository = hub.repositories["some/data"]
    repository.elsewhere, repository.gated, repository.link_uses = True, True, 1
    for wanted in ({"range": [0, 3 * BLOCK]}, {"range": [0, len(CONTENT)]}):
        repository.faults = ["cut"]
        [found] = fetch(hub, tmp_path, FILE, token=TOKEN, **wanted)
        assert bytes.fromhex(found["read"]) == CONTENT[: wanted["range"][1]], found
    assert found["check"] == "whole" and len(hub.links) > 3
    repository.faults, repository.link_uses = ["cut"], 1
    links = len(hub.links)
    [found] = fetch(hub, tmp_path / "whole", FILE, token=TOKEN)
    assert found.get("bytes") == len(CONTENT), found
    assert len(hub.links) > links + 1, "a link that had expired was asked for again"
    assert hub.leaked == []
