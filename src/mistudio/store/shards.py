"""Rows of several columns in numbered shards: whole after a kill, resumable, mapped on reading.

head.json                what the rows are (columns, settings), written first
shard-00000/             one finished shard: a .npy file per column, shard.json, manifest.json
index.json manifest.json written by `finish`: the shards and the sizes and checksums of all files
"""

import json
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mistudio.store.atomic import FolderDraft, atomic_file, sweep_temporaries
from mistudio.store.errors import AlreadyThere, FolderDeleted, TornFile, disk_errors
from mistudio.store.manifest import MANIFEST, FileEntry, manifest_bytes, measure, read_json, verify
from mistudio.store.npy import Array, NpyWriter, map_npy

_HEAD, _INDEX, _SHARD = "head.json", "index.json", "shard.json"
_OPEN_MAPS = 128


class Column(NamedTuple):
    """The dtype and the shape of one row of a column."""

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...] = ()


class ShardWriter:
    """Streams rows into shards. A row group becomes whole with `end_group`; a shard ends with a group.

    `notes` is a JSON object kept with the open shard (reset for each); `state` is what the caller needs to
    go on after the last finished shard.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        columns: Mapping[str, Column],
        shard_rows: int,
        head: Mapping[str, Any],
    ) -> None:
        if shard_rows < 1:
            raise ValueError(f"A shard must hold at least one row, not {shard_rows}.")
        self.folder = Path(folder)
        if self.folder.exists():
            sweep_temporaries(self.folder)
            if any(self.folder.iterdir()):
                raise AlreadyThere(self.folder)
        self.head: dict[str, Any] = {
            **head,
            "shard_rows": shard_rows,
            "columns": {
                name: {"dtype": column.dtype.str, "row_shape": list(column.row_shape)}
                for name, column in columns.items()
            },
        }
        with atomic_file(self.folder / _HEAD) as file:
            file.write(json.dumps(self.head, indent=1).encode())
        self._begin([], None)

    @classmethod
    def resume(cls, folder: str | os.PathLike[str], kind: str) -> "ShardWriter":
        """Go on after the last finished shard; what was being written when the process died is removed.

        Raises `TornFile` when the head or a finished shard is damaged, `AlreadyThere` when it is finished.
        """
        writer = cls.__new__(cls)
        writer.folder = Path(folder)
        writer.head = read_head(writer.folder, kind)
        if is_finished(folder):
            raise AlreadyThere(folder, "is finished already")
        sweep_temporaries(folder)
        shards: list[dict[str, Any]] = []
        state = None
        for number, path in enumerate(sorted(writer.folder.glob("shard-*"))):
            if path.name != shard_name(number):
                raise TornFile(writer.folder / shard_name(number), "is missing")
            verify(path)
            shard = read_json(path / _SHARD)
            shards.append({"name": path.name, "rows": shard["rows"], "notes": shard["notes"]})
            state = shard["state"]
        writer._begin(shards, state)
        return writer

    def _begin(self, shards: list[dict[str, Any]], state: Any) -> None:
        self.shards = shards
        self.state: Any = state
        self.notes: dict[str, Any] = {}
        self.rows_finished: int = sum(shard["rows"] for shard in shards)
        self._shard_rows = int(self.head["shard_rows"])
        self._columns = columns_of(self.head)
        self._draft: FolderDraft | None = None
        self._files: dict[str, NpyWriter] = {}
        self._whole_rows = 0
        self._closed = False

    @property
    def rows(self) -> int:
        """Rows appended so far, those in the open shard included."""
        return self.rows_finished + self._whole_rows

    def write(self, column: str, rows: Array) -> None:
        """Append rows to one column of the open group. On an error the open shard is dropped."""
        if self._closed:
            raise ValueError(f"{self.folder} is closed for writing: open it with resume.")
        try:
            with self._errors():
                if self._draft is None:
                    self._draft = FolderDraft(self.folder / shard_name(len(self.shards)), make_parents=False)
                    self._files = {
                        name: NpyWriter(self._draft.path / f"{name}.npy", spec.dtype, spec.row_shape)
                        for name, spec in self._columns.items()
                    }
                self._files[column].append(rows)
        except BaseException:
            self.drop()
            raise

    def end_group(self, rows: int, state: Any = None) -> None:
        """End a group of `rows` rows in every column; ends the shard too when it is full."""
        self._whole_rows += rows
        self.state = state
        uneven = self._uneven()
        if uneven:
            self.drop()
            raise ValueError(f"{self.folder}: the columns {', '.join(uneven)} did not get {rows} rows each.")
        if self._whole_rows >= self._shard_rows:
            self._seal()

    def suspend(self) -> None:
        """Finish the open shard and close, to be resumed later; drops it when a group is incomplete."""
        if self._closed:
            return
        if self._uneven():
            self.drop()
        else:
            self._seal()
        self._closed = True

    def drop(self) -> None:
        """Forget the open shard and close; finished shards stay for `resume`."""
        self._closed = True
        for file in self._files.values():
            file.discard()
        if self._draft is not None:
            self._draft.abort()
        self._draft, self._files, self._whole_rows = None, {}, 0

    def finish(self) -> None:
        """Finish the open shard and write index and manifest: from now on it can be read."""
        if self._closed:
            raise ValueError(f"{self.folder} is closed for writing: open it with resume.")
        self._seal()
        self._closed = True
        with self._errors():
            with atomic_file(self.folder / _INDEX, make_parents=False) as file:
                file.write(json.dumps({"shards": self.shards, "state": self.state}).encode())
            known: dict[str, FileEntry] = {}
            for shard in self.shards:
                entries = verify(self.folder / shard["name"])
                known |= {f"{shard['name']}/{name}": entry for name, entry in entries.items()}
            entries = measure(self.folder, known)
            with atomic_file(self.folder / MANIFEST, make_parents=False) as file:
                file.write(manifest_bytes(entries))

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            with disk_errors(self.folder):
                yield
        except FileNotFoundError as error:
            if self.folder.exists():
                raise
            raise FolderDeleted(self.folder) from error

    def _uneven(self) -> list[str]:
        return [name for name, file in self._files.items() if file.rows != self._whole_rows]

    def _seal(self) -> None:
        if not self._whole_rows or self._draft is None:
            return
        try:
            with self._errors():
                known = {f"{name}.npy": file.close() for name, file in self._files.items()}
                content = {"rows": self._whole_rows, "state": self.state, "notes": self.notes}
                (self._draft.path / _SHARD).write_text(json.dumps(content))
                self._draft.commit(known)
        except BaseException:
            self.drop()
            raise
        self.shards.append({"name": self._draft.target.name, "rows": self._whole_rows, "notes": self.notes})
        self.rows_finished += self._whole_rows
        self._draft, self._files, self._whole_rows, self.notes = None, {}, 0, {}


class ShardReader:
    """Reads finished shards as if each column were one array; shards are mapped when touched."""

    def __init__(self, folder: str | os.PathLike[str], kind: str) -> None:
        self.folder = Path(folder)
        self.head = read_head(self.folder, kind)
        if not is_finished(folder):
            raise TornFile(self.folder, "is not finished", "Resume the job that writes it, or delete it.")
        verify(self.folder)
        index = read_json(self.folder / _INDEX)
        self.shards: list[dict[str, Any]] = index["shards"]
        self.state: Any = index.get("state")
        self.columns = columns_of(self.head)
        starts = np.cumsum([0, *(int(shard["rows"]) for shard in self.shards)])
        self._starts: list[int] = starts.tolist()
        self.n_rows = self._starts[-1]
        self._maps: OrderedDict[tuple[int, str], Array] = OrderedDict()

    def read(self, column: str, start: int, stop: int) -> Array:
        """Rows [start, stop) of a column: a read-only view when they lie in one shard, else a copy."""
        if not 0 <= start <= stop <= self.n_rows:
            raise IndexError(f"rows {start} to {stop} are not in 0 to {self.n_rows}")
        first = min(bisect_right(self._starts, start) - 1, max(0, len(self.shards) - 1))
        if start == stop:
            dtype, row_shape = self.columns[column]
            return np.empty((0, *row_shape), dtype)
        parts: list[Array] = []
        for shard in range(first, len(self.shards)):
            base, end = self._starts[shard], self._starts[shard + 1]
            if base >= stop:
                break
            parts.append(self._map(shard, column)[max(0, start - base) : min(stop, end) - base])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _map(self, shard: int, column: str) -> Array:
        # Each mapping keeps a file descriptor, so only the latest ones stay open.
        key = (shard, column)
        found = self._maps.pop(key, None)
        if found is None:
            found = map_npy(self.folder / self.shards[shard]["name"] / f"{column}.npy")
            if len(self._maps) >= _OPEN_MAPS:
                self._maps.popitem(last=False)
        self._maps[key] = found
        return found


def is_finished(folder: str | os.PathLike[str]) -> bool:
    """Whether the writer of a sharded folder has finished it."""
    return Path(folder, MANIFEST).exists()


def read_head(folder: Path, kind: str) -> dict[str, Any]:
    """The head of a sharded folder. Raises `TornFile` when it is missing or of another kind."""
    head = read_json(folder / _HEAD)
    if head.get("kind") != kind:
        raise TornFile(folder / _HEAD, f"belongs to {head.get('kind')!r}, not to {kind!r}")
    return head


def columns_of(head: Mapping[str, Any]) -> dict[str, Column]:
    """The columns that a head describes."""
    return {
        name: Column(np.dtype(spec["dtype"]), tuple(spec["row_shape"]))
        for name, spec in head["columns"].items()
    }


def shard_name(number: int) -> str:
    """The folder name of a shard; names sort in writing order."""
    return f"shard-{number:06d}"
