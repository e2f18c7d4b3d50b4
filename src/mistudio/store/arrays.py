"""`ArrayFolder`: named numpy arrays and a JSON note in one folder, written at once, mapped on reading."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mistudio.store.atomic import FolderDraft
from mistudio.store.errors import disk_errors
from mistudio.store.manifest import FileEntry, read_json, verify
from mistudio.store.npy import Array, NpyWriter, map_npy

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_META = "meta.json"


class ArrayFolder(Mapping[str, Array]):
    """Read-only mapping from name to memory-mapped array; `meta` is the JSON object stored beside them.

    Opening checks that every file is there with its size and raises `TornFile` otherwise.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        entries = verify(self.folder)
        self._names = [name.removesuffix(".npy") for name in entries if name.endswith(".npy")]
        self._maps: dict[str, Array] = {}
        self.meta: dict[str, Any] = read_json(self.folder / _META)

    def __getitem__(self, name: str) -> Array:
        if name not in self._maps:
            if name not in self._names:
                raise KeyError(name)
            self._maps[name] = map_npy(self.folder / f"{name}.npy")
        return self._maps[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def write_arrays(
    folder: str | os.PathLike[str], arrays: Mapping[str, Array], meta: Mapping[str, Any] | None = None
) -> ArrayFolder:
    """Write an array folder; it appears whole or not at all.

    Raises `AlreadyThere` when the folder has content, ValueError for names or dtypes that cannot be
    stored, `DiskFull` when there is no room.
    """
    for name, array in arrays.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name an array: use letters, digits, '_', '.' and '-'.")
        if array.dtype.hasobject or array.ndim == 0:
            raise ValueError(f"{name} must be a numeric array of one or more dimensions.")
    content = json.dumps(dict(meta or {}), indent=1)
    draft = FolderDraft(folder)
    try:
        with disk_errors(folder):
            (draft.path / _META).write_text(content)
            known = {f"{name}.npy": _write(draft.path, name, array) for name, array in arrays.items()}
        draft.commit(known)
    except BaseException:
        draft.abort()
        raise
    return ArrayFolder(folder)


def _write(folder: Path, name: str, array: Array) -> FileEntry:
    writer = NpyWriter(folder / f"{name}.npy", array.dtype, array.shape[1:])
    try:
        rows = max(1, (1 << 20) // max(1, array[:1].nbytes))
        for start in range(0, len(array), rows):
            writer.append(np.asarray(array[start : start + rows]))
        return writer.close()
    except BaseException:
        writer.discard()
        raise
