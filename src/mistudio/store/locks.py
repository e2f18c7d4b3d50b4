"""Locks on folders, shared between threads and processes; a process that dies lets go of its own."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

_POLL_SECONDS = 0.1


class FolderLock:
    """A lock on a folder, kept by a sibling file `<folder>.lock`: many may share it, or one may have it alone.

    `take` gets it; `close`, the end of a `with` block, the end of the object and the death of the process let it go.
    The file's time of change says when the folder was last taken.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        folder = Path(folder)
        self.path = folder.with_name(f"{folder.name}.lock")
        self._fd: int | None = None

    def take(self, *, alone: bool, wait: Callable[[], None] | None = None) -> bool:
        """Get the lock; of one that is held already, change its kind.

        Another holder is waited for while `wait` (called every 0.1 s) returns; with None this gives up at once.
        Returns whether the lock was got. Raises what `wait` raises.
        """
        while not self._try(fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
            if wait is None:
                return False
            wait()
            time.sleep(_POLL_SECONDS)
        return True

    def _try(self, kind: int) -> bool:
        if self._fd is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        else:
            fd = self._fd
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
            # Whoever removed the folder removed this file too: a lock on that one would guard nothing.
            if os.path.samestat(os.fstat(fd), self.path.stat()):
                self._fd = fd
                os.utime(fd)
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        if self._fd is None:
            os.close(fd)
        return False

    def remove(self) -> None:
        """Remove the file of a lock that is held alone, and let go."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
