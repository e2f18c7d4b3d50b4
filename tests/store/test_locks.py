"""Locks on folders: shared, alone, waited for, and dropped by the dead."""

import threading
import time
from pathlib import Path

import pytest

from mistudio.store import FolderLock
from tests.store.test_atomic import python


def test_many_may_share_and_one_may_have_it_alone(tmp_path: Path) -> None:
    one, other, third = (FolderLock(tmp_path / "ac") for _ in range(3))
    assert one.take(alone=False) and other.take(alone=False)
    assert not third.take(alone=True)
    assert not one.take(alone=True)  # the other still shares it
    other.close()
    assert one.take(alone=True)
    assert not third.take(alone=False)
    assert one.take(alone=False) and third.take(alone=False)
    assert one.path == tmp_path / "ac.lock"


def test_a_lock_ends_with_its_block_and_its_object(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "ac") as lock:
        assert lock.take(alone=True)
    forgotten = FolderLock(tmp_path / "ac")
    assert forgotten.take(alone=True)
    del forgotten
    assert FolderLock(tmp_path / "ac").take(alone=True)


def test_waiting_ends_when_the_other_lets_go(tmp_path: Path) -> None:
    holder, waiter = FolderLock(tmp_path / "ac"), FolderLock(tmp_path / "ac")
    assert holder.take(alone=True)
    threading.Timer(0.3, holder.close).start()
    turns: list[float] = []
    assert waiter.take(alone=True, wait=lambda: turns.append(time.monotonic()))
    assert turns

    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        FolderLock(tmp_path / "ac").take(alone=False, wait=give_up)


def test_a_lock_on_a_removed_file_guards_nothing(tmp_path: Path) -> None:
    remover = FolderLock(tmp_path / "ac")
    assert remover.take(alone=True)
    remover.remove()
    assert not remover.path.exists()
    fresh = FolderLock(tmp_path / "ac")
    assert fresh.take(alone=True) and fresh.path.exists()


def test_a_process_that_is_killed_lets_go(tmp_path: Path) -> None:
    code = (
        "import sys, time; from mistudio.store import FolderLock; lock = FolderLock(sys.argv[1]);"
        "assert lock.take(alone=True); print('ready', flush=True); time.sleep(60)"
    )
    process = python(code, tmp_path / "ac")
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        lock = FolderLock(tmp_path / "ac")
        assert not lock.take(alone=False)
        process.kill()
        process.communicate()
        assert lock.take(alone=True)
    finally:
        process.kill()
