"""Packed files: what comes out is what went in, and what is torn, locked or a trap is refused in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.datasets import streams
from mistudio.datasets.formats import delimiter_of, format_of, unpacked_name
from mistudio.datasets.readers import Reading
from mistudio.datasets.streams import Unpacking, stored_file
from mistudio.errors import StudioError

UNPACKING = Unpacking(max_bytes=1 << 30)
LINES = "".join(f"line {i} with ünïcode {i * 7919 % 1000}\n" for i in range(5000)).encode()


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as packed:
        packed.write(data)
    return out.getvalue().to_pybytes()


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": zstd,
    ".zip": lambda data: zipped({"inner.txt": data}),
}


VALUES = st.text(max_size=40) | st.integers(-9, 9) | st.none()
ROWS = st.lists(st.dictionaries(st.text(max_size=8), VALUES, min_size=1))


def rows(path: Path, unpacking: Unpacking = UNPACKING, **how: Any) -> list[dict[str, Any]]:
    reading = Reading(**how)
    return [row for batch, _ in reading.read([stored_file(path)], unpacking) for row in batch.to_pylist()]


@pytest.mark.parametrize("ending", PACKERS)
def test_text_is_the_same_however_it_is_packed(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"lines.txt{ending}"
    path.write_bytes(PACKERS[ending](LINES))
    found = rows(path, documents="line")
    assert [row["text"] for row in found] == LINES.decode().splitlines()
    assert all(row.get("file") == "inner.txt" for row in found) == (ending == ".zip")


@pytest.mark.parametrize("ending", [".gz", ".zst", ".zip"])
def test_tables_come_out_of_packed_files(tmp_path: Path, ending: str) -> None:
    table = pa.table({"text": [f"row {i}" for i in range(3000)], "n": list(range(3000))})
    out = io.BytesIO()
    pq.write_table(table, out)
    contents = {
        "parquet": out.getvalue(),
        "jsonl": "".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode(),
        "csv": ("text,n\n" + "".join(f"row {i},{i}\n" for i in range(3000))).encode(),
    }
    for kind, content in contents.items():
        path = tmp_path / f"table.{kind}{ending}"
        path.write_bytes(zipped({f"t.{kind}": content}) if ending == ".zip" else PACKERS[ending](content))
        assert [row["text"] for row in rows(path)] == table.column("text").to_pylist(), kind


def test_a_zip_gives_its_members_of_one_format_in_order(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    members = {f"part-{i}.jsonl": f'{{"text": "{i}"}}\n'.encode() for i in range(20)}
    path.write_bytes(
        zipped({"__MACOSX/x.jsonl": b"{", ".hidden.jsonl": b"{", **members, "labels.csv": b"a\n"})
    )
    assert [row["text"] for row in rows(path)] == [str(i) for i in range(20)]
    with pytest.raises(StudioError, match=r"holds no file of parquet"):
        rows(path, format="parquet")


@pytest.mark.slow
def test_a_zip_of_very_many_small_files(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    path.write_bytes(zipped({f"{i}.txt": f"text {i}".encode() for i in range(5000)}))
    found = rows(path, documents="file")
    assert [row["text"] for row in found] == [f"text {i}" for i in range(5000)]
    assert found[7]["file"] == "7.txt"
    batches = [batch for batch, _ in Reading(documents="file").read([stored_file(path)], UNPACKING)]
    assert len(batches) == 5, "not one for each file"


@pytest.mark.parametrize("ending", [".gz", ".zst", ".zip"])
def test_what_is_torn_is_said(tmp_path: Path, ending: str) -> None:
    noise = random.Random(0).randbytes(200_000).hex().encode()
    whole = PACKERS[ending](noise)
    path = tmp_path / f"torn.txt{ending}"
    for content in (whole[: len(whole) // 2], b"this is not packed at all, whatever its name says"):
        path.write_bytes(content)
        with pytest.raises(StudioError, match=r"^torn\.txt\.\w+ cannot be unpacked: ") as refused:
            rows(path)
        assert refused.value.code == "broken_file"


def test_a_locked_zip_is_said(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.txt": b"secret"}))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1  # the bit that says "encrypted"
    path = tmp_path / "locked.zip"
    path.write_bytes(content)
    with pytest.raises(StudioError, match="locked with a password"):
        rows(path)


@pytest.mark.parametrize("ending", [".gz", ".zst", ".zip"])
def test_bombs_are_refused_while_they_go_off(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BOMB_BYTES", 1 << 20)
    path = tmp_path / f"bomb.txt{ending}"
    path.write_bytes(PACKERS[ending]((b"a" * 79 + b"\n") * 100_000))
    monkeypatch.setattr(streams, "BOMB_RATIO", 90)
    with pytest.raises(StudioError, match="over 90 times its size") as refused:
        rows(path, documents="line")
    assert refused.value.code == "unpacks_too_large"


@pytest.mark.parametrize("ending", [".gz", ".zst", ".zip"])
def test_more_than_the_limit_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"large.txt{ending}"
    path.write_bytes(PACKERS[ending](LINES))
    with pytest.raises(StudioError, match=r"unpacks to more than 50,000 bytes"):
        rows(path, Unpacking(max_bytes=50_000), documents="line")


@pytest.mark.slow
@given(ROWS)
def test_a_json_list_gives_its_items(tmp_path_factory: pytest.TempPathFactory, items: list[Any]) -> None:
    path = tmp_path_factory.mktemp("json") / "rows.json"
    text = json.dumps(items, ensure_ascii=False, indent=1)
    try:
        path.write_bytes(b"\xef\xbb\xbf  " + text.encode())
    except UnicodeEncodeError:
        return
    if "\\u0000" in text:
        return
    found = [(batch.num_rows) for batch, _ in Reading().read([stored_file(path)], UNPACKING)]
    assert sum(found) == len(items)


def test_a_json_list_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    items = [{"text": "x" * 1000 + str(i)} for i in range(3000)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(items))
    assert [row["text"] for row in rows(path)] == [item["text"] for item in items]
    path.write_text(json.dumps(items)[:-100])
    with pytest.raises(StudioError, match=r"item 3,000 of its list is not JSON"):
        rows(path)


@pytest.mark.parametrize(
    ("name", "format", "inner", "delimiter"),
    [
        ("a.TXT", "text", "a.TXT", ","),
        ("a.jsonl.gz", "jsonl", "a.jsonl", ","),
        ("dir.x/a.tsv.zst", "csv", "dir.x/a.tsv", "\t"),
        ("a.zip", None, "a", ","),
        ("a.mp3", None, "a.mp3", ","),
    ],
)
def test_names_tell_formats(name: str, format: str | None, inner: str, delimiter: str) -> None:
    assert (format_of(name), unpacked_name(name), delimiter_of(name)) == (format, inner, delimiter)
