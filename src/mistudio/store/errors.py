"""What can go wrong with files, as sentences a person can act on."""

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class StoreError(ValueError):
    """Base of the store's errors: a stable `code`, what happened (`message`) and what to do (`hint`)."""

    code = "store"

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


class TornFile(StoreError):
    """A file is missing, shorter, longer or different from what its manifest recorded."""

    code = "torn-file"

    def __init__(self, path: str | os.PathLike[str], what: str, hint: str | None = None) -> None:
        super().__init__(
            f"{os.fspath(path)} {what}.",
            hint or "Restore it from a backup, or delete its owner in miStudio and make it again.",
        )
        self.path = Path(path)


class DiskFull(StoreError):
    """The disk, the quota or the file-size limit is used up; the half-written file was removed."""

    code = "disk-full"

    def __init__(self, path: str | os.PathLike[str], cause: OSError) -> None:
        if cause.errno == errno.EFBIG:
            message = f"{os.fspath(path)} could not be written: the largest file size was reached."
        else:
            free = _free_bytes(Path(path))
            message = f"{os.fspath(path)} could not be written: the disk is full ({free / 1e6:,.0f} MB free)."
        super().__init__(
            message,
            "Free some space or choose another data folder, then start it again; finished parts are kept.",
        )
        self.path = Path(path)


class NotWritable(StoreError):
    """A folder that cannot be made, or not be written into."""

    code = "not-writable"

    def __init__(self, path: str | os.PathLike[str], cause: OSError) -> None:
        in_the_way = isinstance(cause, (FileExistsError, NotADirectoryError))
        why = "a file is in its way" if in_the_way else (cause.strerror or "no reason was given").lower()
        super().__init__(
            f"The folder {os.fspath(path)} cannot be written to: {why}.",
            "Choose another one, or change who may write there.",
        )
        self.path = Path(path)


class AlreadyThere(StoreError):
    """Something finished stands where a new file or folder should go."""

    code = "already-there"

    def __init__(self, path: str | os.PathLike[str], what: str = "exists already") -> None:
        super().__init__(f"{os.fspath(path)} {what}.", "Delete it first, or choose another name.")
        self.path = Path(path)


class FolderDeleted(StoreError):
    """The folder of a running writer was deleted, as happens when its owner is."""

    code = "folder-deleted"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(f"{os.fspath(path)} was deleted while it was being written.", "Start it anew.")
        self.path = Path(path)


class NotStorable(StoreError):
    """Values cannot be kept in the chosen precision."""

    code = "not-storable"


class TooFewTokens(StoreError):
    """A cache holds less than what was asked of it."""

    code = "too-few-tokens"


@contextmanager
def disk_errors(path: str | os.PathLike[str]) -> Generator[None, None, None]:
    """Turn "no space left", "quota exceeded" and "file too large" inside the block into `DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(path, error) from error
        raise


def _free_bytes(path: Path) -> int:
    for folder in path.parents:
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return 0
