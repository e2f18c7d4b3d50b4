"""The rows of a data set on disk: Arrow shards, written in a stream and memory-mapped on reading.

shard-000000.arrow …   Arrow IPC files, all with one schema
rows.json              rows of each shard, in order
columns/<id>/          a column composed from the others: one file for each shard, with the shard's rows
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from mistudio.store import atomic_folder, folder_bytes
from mistudio.store.atomic import part_name
from mistudio.store.errors import TornFile, disk_errors
from mistudio.store.manifest import read_json, verify

SHARD_BYTES = 128 << 20
pc: Any = pyarrow.compute  # its functions are made at run time, so type checkers do not see them
_INDEX = "rows.json"
_COLUMNS = "columns"
_COLUMN = "column.json"
_COMPOSED_ROWS = 1_000


@dataclass
class _Shard:
    name: str
    rows: int
    schema: pa.Schema


class TextWriter:
    """Writes batches into shards. Batches may differ in their columns: `finish` brings them under one schema."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = folder
        self.rows = 0
        self.bytes = 0
        self._shard_bytes = shard_bytes
        self._shards: list[_Shard] = []
        self._open: pa.RecordBatchFileWriter | None = None
        self._open_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch. Raises `DiskFull`."""
        if batch.num_rows == 0:
            return
        batch = plain(batch)
        with disk_errors(self.folder / "shard"):
            if (
                self._open is None
                or batch.schema != self._shards[-1].schema
                or self._open_bytes >= self._shard_bytes
            ):
                self._seal()
                name = f"shard-{len(self._shards):06d}.arrow"
                self._open = pa.ipc.new_file(str(self.folder / name), batch.schema)
                self._shards.append(_Shard(name, 0, batch.schema))
            self._open.write_batch(batch)
        self._shards[-1].rows += batch.num_rows
        self._open_bytes += batch.nbytes
        self.rows += batch.num_rows
        self.bytes += batch.nbytes

    def finish(self, types: dict[str, pa.DataType] | None = None) -> pa.Schema:
        """Write the index and return the schema of all rows; `types` says what columns of strings really hold."""
        with disk_errors(self.folder / "shard"):
            self._seal()
            schema = unified([shard.schema for shard in self._shards])
            for name, kind in (types or {}).items():
                if (index := schema.get_field_index(name)) >= 0 and pa.types.is_large_string(
                    schema.field(index).type
                ):
                    schema = schema.set(index, pa.field(name, kind))
            for shard in self._shards:
                if shard.schema != schema:
                    _rewrite(self.folder / shard.name, schema)
            index = {"version": 1, "shards": [{"name": s.name, "rows": s.rows} for s in self._shards]}
            (self.folder / _INDEX).write_text(json.dumps(index))
        return schema

    def close(self) -> None:
        """Close the open file; what was written is abandoned with its folder."""
        with suppress(OSError, pa.ArrowInvalid):
            self._seal()

    def _seal(self) -> None:
        if self._open is not None:
            writer, self._open, self._open_bytes = self._open, None, 0
            writer.close()


class TextStore:
    """The rows of a finished data set. Opening checks the manifest and raises `TornFile` for a damaged one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        verify(folder)
        index = read_json(folder / _INDEX)
        self._shards: list[tuple[str, int]] = [(s["name"], s["rows"]) for s in index["shards"]]
        self.n_rows = sum(rows for _, rows in self._shards)
        self._tables: dict[str, pa.Table] = {}
        self._columns = {str(read_json(path / _COLUMN)["name"]): path for path in _column_folders(folder)}

    @property
    def schema(self) -> pa.Schema:
        """The columns and their Arrow types."""
        return self._table(self._shards[0][0]).schema

    def tables(self, start: int = 0, *, once: bool = False) -> Iterator[tuple[int, pa.Table]]:
        """(row number, rows) from `start` on, shard by shard, mapped from the disk without a copy.

        `once`: each shard is let go before the next one, so that the memory does not grow with what was read.
        """
        first = 0
        for name, rows in self._shards:
            if first + rows > start:
                skip = max(0, start - first)
                yield first + skip, self._table(name).slice(skip)
                if once:
                    self._tables.pop(name, None)
            first += rows

    def rows(self, start: int, limit: int) -> list[dict[str, Any]]:
        """Rows [start, start + limit) as dicts of plain values."""
        found: list[dict[str, Any]] = []
        for _, table in self.tables(start):
            found += table.slice(0, limit - len(found)).to_pylist()
            if len(found) >= limit:
                break
        return found

    def texts(self, column: str, start: int = 0, batch_rows: int = 1000) -> Iterator[tuple[int, list[str]]]:
        """(row number, texts) in batches from `start` on; a missing text is the empty string."""
        for first, table in self.tables(start):
            for batch in table.select([column]).to_batches(max_chunksize=batch_rows):
                yield first, [text or "" for text in batch.column(0).to_pylist()]
                first += batch.num_rows

    def _table(self, name: str) -> pa.Table:
        if name not in self._tables:
            table = _mapped(self.folder / name)
            for column, folder in self._columns.items():
                composed = _mapped(folder / name)
                if composed.num_rows != table.num_rows:
                    raise TornFile(folder / name, "is torn: it has not the rows of its data set")
                table = table.append_column(column, composed.column(0))
            self._tables[name] = table
        return self._tables[name]

    def compose(
        self, id: str, name: str, make: Callable[[dict[str, Any]], str], tick: Callable[[int], None]
    ) -> int:
        """Add a column of texts made from each row; it is there whole or not at all. Returns its bytes on disk.

        `tick(rows)` is called with the rows done; what it raises leaves nothing. Raises `DiskFull`.
        """
        target = column_folder(self.folder, id)
        done = 0
        with atomic_folder(target) as folder:
            (folder / _COLUMN).write_text(json.dumps({"name": name}))
            for shard, _ in self._shards:
                schema = pa.schema([(name, pa.large_string())])
                with pa.ipc.new_file(str(folder / shard), schema) as writer:
                    for batch in self._table(shard).to_batches(max_chunksize=_COMPOSED_ROWS):
                        texts = [make(row) for row in batch.to_pylist()]
                        writer.write_batch(
                            pa.record_batch([pa.array(texts, pa.large_string())], schema=schema)
                        )
                        done += len(texts)
                        tick(done)
        return folder_bytes(target)


