"""Files and folders that appear whole or not at all.

Everything is written under a sibling name that begins with `.part-`, flushed to the disk and renamed. The
writer holds a lock on its part; the kernel drops that lock when the process dies, which is how
`sweep_temporaries` tells what a killed process left behind from what another one is still writing.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mistudio.store.errors import AlreadyThere, disk_errors
from mistudio.store.manifest import MANIFEST, FileEntry, manifest_bytes, measure

PART = ".part-"


@contextmanager
def atomic_file(path: str | os.PathLike[str], make_parents: bool = True) -> Generator[BinaryIO, None, None]:
    """Write a file that appears under its name only when the block ends without an exception.

    Yields a binary file. Replaces an existing file. On any exception nothing new is left.
    Raises `DiskFull` when the disk has no room; without `make_parents`, FileNotFoundError when the folder
    is not there (a writer must not bring back the folder of an owner deleted meanwhile).
    """
    path = Path(path)
    with disk_errors(path):
        if make_parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        part, fd = _new_part_file(path)
        try:
            with os.fdopen(fd, "wb") as file:
                yield file
                file.flush()
                os.fsync(fd)
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Write a folder that appears under its name, with its manifest, only when the block succeeds.

    Yields the temporary folder to write into. Raises `AlreadyThere` when something non-empty has the name,
    `DiskFull` when the disk has no room; on any exception nothing is left.
    """
    draft = FolderDraft(path)
    try:
        with disk_errors(path):
            yield draft.path
        draft.commit()
    except BaseException:
        draft.abort()
        raise


class FolderDraft:
    """The temporary form of a folder; `commit` gives it its name, `abort` removes it."""

    def __init__(self, target: str | os.PathLike[str], make_parents: bool = True) -> None:
        self.target = Path(target)
        _refuse_existing(self.target)
        with disk_errors(self.target):
            if make_parents:
                self.target.parent.mkdir(parents=True, exist_ok=True)
            self.path, self._lock = _new_part_folder(self.target)
        self._open = True

    def commit(self, known: Mapping[str, FileEntry] | None = None) -> dict[str, FileEntry]:
        """Write the manifest, flush everything to the disk and rename; returns the manifest.

        `known` holds entries (by path inside the folder) that were checksummed while writing.
        """
        _refuse_existing(self.target)
        with disk_errors(self.target):
            entries = measure(self.path, known or {})
            (self.path / MANIFEST).write_bytes(manifest_bytes(entries))
            for folder, _, files in os.walk(self.path):
                for name in files:
                    _sync(Path(folder, name))
                sync_folder(folder)
            self.path.rename(self.target)
            sync_folder(self.target.parent)
        self._close()
        return entries

    def abort(self) -> None:
        """Remove the draft; does nothing after `commit`."""
        if self._open:
            shutil.rmtree(self.path, ignore_errors=True)
            self._close()

    def _close(self) -> None:
        self._open = False
        os.close(self._lock)


def sweep_temporaries(root: str | os.PathLike[str]) -> list[Path]:
    """Remove what killed writers left anywhere under `root`; parts still being written are kept.

    Returns the removed paths. Meant for start-up and for resuming.
    """
    removed: list[Path] = []
    for folder, folders, files in os.walk(root):
        for name in [name for name in (*folders, *files) if name.startswith(PART)]:
            path = Path(folder, name)
            if _remove_if_stale(path):
                removed.append(path)
        folders[:] = [name for name in folders if not name.startswith(PART)]
    return removed


def part_name(path: Path) -> Path:
    """A fresh temporary sibling name for `path`, recognised by `sweep_temporaries`."""
    return path.with_name(f"{PART}{secrets.token_hex(4)}-{path.name}")


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Make renames and new names in a folder survive a power cut."""
    _sync(path)


def _sync(path: str | os.PathLike[str]) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refuse_existing(target: Path) -> None:
    if target.is_symlink() or target.exists():
        if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
            return
        raise AlreadyThere(target)


def _new_part_file(path: Path) -> tuple[Path, int]:
    while True:
        part = part_name(path)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _lock(fd, part):
            return part, fd
        os.close(fd)


def _new_part_folder(path: Path) -> tuple[Path, int]:
    while True:
        part = part_name(path)
        part.mkdir()
        fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
        if _lock(fd, part):
            return part, fd
        os.close(fd)


def _lock(fd: int, part: Path) -> bool:
    """Lock a new part; False when a sweep took it between its creation and the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), part.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _remove_if_stale(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
