"""A job and the row it works for, which may be deleted under it at any time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mistudio.jobs import JobCancelled, JobContext
from mistudio.store import delete_folder


@contextmanager
def working_for(context: JobContext, kind: type[Any], id: str, folder: Path) -> Generator[None]:
    """While open, the job fills `folder` for the row `id`.

    When it fails and the row is gone, the folder goes too and the job counts as cancelled, whatever the failure was:
    files vanish under a job whose object is deleted.
    """
    try:
        yield
    except BaseException as error:
        with context.database.reading() as session:
            gone = session.get(kind, id) is None
        if not gone:
            raise
        delete_folder(context.data_dir, folder)
        raise JobCancelled from error


def announce_changed(context: JobContext, table: str, id: str) -> None:
    """Tell clients that the job has changed its row."""
    for channel in (table, f"{table}/{id}"):
        context.publish(channel, "changed", {"id": id})
