"""Uploads in pieces: whatever breaks, the next piece goes on at the byte that is there."""

from __future__ import annotations

import gzip
import os
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mistudio.datasets import uploads
from mistudio.errors import Conflict, NotFound, StudioError
from tests.models.api import Api

TEXT = "".join(f"line {i}\n" for i in range(2000)).encode()


def start(api: Api, content: bytes, filename: str = "lines.txt") -> str:
    return api.ask("POST", "/datasets/uploads", 201, json={"filename": filename, "size": len(content)})["id"]


def send(api: Api, id: str, piece: bytes, offset: int, expect: int = 200) -> Any:
    return api.ask("PATCH", f"/datasets/uploads/{id}?offset={offset}", expect, content=piece)


def test_pieces_become_a_data_set(api: Api) -> None:
    packed = gzip.compress(TEXT)
    id = start(api, packed, "../évil/lines.txt.gz")
    half = len(packed) // 2
    assert send(api, id, packed[:half], 0)["received"] == half
    waiting = api.ask("GET", "/datasets/uploads")
    assert [(one["id"], one["filename"], one["size"]) for one in waiting] == [
        (id, "lines.txt.gz", len(packed))
    ]
    assert api.ask("GET", f"/datasets/uploads/{id}/source", 409)["code"] == "upload_unfinished"
    for wrong in (0, half - 1, half + 1):
        assert send(api, id, packed[half:], wrong, 409)["code"] == "upload_offset"
    send(api, id, packed[half:], half)
    assert api.ask("GET", "/datasets/uploads") == []
    source = api.ask("GET", f"/datasets/uploads/{id}/source")["source"]
    assert source["kind"] == "text" and source["path"] == "lines.txt.gz"

    source["documents"] = "line"
    preview = api.ask("POST", "/datasets/preview", json={"source": source, "upload": id, "rows": 3})
    assert [row["values"]["text"] for row in preview["rows"]] == ["line 0", "line 1", "line 2"]
    added = api.ask("POST", "/datasets", 202, json={"source": source, "upload": id})
    assert added["id"] == id and added["name"] == "lines"
    api.ask("DELETE", f"/datasets/uploads/{id}", 404)
    api.work(added)
    shown = api.ask("GET", f"/datasets/{id}")
    assert (shown["rows"], shown["about"]["source_bytes"]) == (2000, len(packed))
    assert list((api.settings.data_dir / "uploads").iterdir()) == []


def test_what_was_not_announced_is_refused(api: Api) -> None:
    assert start(api, b"x" * 10)
    too_large = {"filename": "a.txt", "size": api.settings.max_upload_bytes + 1}
    assert api.ask("POST", "/datasets/uploads", 413, json=too_large)["code"] == "upload_too_large"
    id = start(api, b"x" * 10)
    assert send(api, id, b"y" * 11, 0, 413)["code"] == "upload_too_large"
    assert api.ask("GET", f"/datasets/uploads/{id}")["received"] == 0
    api.ask("GET", "/datasets/uploads/..%2Fdatasets", 404)
    api.ask("GET", "/datasets/uploads/ds_none", 404)
    api.ask("DELETE", f"/datasets/uploads/{id}", 204)
    api.ask("GET", f"/datasets/uploads/{id}", 404)


def test_a_name_that_tells_no_format_asks_for_one(api: Api) -> None:
    id = start(api, b"text", "notes.bin")
    send(api, id, b"text", 0)
    found = api.ask("GET", f"/datasets/uploads/{id}/source")
    assert found["source"] is None and found["filename"] == "notes.bin"
    source = {"kind": "text", "path": "notes.bin"}
    added = api.ask("POST", "/datasets", 202, json={"source": source, "upload": id})
    api.work(added)
    assert api.ask("GET", f"/datasets/{id}")["rows"] == 1


def test_two_pieces_at_once_do_not_mix(settings: Any) -> None:
    id = uploads.start_upload(settings, "a.txt", 10).id
    first = uploads.Piece(settings, id, 0)
    with pytest.raises(Conflict, match="just arriving"):
        uploads.Piece(settings, id, 0)
    first.write(b"12345")
    first.close()
    second = uploads.Piece(settings, id, 5)
    second.write(b"67890")
    second.close()
    assert uploads.finished_upload(settings, id).read_bytes() == b"1234567890"


@hypothesis_settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(cuts=st.lists(st.integers(0, 40), max_size=6), lost=st.integers(0, 5))
def test_any_breaks_end_as_the_same_file(settings: Any, cuts: list[int], lost: int) -> None:
    content = os.urandom(40)
    id = uploads.start_upload(settings, "a.bin", len(content)).id
    for cut in [*sorted(cuts), len(content)]:
        here = uploads.show_upload(settings, id).received
        piece = uploads.Piece(settings, id, here)
        piece.write(content[here : max(here, cut - lost)])
        piece.close()
    here = uploads.show_upload(settings, id).received
    piece = uploads.Piece(settings, id, here)
    piece.write(content[here:])
    piece.close()
    assert uploads.finished_upload(settings, id).read_bytes() == content
    uploads.discard(settings, id)


def test_old_ones_are_swept_when_the_next_begins(settings: Any) -> None:
    old, young = (uploads.start_upload(settings, f"{name}.txt", 10).id for name in ("old", "young"))
    past = time.time() - uploads.KEPT_SECONDS - 60
    os.utime(settings.data_dir / "uploads" / old / "old.txt", (past, past))
    uploads.start_upload(settings, "new.txt", 10)
    with pytest.raises(NotFound):
        uploads.show_upload(settings, old)
    assert uploads.show_upload(settings, young).received == 0


def test_a_full_disk_is_said_before_anything_is_sent(settings: Any) -> None:
    roomy = settings.model_copy(update={"max_upload_bytes": 1 << 62})
    with pytest.raises(StudioError, match="are free") as refused:
        uploads.start_upload(roomy, "a.txt", 1 << 60)
    assert refused.value.status == 507
