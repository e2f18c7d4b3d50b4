"""`manifest.json`: the size and CRC-32 of each file in a folder, so that a torn file is noticed and named."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from mistudio.store.checksum import crc32_file
from mistudio.store.errors import TornFile

MANIFEST = "manifest.json"
VERSION = 1


class FileEntry(NamedTuple):
    """What a manifest knows about one file."""

    bytes: int
    crc32: int


def measure(folder: Path, known: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
    """Entries of all files under `folder` by relative path; those in `known` are not read again."""
    entries: dict[str, FileEntry] = {}
    for where, _, files in os.walk(folder):
        for name in files:
            path = Path(where, name)
            relative = path.relative_to(folder).as_posix()
            if relative != MANIFEST:
                entries[relative] = known.get(relative) or FileEntry(path.stat().st_size, crc32_file(path))
    return dict(sorted(entries.items()))


def manifest_bytes(entries: Mapping[str, FileEntry]) -> bytes:
    """The manifest as it is written to the disk."""
    files = {name: {"bytes": entry.bytes, "crc32": f"{entry.crc32:08x}"} for name, entry in entries.items()}
    return json.dumps({"version": VERSION, "files": files}, indent=1).encode()


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, FileEntry]:
    """Entries by relative path. Raises `TornFile` when the manifest is missing, broken or newer."""
    document = read_json(Path(folder, MANIFEST))
    if document.get("version") != VERSION:
        raise TornFile(
            Path(folder, MANIFEST),
            f"has manifest version {document.get('version')!r}, and this miStudio reads {VERSION}",
            "Update miStudio, or delete its owner and make it again.",
        )
    try:
        return {
            name: FileEntry(int(entry["bytes"]), int(entry["crc32"], 16))
            for name, entry in document["files"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TornFile(Path(folder, MANIFEST), "is not a manifest") from error


def verify(folder: str | os.PathLike[str], deep: bool = False) -> dict[str, FileEntry]:
    """Check a folder against its manifest: presence and sizes, with `deep` also each file's checksum.

    Returns the manifest. Raises `TornFile` naming the first missing, torn or changed file.
    """
    entries = read_manifest(folder)
    for name, entry in entries.items():
        path = Path(folder, name)
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            raise TornFile(path, "is missing") from error
        if size != entry.bytes:
            raise TornFile(path, f"is torn: it has {size:,} bytes and should have {entry.bytes:,}")
        if deep and crc32_file(path) != entry.crc32:
            raise TornFile(path, "has changed since it was written: its checksum differs")
    return entries


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the store. Raises `TornFile` when it is missing or not one."""
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TornFile(path, "is missing") from error
    except ValueError as error:
        raise TornFile(path, "is torn: it is not whole JSON") from error
    if not isinstance(document, dict):
        raise TornFile(path, "is torn: it is not a JSON object")
    return cast(dict[str, Any], document)