def column_folder(folder: Path, id: str) -> Path:
    """Where a composed column of the data set in `folder` lies."""
    return folder / _COLUMNS / id


def remove_column(folder: Path, id: str) -> None:
    """Remove a composed column of the data set in `folder`."""
    gone = column_folder(folder, id)
    if gone.is_dir():
        # First under a name that no reader takes for a column, so that none finds half of one.
        part = part_name(gone)
        gone.rename(part)
        shutil.rmtree(part, ignore_errors=True)


def _column_folders(folder: Path) -> list[Path]:
    found = sorted((folder / _COLUMNS).glob("[!.]*/manifest.json"))
    for manifest in found:
        verify(manifest.parent)
    return [manifest.parent for manifest in found]


def _mapped(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise TornFile(path, "is torn: it is not a whole Arrow file") from error


def unified(schemas: list[pa.Schema]) -> pa.Schema:
    """One schema that holds every column of all: numbers widen, and what cannot be reconciled becomes strings."""
    types: dict[str, pa.DataType] = {}
    for schema in dict.fromkeys(schemas):
        for field in schema:
            types[field.name] = _wider(types.get(field.name, pa.null()), field.type)
    return pa.schema([(name, pa.large_string() if pa.types.is_null(t) else t) for name, t in types.items()])


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    try:
        merged = pa.unify_schemas(
            [pa.schema([("c", one)]), pa.schema([("c", other)])], promote_options="permissive"
        )
        return merged.field("c").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.large_string()


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Strings of every encoding as large strings, whose offsets never overflow."""
    arrays: list[pa.Array] = []
    for array in batch.columns:
        kind = array.type
        if pa.types.is_dictionary(kind):
            array = array.dictionary_decode()
            kind = array.type
        if pa.types.is_string(kind) or pa.types.is_string_view(kind):
            array = array.cast(pa.large_string())
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _rewrite(path: Path, schema: pa.Schema) -> None:
    part = path.with_suffix(".rewritten")
    with pa.memory_map(str(path)) as source, pa.ipc.new_file(str(part), schema) as writer:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            columns = [
                _as(batch.column(field.name), field.type)
                if field.name in batch.schema.names
                else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    part.replace(path)


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_large_string(array.type) and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        empty = pc.equal(array, "")
        return pc.if_else(empty, pa.scalar(None, pa.large_string()), array).cast(kind)
    if pa.types.is_large_string(kind):
        return pa.array([as_string(value) for value in array.to_pylist()], kind)
    return array.cast(kind)


def as_string(value: Any) -> str | None:
    """A value of any type as the text that stands for it: strings as they are, the rest as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
