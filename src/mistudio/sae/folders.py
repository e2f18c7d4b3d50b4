"""Writing a folder so that it is either wholly there or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mistudio.sae.errors import SAEError

STATE_FILE = "trainer.json"
"""What a checkpoint's folder holds beside the tensors, and vouches for them by."""


@contextmanager
def written_whole(folder: Path) -> Generator[Path]:
    """Yield an empty folder beside `folder`; on success it takes that name, replacing what was there.

    Files are flushed to the disk first, so that a crash or a power cut leaves the old state or the new one.
    On any error nothing is left behind. A folder that is replaced stays readable as `.<name>.replaced` for
    the moment between two renames: `recover` puts it back if the process died just there.
    Raises SAEError where nothing can be written, or a file has the name.
    """
    partial = _beside(folder)
    try:
        partial.chmod(0o777 & ~_umask())
        yield partial
        for path in (*(p for p in partial.rglob("*") if p.is_file()), partial):
            _flush(path)
        replaced = _replaced(folder)
        if folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        partial.rename(folder)
        _flush(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        recover(folder)
        raise


def _beside(folder: Path) -> Path:
    """An empty folder beside this one."""
    hint = "Choose another folder, or change who may write there."
    if folder.is_file():
        raise SAEError(f"{folder} is a file, and a folder is to be written there.", hint=hint)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SAEError(f"The folder {folder} cannot be written: {error.strerror}.", hint=hint) from error


def recover(folder: Path) -> None:
    """Put back what a writer that died between its two renames had set aside."""
    replaced = _replaced(folder)
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)


def sweep(parent: Path) -> None:
    """Remove what writers that were killed left in `parent`, where nobody is writing now."""
    for found in parent.glob(".*.replaced"):
        recover(found.with_name(found.name.removeprefix(".").removesuffix(".replaced")))
    for found in (*parent.glob(".*.partial"), *parent.glob(".*.replaced")):
        shutil.rmtree(found, ignore_errors=True)


def _replaced(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.replaced")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
