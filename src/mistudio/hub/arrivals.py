"""What has arrived from the hub so far: kept while a retry can go on from it, gone when the job was cancelled.

It lies in `data_dir/downloads/<id of the owner>` until the owner is whole. The bytes on the disk are the only state.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from mistudio.db import Database
from mistudio.errors import StudioError
from mistudio.hub_answers import FAULT_STATUS
from mistudio.jobs import Job, JobCancelled, JobContext
from mistudio.jobs.announce import listen
from mistudio.store import delete_folder, owner_folder

_DOWNLOADS = "downloads"
_KINDS = ("models.add", "datasets.import")
_HERE = {"disk_full", "disk-full", "not_written", "out_of_memory", "gpu_out_of_memory"}
_ENDED = {"interrupted", "killed", "crashed", "internal"}
_GOES_ON = frozenset(FAULT_STATUS) - {"hub_not_found", "hub_revision_not_found"} | _HERE | _ENDED


def goes_on(code: str) -> bool:
    """Whether a retry after an error of this code may succeed with what has arrived: the source itself is sound."""
    return code in _GOES_ON


@contextmanager
def arriving(context: JobContext, id: str, kind: str = _DOWNLOADS) -> Generator[Path]:
    """The folder for what arrives for the owner `id`. It goes when the block ends, unless a retry can go on from it."""
    sweep_cancelled(context.database, context.data_dir)
    folder = owner_folder(context.data_dir, kind, id)
    try:
        yield folder
    except BaseException as error:
        code = getattr(error, "code", None)
        if isinstance(error, JobCancelled) or (isinstance(code, str) and not goes_on(code)):
            delete_folder(context.data_dir, folder)
        elif kept := _bytes_here(folder):
            context.log(f"{_amount(kept)} have arrived and are kept")
            if isinstance(error, StudioError):
                said = f"{_amount(kept)} are here and kept: a retry goes on from them."
                error.hint = f"{error.hint} {said}" if error.hint else said
        raise
    delete_folder(context.data_dir, folder)


def sweep_cancelled(database: Database, data_dir: Path) -> None:
    """Remove what had arrived for jobs that were cancelled while no process of theirs ran, or that are no more."""
    folders = [folder for folder in (data_dir / _DOWNLOADS).glob("*") if folder.is_dir()]
    if not folders:
        return
    with database.reading() as session:
        wanted = {
            subject.rpartition("/")[2]
            for subject in session.scalars(
                select(Job.subject).where(Job.kind.in_(_KINDS), Job.state.not_in(("cancelled", "succeeded")))
            )
        }
    for folder in folders:
        if folder.name not in wanted:
            delete_folder(data_dir, folder)


def sweep_when_cancelled(database: Database, data_dir: Path) -> Callable[[], None]:
    """From now on, do so as soon as this process hears that a job was cancelled. Returns the way to stop."""

    def heard(job: Job) -> None:
        if job.kind in _KINDS and job.state == "cancelled":
            sweep_cancelled(database, data_dir)

    return listen(database, heard)


def _bytes_here(folder: Path) -> int:
    """What its files take on the disk, without the holes of those of which only parts have come."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _amount(size: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
