"""One folder per owner; deleting is a rename that returns at once, and the unlinking happens behind it."""

import errno
import logging
import os
import re
import secrets
import shutil
import threading
from pathlib import Path

from mistudio.store.atomic import part_name
from mistudio.store.errors import NotWritable, disk_errors

TRASH = "trash"
_KIND = re.compile(r"[a-z][a-z0-9_-]*")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_log = logging.getLogger(__name__)


def owner_folder(data_dir: str | os.PathLike[str], kind: str, id: str) -> Path:
    """The folder of one owner, such as `datasets/ds_…`; it is not created.

    Raises ValueError when kind or id could lead outside the data folder.
    """
    if not _KIND.fullmatch(kind) or kind == TRASH:
        raise ValueError(f"{kind!r} is not a kind of owner: use lower-case letters, such as 'datasets'.")
    if not _ID.fullmatch(id):
        raise ValueError(f"{id!r} is not an id: use letters, digits, '_' and '-'.")
    return Path(data_dir, kind, id)


def writable_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made with its parents where it is not there. Raises `NotWritable`, `DiskFull`."""
    path = Path(path)
    try:
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise NotWritable(path, error) from error
    return path


def delete_folder(data_dir: str | os.PathLike[str], path: str | os.PathLike[str]) -> threading.Thread | None:
    """Move a folder (or file) of the data folder to the trash and unlink it on a background thread.

    Returns that thread (join it to wait for the space), or None when there was nothing. What a process
    that ends early leaves in the trash, `empty_trash` removes. Readers that have its files mapped keep
    them until they close. Raises ValueError for a path that is no owner's.
    """
    root = Path(data_dir).resolve()
    path = Path(path)
    path = path.parent.resolve() / path.name
    if len(path.relative_to(root).parts if path.is_relative_to(root) else ()) < 2 or ".." in path.parts:
        raise ValueError(f"{path} is not the folder of an owner inside {root}: nothing was deleted.")
    if path.relative_to(root).parts[0] == TRASH:
        raise ValueError(f"{path} is in the trash already.")
    grave = root / TRASH / f"{secrets.token_hex(8)}-{path.name}"
    grave.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.rename(grave)
    except FileNotFoundError:
        return None
    except OSError as error:
        # A kind kept on a disk of its own cannot be renamed into the trash: hide it where it stands.
        if error.errno != errno.EXDEV:
            raise
        grave = part_name(path)
        path.rename(grave)
    return _unlink_behind([grave])


def empty_trash(data_dir: str | os.PathLike[str]) -> threading.Thread:
    """Unlink what is in the trash on a background thread, which is returned."""
    try:
        graves = list(Path(data_dir, TRASH).iterdir())
    except FileNotFoundError:
        graves = []
    return _unlink_behind(graves)


def folder_bytes(path: str | os.PathLike[str]) -> int:
    """Bytes in all files under `path` (0 when it is not there); links are not followed."""
    total = 0
    pending = [os.fspath(path)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            total += Path(path).lstat().st_size
    return total


def _unlink_behind(graves: list[Path]) -> threading.Thread:
    thread = threading.Thread(target=_unlink, args=(graves,), name="trash", daemon=True)
    thread.start()
    return thread


def _unlink(graves: list[Path]) -> None:
    for grave in graves:
        try:
            if grave.is_dir() and not grave.is_symlink():
                shutil.rmtree(grave)
            else:
                grave.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
        except OSError as error:
            _log.warning("%s could not be unlinked: %s", grave, error)
