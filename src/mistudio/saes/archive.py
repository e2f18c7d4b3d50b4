"""SAEs on their way in and out: uploaded zip files, and zip files streamed while they are read."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from fastapi.responses import StreamingResponse

from mistudio.db import new_id
from mistudio.errors import StudioError
from mistudio.settings import Settings
from mistudio.store import delete_folder, disk_errors, owner_folder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_BLOCK = 1 << 20
_LARGEST_CONFIG = 10 << 20


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
    """Take the two files of one SAE out of a zip file, wherever in it they lie together.

    Raises StudioError `not_a_zip`, `zip_without_sae`, `zip_with_several_saes`, `zip_broken`; `DiskFull`.
    """
    if not zipfile.is_zipfile(path):
        raise StudioError(
            "not_a_zip",
            f"“{path.name}” is not a zip file, or it is cut short.",
            hint=f"Give a folder or a zip file with {CONFIG} and {WEIGHTS}.",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            places = sorted(
                {n.rpartition("/")[0] for n in names if n.rpartition("/")[2] in (CONFIG, WEIGHTS)}
            )
            if not places:
                shown = ", ".join(sorted(names)[:5]) or "nothing"
                raise StudioError(
                    "zip_without_sae",
                    f"“{path.name}” holds no {CONFIG} and {WEIGHTS}; it holds {shown}.",
                    hint="Zip the SAE's folder in SAELens' format.",
                )
            if len(places) > 1:
                raise StudioError(
                    "zip_with_several_saes",
                    f"“{path.name}” holds several SAEs: {', '.join(place or '/' for place in places[:5])}.",
                    hint="Unpack it and import the folders one by one.",
                )
            prefix = f"{places[0]}/" if places[0] else ""
            for name in (CONFIG, WEIGHTS):
                if prefix + name in names:
                    _take(archive, prefix + name, folder / name)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise StudioError(
            "zip_broken", f"“{path.name}” cannot be unpacked: {error}.", hint="Make or download it again."
        ) from error


def _take(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    size = archive.getinfo(name).file_size
    free = shutil.disk_usage(target.parent).free
    if size > free or (target.name == CONFIG and size > _LARGEST_CONFIG):
        raise StudioError(
            "zip_too_large",
            f"{name} would take {size:,} bytes unpacked; {free:,} are free.",
            hint="Free some space, or check that the file is what it should be.",
            status=507,
        )
    with disk_errors(target), archive.open(name) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, _BLOCK)


def download(folder: Path, name: str) -> StreamingResponse:
    """An SAE's folder as a zip file, made while it is sent: its memory is one block."""
    shown = "".join(c if c.isalnum() or c in " ._-·" else "_" for c in name).strip() or "sae"
    plain = shown.encode("ascii", "replace").decode().replace("?", "_")
    return StreamingResponse(
        zip_stream([(folder / file, f"{shown}/{file}") for file in (CONFIG, WEIGHTS)]),
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
