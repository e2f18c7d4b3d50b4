"""SAEs on their way in and out: uploaded zip files, and zip files streamed while they are read."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from fastapi.responses import StreamingResponse

from mistudio.db import new_id
from mistudio.errors import StudioError
from mistudio.sae.format_info import FORMATS, TENSOR_SUFFIXES
from mistudio.settings import Settings
from mistudio.store import DiskFull, delete_folder, disk_errors, owner_folder

UNDERSTOOD = (
    "Give the file or folder, or a zip file of the folder, of one SAE in one of these formats: "
    + "; ".join(f"{info.title} ({info.files})" for info in FORMATS.values())
    + "."
)
_TAKEN = (*TENSOR_SUFFIXES, ".json", ".yaml")
_BLOCK = 1 << 20
_MOST_FILES = 1_000
_SMALL = 64 << 20
_LARGEST_RATIO = 50
"""Above `_SMALL` bytes, a zip file may unpack to at most this many times its size: trained weights hardly shrink."""


def receive_upload(settings: Settings, file: BinaryIO, filename: str | None) -> Path:
    """Store an uploaded file in the folder of an SAE to be; nothing stays when it fails.

    Raises StudioError `file_empty`, `upload_too_large`; `DiskFull`.
    """
    folder = owner_folder(settings.data_dir, "sae_uploads", new_id("sa"))
    target = folder / _safe_name(filename)
    try:
        with disk_errors(folder):
            folder.mkdir(parents=True)
            with target.open("wb") as out:
                shutil.copyfileobj(file, out, _BLOCK)
        size = target.stat().st_size
        if size == 0:
            raise StudioError("file_empty", f"The file “{target.name}” is empty.", fields={"file": "empty"})
        if size > settings.max_upload_bytes:
            raise StudioError(
                "upload_too_large",
                f"The file has {size:,} bytes; at most {settings.max_upload_bytes:,} are taken.",
                hint="Raise max_upload_bytes, or use the command line on the server.",
                status=413,
            )
    except BaseException:
        delete_folder(settings.data_dir, folder)
        raise
    return target


def _safe_name(filename: str | None) -> str:
    last = (filename or "").replace("\\", "/").rpartition("/")[2].strip()
    kept = "".join(c for c in last if c.isprintable())[:150]
    return kept if kept and not kept.startswith(".") else "upload.zip"


def unpack(path: Path, folder: Path) -> None:
    """Take out of a zip file what an SAE may consist of (tensors, JSON and YAML), in the folders it lies in.

    Raises StudioError `not_a_zip`, `zip_unsafe`, `zip_too_large`, `zip_without_sae`, `zip_broken`; `DiskFull`.
    """
    if not zipfile.is_zipfile(path):
        raise StudioError(
            "not_a_zip",
            f"“{path.name}” is neither a whole zip file nor one of {', '.join(TENSOR_SUFFIXES)}.",
            hint=UNDERSTOOD,
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, path)
            _check_size(entries, path, shutil.disk_usage(folder).free)
            for name, entry in entries.items():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with disk_errors(target), archive.open(entry) as source, target.open("xb") as out:
                    shutil.copyfileobj(source, out, _BLOCK)
    except DiskFull:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise StudioError(
            "zip_broken", f"“{path.name}” cannot be unpacked: {error}.", hint="Make or download it again."
        ) from error


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """What is to be unpacked, by its path below the folder that it is unpacked into."""
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        place = PurePosixPath(entry.filename.replace("\\", "/"))
        link = stat.S_ISLNK(entry.external_attr >> 16)
        if place.is_absolute() or ".." in place.parts or (place.parts and ":" in place.parts[0]) or link:
            raise StudioError(
                "zip_unsafe",
                f"“{path.name}” holds “{entry.filename[:200]}”, which would lie outside of its folder.",
                hint="Zip the SAE's folder itself, without links and absolute paths.",
            )
        hidden = any(part.startswith((".", "__MACOSX")) for part in place.parts)
        if place.suffix in _TAKEN and not hidden and not entry.is_dir():
            found[str(place)] = entry
    if not any(name.endswith(TENSOR_SUFFIXES) for name in found):
        raise without_sae(path.name, archive.namelist())
    return found


def _check_size(entries: dict[str, zipfile.ZipInfo], path: Path, free: int) -> None:
    size, packed = sum(entry.file_size for entry in entries.values()), path.stat().st_size
    if len(entries) > _MOST_FILES or size > max(_SMALL, _LARGEST_RATIO * packed):
        raise StudioError(
            "zip_too_large",
            f"“{path.name}” would unpack to {len(entries):,} files of {size:,} bytes, from {packed:,}.",
            hint="No trained weights shrink so far. Check that the file is what it should be.",
        )
    if size > free:
        raise StudioError(
            "zip_too_large",
            f"“{path.name}” would take {size:,} bytes unpacked; {free:,} are free.",
            hint="Free some space, or check that the file is what it should be.",
            status=507,
        )


def without_sae(name: str, found: Iterable[str]) -> StudioError:
    """The refusal of a zip file that holds no dictionary in any known format."""
    shown = ", ".join(sorted(found)[:5]) or "nothing"
    return StudioError(
        "zip_without_sae", f"“{name}” holds no SAE in a known format; it holds {shown}.", hint=UNDERSTOOD
    )


def download(folder: Path, name: str) -> StreamingResponse:
    """An SAE's folder as a zip file, made while it is sent: its memory is one block."""
    shown = "".join(c if c.isalnum() or c in " ._-·" else "_" for c in name).strip() or "sae"
    plain = shown.encode("ascii", "replace").decode().replace("?", "_")
    return StreamingResponse(
        zip_folder(folder, shown),
        media_type="application/zip",
        headers={
            "Content-Disposition": f"attachment; filename=\"{plain}.zip\"; filename*=UTF-8''{quote(shown)}.zip"
        },
    )


class _Outlet(io.RawIOBase):
    """Collects what the zip writer writes until it is taken away."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        before = len(self._written)
        self._written += bytes(data)  # type: ignore[call-overload]
        return len(self._written) - before

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


def zip_folder(folder: Path, inside: str = "") -> Iterator[bytes]:
    """The bytes of a zip file with the files of a folder, whichever format they are in."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return zip_stream([(path, str(PurePosixPath(inside, *path.relative_to(folder).parts))) for path in files])


def zip_stream(files: list[tuple[Path, str]]) -> Iterator[bytes]:
    """The bytes of a zip file with these files under these names, uncompressed (weights do not compress)."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path, name in files:
            info = zipfile.ZipInfo.from_file(path, name)
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                while block := source.read(_BLOCK):
                    target.write(block)
                    yield outlet.take()
    yield outlet.take()
