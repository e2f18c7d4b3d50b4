"""Files sent in pieces: a broken connection, a reload or a restart goes on at the byte where it stopped.

`data_dir/uploads/<id>/upload.json` says name and size; beside it grows the file. The bytes on the disk are the only
state there is. The id becomes the data set's when it is added.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mistudio.datasets.preview_schemas import UploadOut
from mistudio.db import new_id
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.settings import Settings
from mistudio.store import atomic_file, delete_folder, disk_errors, owner_folder
from mistudio.store.manifest import read_json

KEPT_SECONDS = 7 * 24 * 3600.0
"""Uploads that nobody has gone on with for so long are removed when the next one begins."""

_ABOUT = "upload.json"


def start_upload(settings: Settings, filename: str, size: int) -> UploadOut:
    """Make room for a file. Raises StudioError `upload_too_large`, `disk_full`, `format_unknown`."""
    from mistudio.datasets.library import safe_name

    if size > settings.max_upload_bytes:
        raise too_large(settings, size)
    free = shutil.disk_usage(settings.data_dir).free
    if size > free:
        raise StudioError(
            "disk_full",
            f"The file has {size:,} bytes and {free:,} are free in the data folder.",
            hint="Free some space, or choose another data folder.",
            status=507,
        )
    for stale in unfinished(settings):
        if time.time() - stale.updated_at.timestamp() > KEPT_SECONDS:
            discard(settings, stale.id)
    id, name = new_id("ds"), safe_name(filename) or "upload"
    folder = owner_folder(settings.data_dir, "uploads", id)
    with atomic_file(folder / _ABOUT) as file:
        file.write(json.dumps({"filename": name, "size": size}).encode())
    (folder / name).touch()
    return show_upload(settings, id)


def show_upload(settings: Settings, id: str) -> UploadOut:
    """How far an upload is. Raises NotFound."""
    folder = _folder(settings, id)
    about = read_json(folder / _ABOUT)
    file = folder / str(about["filename"])
    try:
        found = file.stat()
    except FileNotFoundError:
        file.touch()
        found = file.stat()
    return UploadOut(
        id=id,
        filename=file.name,
        size=int(about["size"]),
        received=found.st_size,
        updated_at=datetime.fromtimestamp(found.st_mtime, UTC),
    )


def unfinished(settings: Settings) -> list[UploadOut]:
    """Uploads that are not whole yet, newest first."""
    folders = (settings.data_dir / "uploads").glob(f"*/{_ABOUT}")
    found = [show_upload(settings, about.parent.name) for about in folders]
    waiting = [upload for upload in found if upload.received < upload.size]
    return sorted(waiting, key=lambda upload: upload.updated_at, reverse=True)


class Piece:
    """One piece being received; what has come is kept however it ends. Only one at a time may grow a file."""

    def __init__(self, settings: Settings, id: str, offset: int) -> None:
        upload = show_upload(settings, id)
        self._path = _folder(settings, id) / upload.filename
        self._file: BinaryIO = self._path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise Conflict(
                "upload_busy", "Another piece of this file is just arriving.", hint="Wait for it, then go on."
            ) from error
        self._left = upload.size - self._file.tell()
        if offset != self._file.tell():
            here = self._file.tell()
            self._file.close()
            raise Conflict(
                "upload_offset",
                f"The piece begins at byte {offset:,}, but {here:,} bytes are here.",
                hint="Ask how far the upload is, and send from there.",
            )

    def write(self, block: bytes) -> None:
        """Take bytes in. Raises StudioError `upload_too_large` for more than were announced; `DiskFull`."""
        if len(block) > self._left:
            raise StudioError(
                "upload_too_large", "More bytes came than the file was said to have.", status=413
            )
        with disk_errors(self._path):
            self._file.write(block)
        self._left -= len(block)

    def close(self) -> None:
        """Flush what has come to the disk."""
        with disk_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()


def finished_upload(settings: Settings, id: str) -> Path:
    """The whole file of an upload. Raises NotFound, Conflict `upload_unfinished`."""
    upload = show_upload(settings, id)
    if upload.received != upload.size:
        raise Conflict(
            "upload_unfinished",
            f"Of “{upload.filename}” {upload.received:,} of {upload.size:,} bytes are here.",
            hint="Send the rest first.",
        )
    return _folder(settings, id) / upload.filename


def discard(settings: Settings, id: str) -> None:
    """Remove an upload that was not added. Raises NotFound."""
    delete_folder(settings.data_dir, _folder(settings, id))


def too_large(settings: Settings, size: int) -> StudioError:
    """The refusal of a file over `max_upload_bytes`."""
    return StudioError(
        "upload_too_large",
        f"The file has {size:,} bytes; at most {settings.max_upload_bytes:,} are taken.",
        hint="Raise max_upload_bytes, or use the command line on the server.",
        status=413,
    )


def _folder(settings: Settings, id: str) -> Path:
    try:
        folder = owner_folder(settings.data_dir, "uploads", id)
    except ValueError as error:
        raise NotFound("upload", id) from error
    if not (folder / _ABOUT).is_file():
        raise NotFound("upload", id)
    return folder
