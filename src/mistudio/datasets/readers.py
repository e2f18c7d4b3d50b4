"""Files of text, read as streams of Arrow batches in constant memory, with their faults named by place."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

from mistudio.datasets.schemas import CsvSource, Documents, FolderSource
from mistudio.datasets.text_store import as_string
from mistudio.errors import StudioError

Batches = Generator[tuple[pa.RecordBatch, int], None, None]
"""Batches, each with the bytes of the source read so far."""

pc: Any = pyarrow.compute  # its functions are made at run time, so type checkers do not see them

BATCH_BYTES = 4 << 20
BATCH_ROWS = 2_000
MAX_DOCUMENT_BYTES = 1 << 30
_BLOCK = 4 << 20
_SURROGATES = re.compile("[\ud800-\udfff]")
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$"


def check_utf8(path: Path, tick: Callable[[int], None] = lambda _: None) -> None:
    """Read the whole file once; raises StudioError `not_utf8` naming the first wrong byte and its line.

    `tick(bytes)` is called with the bytes read so far.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            pending = decoder.getstate()[0]
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                data = bytes(pending) + block
                at = offset - len(pending) + error.start
                line += data.count(b"\n", 0, error.start)
                shown = f"byte 0x{data[error.start]:02X} at offset {at:,} (line {line:,})"
                raise _not_utf8(path.name, shown, data if offset == 0 else b"") from error
            if (zero := block.find(b"\0")) >= 0:
                line += block.count(b"\n", 0, zero)
                shown = f"a zero byte at offset {offset + zero:,} (line {line:,})"
                raise _not_utf8(path.name, shown, block if offset == 0 else b"")
            if not block:
                return
            offset += len(block)
            line += block.count(b"\n")
            tick(offset)


def _not_utf8(name: str, shown: str, beginning: bytes) -> StudioError:
    utf16 = beginning[:2] in (b"\xff\xfe", b"\xfe\xff") or (
        len(beginning) > 3 and beginning[1:4:2] == b"\0\0"
    )
    encoding = "utf-16" if utf16 else "latin1"
    return StudioError(
        "not_utf8",
        f"{name} is not UTF-8 text: {shown}.",
        hint=f"Convert it, for instance with: iconv -f {encoding} -t utf-8 {name}",
    )


def read_text(path: Path, documents: Documents) -> Batches:
    """A plain text file as rows of one column, `text`."""
    texts = _whole_file(path) if documents == "file" else _lines(path, documents)
    yield from _batched(({"text": text}, done) for text, done in texts)


def _whole_file(path: Path) -> Iterator[tuple[str, int]]:
    size = path.stat().st_size
    if size > MAX_DOCUMENT_BYTES:
        raise _too_long(path.name, "it is one document of over 1 GiB")
    with path.open(encoding="utf-8-sig") as file:
        yield file.read(), size


def _lines(path: Path, documents: Documents) -> Iterator[tuple[str, int]]:
    paragraph: list[str] = []
    length, done = 0, 0
    with path.open(encoding="utf-8-sig") as file:
        number = 0
        while line := file.readline(MAX_DOCUMENT_BYTES):
            number += 1
            length += len(line)
            # Counting encoded bytes of every line would double the work; characters are near enough for a bar.
            done += len(line) if line.isascii() else len(line.encode())
            if length >= MAX_DOCUMENT_BYTES:
                raise _too_long(path.name, f"the document that ends on line {number:,} is over 1 GiB long")
            content = line.rstrip("\n")
            if documents == "line":
                length = 0
                if content.strip():
                    yield content, done
            elif content.strip():
                paragraph.append(content)
            else:
                length = 0
                if paragraph:
                    yield "\n".join(paragraph), done
                    paragraph = []
    if paragraph:
        yield "\n".join(paragraph), done


def _too_long(name: str, why: str) -> StudioError:
    return StudioError(
        "document_too_long", f"{name} cannot be one row: {why}.", hint="Split it by line or by paragraph."
    )


def read_jsonl(path: Path, log: Callable[[str], None] = lambda _: None) -> Batches:
    """A file of JSON objects, one a line. Raises StudioError `broken_file` naming the line that is not one."""
    replaced = 0

    def rows() -> Iterator[tuple[dict[str, Any], int]]:
        nonlocal replaced
        done = 0
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(MAX_DOCUMENT_BYTES):
                number += 1
                done += len(raw)
                if number == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                if not raw.strip():
                    continue
                try:
                    row = json.loads(raw)
                except (ValueError, RecursionError) as error:
                    raise _broken(path.name, f"line {number:,} is not JSON ({error})") from error
                if not isinstance(row, dict):
                    raise _broken(
                        path.name, f"line {number:,} is not a JSON object but a {type(row).__name__}"
                    )
                if b"\\ud" in raw.lower() and _SURROGATES.search(text := json.dumps(row, ensure_ascii=False)):
                    row = json.loads(_SURROGATES.sub("\ufffd", text))
                    replaced += 1
                yield row, done

    yield from _batched(rows())
    if replaced:
        log(
            f"{replaced:,} rows held half a surrogate pair, which is no character; it was replaced by “\ufffd”."
        )


