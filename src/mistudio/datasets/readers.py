"""Files of text, read as streams of Arrow batches in constant memory, with their faults named by place."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio.datasets.csv_files import NumericColumns, first_rows, read_csv
from mistudio.datasets.formats import delimiter_of, format_of
from mistudio.datasets.schemas import Documents, FileFormat, FolderSource
from mistudio.datasets.streams import Batches, Entry, Stored, Unpacking, broken, entries, utf8
from mistudio.datasets.text_store import as_string
from mistudio.errors import StudioError

Item = TypeVar("Item")

BATCH_BYTES = 4 << 20
BATCH_ROWS = 2_000
JOINED_ROWS = 1_000
MAX_DOCUMENT_BYTES = 1 << 30
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass
class Reading:
    """How the files of a source are read: their format (None: each by its ending), and what one row is.

    `columns[name]` are values that every row of that stored file gets; `file_column` adds its name to each text.
    `batch_rows` bounds what is read at once where only the first rows are wanted; `frugal` reads nothing ahead.
    `document_characters` cuts a file that is one row, for looking at.
    """

    format: FileFormat | None = None
    documents: Documents = "paragraph"
    delimiter: str | None = None
    file_column: bool = False
    columns: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    batch_rows: int = BATCH_ROWS
    frugal: bool = False
    document_characters: int | None = None
    log: Callable[[str], None] = lambda _: None
    _numbers: NumericColumns = field(default_factory=lambda: NumericColumns())

    def read(self, files: Sequence[Stored], unpacking: Unpacking) -> Batches:
        """The rows of all files in their order, with the bytes read of all.

        Raises StudioError `not_utf8`, `broken_file`, `document_too_long`, `unpacks_too_large`, `archive_empty`.
        """
        with closing(self._read_all(files, unpacking)) as batches:
            yield from _joined(batches, self.batch_rows)

    def _read_all(self, files: Sequence[Stored], unpacking: Unpacking) -> Batches:
        before = 0
        for stored in files:
            for entry in entries(stored, self.format or format_of(stored.name), unpacking):
                with closing(self.read_entry(entry)) as batches:
                    for batch, done in batches:
                        yield batch, before + min(done, stored.size)
            before += stored.size

    def read_entry(self, entry: Entry) -> Batches:
        """The rows of one file."""
        kind = self.format or format_of(entry.name) or "text"
        if kind == "parquet":
            yield from read_parquet(entry, self.batch_rows)
        elif kind == "csv":
            delimiter = self.delimiter or delimiter_of(entry.name)
            reader = (
                first_rows(entry, delimiter, self.batch_rows) if self.frugal else read_csv(entry, delimiter)
            )
            for batch, done in reader:
                self._numbers.see(batch)
                yield batch, done
        elif kind == "jsonl":
            yield from read_jsonl(entry, self.log, self.batch_rows)
        else:
            yield from self._read_text(entry)

    def types(self) -> dict[str, pa.DataType]:
        """What columns of strings turned out to hold, once everything is read."""
        return self._numbers.types()

    def _read_text(self, entry: Entry) -> Batches:
        given: dict[str, str] = {}
        if self.file_column or entry.member is not None:
            given = {"file": entry.name, **self.columns.get(entry.stored.name, {})}
        texts = read_text(entry, self.documents, given, self.batch_rows, self.document_characters)
        for batch, done in texts:
            self._numbers.see(batch.select([name for name in given if name != "file"]))
            yield batch, done


def read_text(
    entry: Entry,
    documents: Documents,
    given: dict[str, str] | None = None,
    batch_rows: int = BATCH_ROWS,
    document_characters: int | None = None,
) -> Batches:
    """A plain text file as rows of one column, `text`, after the columns that are `given`."""
    with entry.open() as opened, io.TextIOWrapper(utf8(opened, entry.name), encoding="utf-8-sig") as file:
        if documents == "file":
            texts = _whole_file(entry.name, file, document_characters)
        else:
            texts = _lines(entry.name, file, documents)
        sized = ((text, len(text)) for text in texts)
        for held, done in _gathered(sized, opened.position, batch_rows):
            arrays = [pa.array([value] * len(held)) for value in (given or {}).values()]
            names = [*(given or {}), "text"]
            yield pa.RecordBatch.from_arrays([*arrays, pa.array(held, pa.large_string())], names=names), done


def _whole_file(name: str, file: io.TextIOWrapper, characters: int | None) -> Iterator[str]:
    text = file.read(characters or MAX_DOCUMENT_BYTES)
    if characters is None and file.read(1):
        raise _too_long(name, "it is one document of over 1 GiB")
    yield text


def _lines(name: str, file: io.TextIOWrapper, documents: Documents) -> Iterator[str]:
    paragraph: list[str] = []
    length = number = 0
    while line := file.readline(MAX_DOCUMENT_BYTES):
        number += 1
        length += len(line)
        if length >= MAX_DOCUMENT_BYTES:
            raise _too_long(name, f"the document that ends on line {number:,} is over 1 GiB long")
        content = line.rstrip("\n")
        if documents == "line":
            length = 0
            if content.strip():
                yield content
        elif content.strip():
            paragraph.append(content)
        else:
            length = 0
            if paragraph:
                yield "\n".join(paragraph)
                paragraph = []
    if paragraph:
        yield "\n".join(paragraph)


def _too_long(name: str, why: str) -> StudioError:
    return StudioError(
        "document_too_long", f"{name} cannot be one row: {why}.", hint="Split it by line or by paragraph."
    )


def read_jsonl(
    entry: Entry, log: Callable[[str], None] = lambda _: None, batch_rows: int = BATCH_ROWS
) -> Batches:
    """A file of JSON objects, one a line or all in one list.

    Raises StudioError `broken_file` naming the line (or the item of the list) that is not one.
    """
    replaced = 0

    def rows(file: io.BufferedReader) -> Iterator[tuple[dict[str, Any], int]]:
        nonlocal replaced
        for place, raw, row in _json_rows(entry.name, file):
            if not isinstance(row, dict):
                raise broken(entry.name, f"{place} is not a JSON object but a {type(row).__name__}")
            if "\\ud" in raw.lower() and _SURROGATES.search(text := json.dumps(row, ensure_ascii=False)):
                row = json.loads(_SURROGATES.sub("\ufffd", text))
                replaced += 1
            yield row, len(raw)

    with entry.open() as opened, utf8(opened, entry.name) as file:
        for held, done in _gathered(rows(file), opened.position, batch_rows):
            yield to_batch(held), done
    if replaced:
        log(
            f"{replaced:,} rows held half a surrogate pair, which is no character; it was replaced by “\ufffd”."
        )


def _json_rows(name: str, file: io.BufferedReader) -> Iterator[tuple[str, str, Any]]:
    """(place, source text, value) of each line or list item."""
    if file.peek(3)[:3] == codecs.BOM_UTF8:
        file.read(3)
    if file.peek(64).lstrip()[:1] == b"[":
        yield from _json_list(name, io.TextIOWrapper(file, encoding="utf-8"))
        return
    number = 0
    while line := file.readline(MAX_DOCUMENT_BYTES):
        number += 1
        if not line.strip():
            continue
        raw = line.decode()
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise broken(name, f"line {number:,} is not JSON ({error})") from error
        yield f"line {number:,}", raw, value


def _json_list(name: str, file: io.TextIOWrapper) -> Iterator[tuple[str, str, Any]]:
    """The items of one JSON list, of which never much more than the longest item is held."""
    decoder = json.JSONDecoder()
    text = file.read(1 << 20).lstrip().removeprefix("[")
    number = 0
    while True:
        text = text.lstrip().removeprefix(",") if number else text
        text = text.lstrip()
        if text.startswith("]"):
            return
        try:
            value, end = decoder.raw_decode(text)
            whole = end < len(text)
        except (ValueError, RecursionError) as error:
            value, end, whole, fault = None, 0, False, error
        else:
            fault = None
        if not whole:
            more = file.read(max(1 << 20, len(text)))
            if not more or len(text) > MAX_DOCUMENT_BYTES:
                why = fault or "the list does not end"
                raise broken(name, f"item {number + 1:,} of its list is not JSON ({why})")
            text += more
            continue
        number += 1
        yield f"item {number:,} of its list", text[:end], value
        text = text[end:]


def read_parquet(entry: Entry, batch_rows: int = BATCH_ROWS) -> Batches:
    """A Parquet file, its columns read in pieces, so that the first rows cost little.

    Raises StudioError `broken_file`, and `not_utf8` for strings that are not text.
    """
    name, size = entry.name, entry.stored.size
    with entry.open(seekable=True) as opened:
        try:
            file = pq.ParquetFile(opened.file, buffer_size=1 << 20, pre_buffer=False)
            total, done = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=min(batch_rows, 1_000)):
                try:
                    batch.validate(full=True)
                except pa.ArrowInvalid as error:
                    raise StudioError(
                        "not_utf8",
                        f"{name} holds strings that are not UTF-8, between rows {done:,} and "
                        f"{done + batch.num_rows:,}.",
                        hint="Write the file again with text as UTF-8, or with that column as binary.",
                    ) from error
                done += batch.num_rows
                # Features of the datasets library ride along as schema metadata, which is not ours to keep.
                yield batch.replace_schema_metadata(None), size * done // max(1, total)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise broken(name, f"it is not a whole Parquet file ({why})") from error


def folder_files(folder: Path, source: FolderSource) -> list[Path]:
    """The files of a folder source, sorted. Raises StudioError `path_not_found`, `name_pattern_invalid`."""
    try:
        files = sorted(path for path in folder.glob(source.pattern) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise StudioError(
            "pattern_invalid",
            f"“{source.pattern}” is not a pattern of file names: {error}.",
            hint="Try *.txt.",
        ) from error
    if not files:
        raise StudioError(
            "path_not_found",
            f"No file in “{source.path}” matches {source.pattern}.",
            hint="Change the pattern.",
        )
    if any(not path.resolve().is_relative_to(folder) for path in files):
        raise StudioError("path_not_allowed", "A file of the folder is a link out of it.", status=403)
    name_columns(source, files)
    return files


def name_columns(source: FolderSource, files: list[Path]) -> list[dict[str, str]]:
    """What each file's name says under `name_pattern`. Raises StudioError `name_pattern_invalid`."""
    if source.name_pattern is None:
        return [{} for _ in files]
    try:
        pattern = re.compile(source.name_pattern)
    except re.error as error:
        raise StudioError(
            "name_pattern_invalid",
            f"The name pattern is not a regular expression: {error}.",
            fields={"name_pattern": str(error)},
        ) from error
    taken = {"text", "file"} & set(pattern.groupindex)
    if not pattern.groupindex or taken:
        raise StudioError(
            "name_pattern_invalid",
            f"The name pattern may not call a group “{taken.pop()}”."
            if taken
            else "The name pattern has no groups.",
            hint=r"Write for instance (?P<year>\d+)_(?P<author>.+).",
            fields={"name_pattern": "groups"},
        )
    found: list[dict[str, str]] = []
    for path in files:
        match = pattern.fullmatch(path.stem)
        if match is None:
            raise StudioError(
                "name_pattern_invalid",
                f"The name pattern does not match the file {path.name}.",
                hint="Correct it, or narrow the choice of files.",
                fields={"name_pattern": f"does not match {path.name}"},
            )
        found.append({name: value or "" for name, value in match.groupdict().items()})
    return found


