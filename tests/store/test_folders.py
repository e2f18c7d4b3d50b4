"""Owners' folders: where they are, how they go, how big they are."""

import threading
import time
from pathlib import Path

import pytest

from mistudio.store import delete_folder, empty_trash, folder_bytes, owner_folder
from tests.store.test_atomic import names


def fill(folder: Path, files: int = 3) -> Path:
    (folder / "sub").mkdir(parents=True)
    for number in range(files):
        (folder / "sub" / f"{number}").write_bytes(b"x" * 100)
    return folder


def test_an_owner_has_one_folder(tmp_path: Path) -> None:
    assert owner_folder(tmp_path, "datasets", "ds_01JX") == tmp_path / "datasets" / "ds_01JX"


@pytest.mark.parametrize(
    ("kind", "id"),
    [
        ("datasets", ".."),
        ("datasets", "a/b"),
        ("datasets", ""),
        ("..", "ds_1"),
        ("trash", "ds_1"),
        ("/etc", "passwd"),
        ("datasets", "ds_1\n"),
    ],
)
def test_names_cannot_lead_out(tmp_path: Path, kind: str, id: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        owner_folder(tmp_path, kind, id)


def test_a_deleted_folder_is_gone_at_once_and_its_space_soon(tmp_path: Path) -> None:
    folder = fill(owner_folder(tmp_path, "trainings", "tr_1"))
    thread = delete_folder(tmp_path, folder)
    assert not folder.exists()
    assert thread is not None
    thread.join(10)
    assert names(tmp_path / "trash") == []


def test_deleting_does_not_wait_for_the_unlinking(tmp_path: Path) -> None:
    folder = fill(owner_folder(tmp_path, "trainings", "tr_1"), files=3_000)
    start = time.perf_counter()
    thread = delete_folder(tmp_path, folder)
    took = time.perf_counter() - start
    assert thread is not None
    thread.join(30)
    assert took < 0.2


def test_deleting_twice_is_harmless(tmp_path: Path) -> None:
    folder = fill(owner_folder(tmp_path, "trainings", "tr_1"))
    first = delete_folder(tmp_path, folder)
    assert delete_folder(tmp_path, folder) is None
    assert first is not None
    first.join(10)


def test_two_can_delete_the_same_trash(tmp_path: Path) -> None:
    for number in range(5):
        fill(tmp_path / "trash" / f"{number}", files=200)
    threads = [empty_trash(tmp_path), empty_trash(tmp_path)]
    for thread in threads:
        thread.join(30)
    for _ in range(2):
        empty_trash(tmp_path).join(30)
    assert names(tmp_path / "trash") == []


def test_emptying_no_trash_is_harmless(tmp_path: Path) -> None:
    empty_trash(tmp_path).join(10)
    assert names(tmp_path) == []


def test_what_is_no_owners_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    fill(data_dir / "trainings" / "tr_1")
    outside = fill(tmp_path / "outside" / "x")
    for path in (
        data_dir,
        data_dir / "trainings",
        outside,
        tmp_path,
        data_dir / "a" / ".." / ".." / "outside",
    ):
        with pytest.raises(ValueError, match="nothing was deleted"):
            delete_folder(data_dir, path)
    grave = fill(data_dir / "trash" / "x")
    with pytest.raises(ValueError, match="in the trash already"):
        delete_folder(data_dir, grave)
    assert folder_bytes(data_dir / "trainings") == folder_bytes(outside) == 300


def test_a_link_is_removed_and_its_target_kept(tmp_path: Path) -> None:
    target = fill(tmp_path / "elsewhere")
    link = tmp_path / "data" / "models" / "md_1"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    thread = delete_folder(tmp_path / "data", link)
    assert isinstance(thread, threading.Thread)
    thread.join(10)
    assert not link.is_symlink()
    assert folder_bytes(target) == 300


def test_sizes_are_bytes(tmp_path: Path) -> None:
    assert folder_bytes(tmp_path / "nothing") == 0
    fill(tmp_path / "a", files=7)
    (tmp_path / "file").write_bytes(b"12345")
    assert folder_bytes(tmp_path / "a") == 700
    assert folder_bytes(tmp_path / "file") == 5
    assert folder_bytes(tmp_path) == 705
