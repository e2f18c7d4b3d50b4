"""Files and folders appear whole or not at all, also through kill -9 and a full disk."""

import json
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.store import (
    AlreadyThere,
    DiskFull,
    TornFile,
    atomic_file,
    atomic_folder,
    disk_errors,
    sweep_temporaries,
    verify,
)
from mistudio.store.checksum import crc32_file, crc32_join


def names(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A real process that runs `code`."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when_ready(process: subprocess.Popen[str]) -> None:
    """Wait for the line that the process prints in the middle of its writing, then kill -9."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.strip() == "ready", process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()


def test_a_file_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.bin"
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file.bin"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_a_folder_appears_whole_with_its_manifest(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as draft:
        (draft / "a.txt").write_text("alpha")
        (draft / "sub").mkdir()
        (draft / "sub" / "b.bin").write_bytes(bytes(range(256)))
        assert not target.exists()
    entries = verify(target, deep=True)
    assert set(entries) == {"a.txt", "sub/b.bin"}
    assert entries["sub/b.bin"] == (256, zlib.crc32(bytes(range(256))))
    assert names(tmp_path) == ["folder"]


def test_a_failing_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "folder") as draft:
        (draft / "a.txt").write_text("alpha")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_a_folder_never_replaces_content(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "precious").write_text("x")
    with pytest.raises(AlreadyThere, match="folder exists already"), atomic_folder(target):
        pass
    assert (target / "precious").read_text() == "x"
    assert names(tmp_path) == ["folder"]


def make_folder(tmp_path: Path) -> Path:
    with atomic_folder(tmp_path / "folder") as draft:
        (draft / "a.txt").write_text("alpha")
        (draft / "b.txt").write_text("beta")
    return tmp_path / "folder"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "b.txt").unlink()
    with pytest.raises(TornFile, match=r"b\.txt is missing") as caught:
        verify(folder)
    assert caught.value.path == folder / "b.txt"
    assert caught.value.code == "torn-file"
    assert "Restore it from a backup" in caught.value.hint


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "b.txt").write_text("be")
    with pytest.raises(TornFile, match=r"b\.txt is torn: it has 2 bytes and should have 4"):
        verify(folder)


def test_a_changed_file_is_named_by_a_deep_look(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "a.txt").write_text("alpHa")
    verify(folder)
    with pytest.raises(TornFile, match=r"a\.txt has changed"):
        verify(folder, deep=True)


@pytest.mark.parametrize(
    "content", [None, b"{", b"[]", b'{"version": 1}', b'{"version": 1, "files": {"a": 3}}']
)
def test_a_broken_manifest_is_named(tmp_path: Path, content: bytes | None) -> None:
    folder = make_folder(tmp_path)
    (folder / "manifest.json").unlink()
    if content is not None:
        (folder / "manifest.json").write_bytes(content)
    with pytest.raises(TornFile, match=r"manifest\.json"):
        verify(folder)


def test_a_newer_manifest_asks_for_an_update(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (folder / "manifest.json").write_text(json.dumps({"version": 99, "files": {}}))
    with pytest.raises(TornFile, match="Update miStudio"):
        verify(folder)


FILE_WRITER = """
import sys, time
from mistudio.store import atomic_file
with atomic_file(sys.argv[1]) as file:
    file.write(b"x" * 1_000_000); file.flush()
    print("ready", flush=True); time.sleep(60)
"""
FOLDER_WRITER = """
import sys, time
from mistudio.store import atomic_folder
with atomic_folder(sys.argv[1]) as draft:
    (draft / "a").write_bytes(b"x" * 1_000_000)
    print("ready", flush=True); time.sleep(60)
"""


@pytest.mark.parametrize("writer", [FILE_WRITER, FOLDER_WRITER])
def test_kill_9_leaves_nothing_under_the_name(tmp_path: Path, writer: str) -> None:
    target = tmp_path / "kind" / "target"
    process = python(writer, target)
    try:
        kill_when_ready(process)
    finally:
        process.kill()
    assert not target.exists()
    assert len(sweep_temporaries(tmp_path)) == 1
    assert names(tmp_path / "kind") == []


@pytest.mark.parametrize("writer", [FILE_WRITER, FOLDER_WRITER])
def test_a_sweep_keeps_what_a_living_process_writes(tmp_path: Path, writer: str) -> None:
    process = python(writer, tmp_path / "target")
    try:
        assert process.stdout is not None and process.stdout.readline().strip() == "ready"
        assert sweep_temporaries(tmp_path) == []
        assert len(names(tmp_path)) == 1
    finally:
        process.kill()
        process.communicate()
    assert len(sweep_temporaries(tmp_path)) == 1


def test_a_sweep_keeps_what_this_process_writes(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as file, atomic_folder(tmp_path / "folder") as draft:
        file.write(b"1")
        (draft / "a").write_bytes(b"2")
        assert sweep_temporaries(tmp_path) == []
    assert verify(tmp_path / "folder")
    assert (tmp_path / "file").read_bytes() == b"1"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from mistudio.store import DiskFull, atomic_file, atomic_folder
try:
    if sys.argv[1] == "file":
        with atomic_file(sys.argv[2]) as file:
            file.write(b"x" * 200_000)
    else:
        with atomic_folder(sys.argv[2]) as draft:
            (draft / "small").write_bytes(b"x")
            (draft / "big").write_bytes(b"x" * 200_000)
except DiskFull as error:
    print(error.code, "|", error)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_write_that_the_system_refuses_leaves_nothing(tmp_path: Path, kind: str) -> None:
    out, err = python(LIMITED, kind, tmp_path / "target").communicate(timeout=60)
    assert out.startswith("disk-full | "), err
    assert "target could not be written" in out and "Free some space" in out
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the /dev/full of Linux")
def test_no_space_left_becomes_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFull, match=r"file could not be written: the disk is full \(.* MB free\)"),
        disk_errors(tmp_path / "file"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_other_errors_of_the_system_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "nothing").read_bytes()


@given(st.binary(max_size=2_000), st.binary(max_size=2_000))
def test_checksums_join(head: bytes, tail: bytes) -> None:
    assert crc32_join(zlib.crc32(head), zlib.crc32(tail), len(tail)) == zlib.crc32(head + tail)


def test_a_file_is_checksummed_in_chunks(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1_000
    (tmp_path / "file").write_bytes(content)
    assert crc32_file(tmp_path / "file", chunk=777) == zlib.crc32(content)