def _joined(batches: Batches, batch_rows: int) -> Batches:
    """Small batches of one schema as larger ones: thousands of files of one row must not be thousands of batches."""
    held: list[pa.RecordBatch] = []
    rows = size = done = 0
    for batch, done in batches:
        if held and batch.schema != held[0].schema:
            yield _one(held), done
            held, rows, size = [], 0, 0
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= min(batch_rows, JOINED_ROWS) or size >= BATCH_BYTES:
            yield _one(held), done
            held, rows, size = [], 0, 0
    if held:
        yield _one(held), done


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _gathered(
    items: Iterable[tuple[Item, int]], position: Callable[[], int], batch_rows: int
) -> Iterator[tuple[list[Item], int]]:
    """Items with their sizes, gathered into batches of bounded size, each with the bytes read so far."""
    held: list[Item] = []
    size = 0
    for item, length in items:
        held.append(item)
        size += length
        if len(held) >= batch_rows or size >= BATCH_BYTES:
            yield held, position()
            held, size = [], 0
    if held:
        yield held, position()


def to_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows as one batch; a column whose values do not go together becomes strings of JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    arrays: list[pa.Array] = []
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            arrays.append(pa.array([as_string(value) for value in values], pa.large_string()))
    return pa.RecordBatch.from_arrays(arrays, names=names)