def read_csv(path: Path, source: CsvSource, types: dict[str, pa.DataType]) -> Batches:
    """A CSV file with a header. All columns come as strings; `types` is filled with what they turn out to hold."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=source.delimiter), [])
    if repeated := [name for name in names if names.count(name) > 1]:
        raise _broken(path.name, f"its header names the column “{repeated[0]}” twice")
    if not names:
        raise _broken(path.name, "it has no header line")
    numbers = NumericColumns()
    with path.open("rb", buffering=0) as file:
        try:
            reader = pyarrow.csv.open_csv(
                file,
                # Documents of many megabytes must fit into a block.
                read_options=pyarrow.csv.ReadOptions(
                    column_names=names, skip_rows_after_names=1, block_size=32 << 20, use_threads=False
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=source.delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={name: pa.large_string() for name in names}, strings_can_be_null=False
                ),
            )
            for batch in reader:
                numbers.see(batch)
                yield batch, file.tell()
        except pa.ArrowInvalid as error:
            raise _broken(path.name, str(error).split("\n")[0].removeprefix("CSV parse error: ")) from error
    types.update(numbers.types())


def read_parquet(path: Path) -> Batches:
    """A Parquet file. Raises StudioError `broken_file`, and `not_utf8` for strings that are not text."""
    size = path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            total, done = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=1_000):
                try:
                    batch.validate(full=True)
                except pa.ArrowInvalid as error:
                    raise StudioError(
                        "not_utf8",
                        f"{path.name} holds strings that are not UTF-8, between rows {done:,} and "
                        f"{done + batch.num_rows:,}.",
                        hint="Write the file again with text as UTF-8, or with that column as binary.",
                    ) from error
                done += batch.num_rows
                yield batch, size * done // max(1, total)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _broken(path.name, f"it is not a whole Parquet file ({str(error).splitlines()[0]})") from error


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


def read_folder(
    folder: Path, source: FolderSource, files: list[Path], types: dict[str, pa.DataType]
) -> Batches:
    """A folder of text files: one row each, with `file`, the columns of `name_pattern`, and `text`."""
    numbers = NumericColumns()

    def rows() -> Iterator[tuple[dict[str, Any], int]]:
        done = 0
        for path, columns in zip(files, name_columns(source, files), strict=True):
            check_utf8(path)
            for text, size in _whole_file(path):
                done += size
                yield {"file": path.relative_to(folder).as_posix(), **columns, "text": text}, done

    for batch, done in _batched(rows()):
        numbers.see(batch.drop_columns(["file", "text"]))
        yield batch, done
    types.update(numbers.types())


class NumericColumns:
    """Watches columns of strings go by and tells which of them hold nothing but numbers."""

    def __init__(self) -> None:
        self._patterns: dict[str, list[tuple[pa.DataType, str]]] = {}
        self._filled: set[str] = set()

    def see(self, batch: pa.RecordBatch) -> None:
        """Look at one batch."""
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            left = self._patterns.setdefault(name, [(pa.int64(), _INTEGER), (pa.float64(), _NUMBER)])
            filled = (
                array.filter(pc.and_kleene(pc.is_valid(array), pc.not_equal(array, ""))) if left else array
            )
            if left and len(filled):
                self._filled.add(name)
                left[:] = [p for p in left if pc.all(pc.match_substring_regex(filled, p[1])).as_py()]

    def types(self) -> dict[str, pa.DataType]:
        """The numeric type of each column that has one."""
        return {name: left[0][0] for name, left in self._patterns.items() if left and name in self._filled}


def _batched(rows: Iterable[tuple[dict[str, Any], int]]) -> Batches:
    held: list[dict[str, Any]] = []
    start = done = 0
    for row, done in rows:
        held.append(row)
        if len(held) >= BATCH_ROWS or done - start >= BATCH_BYTES:
            yield to_batch(held), done
            held, start = [], done
    if held:
        yield to_batch(held), done


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


def _broken(name: str, what: str) -> StudioError:
    return StudioError(
        "broken_file", f"{name} cannot be read: {what}.", hint="Correct the file, then add it again."
    )
