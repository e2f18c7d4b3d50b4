"""CSV files: all of one fast, or the first rows of one without reading on."""

from __future__ import annotations

import csv
import io
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from mistudio.datasets.streams import Batches, Entry, broken, utf8

BLOCK = 32 << 20
"""Documents of many megabytes must fit into a block."""

_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$"

pc: Any = pyarrow.compute  # its functions are made at run time, so type checkers do not see them


def read_csv(entry: Entry, delimiter: str) -> Batches:
    """A CSV file with a header. All columns come as strings. Raises StudioError `not_utf8`, `broken_file`."""
    name = entry.name
    with entry.open() as opened, _text(opened, name) as file:
        names = _header(name, _rows(file, delimiter))
    with entry.open() as opened, utf8(opened, name) as file:
        try:
            reader = pyarrow.csv.open_csv(
                file,
                read_options=pyarrow.csv.ReadOptions(
                    column_names=names, skip_rows_after_names=1, block_size=BLOCK, use_threads=False
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={column: pa.large_string() for column in names}, strings_can_be_null=False
                ),
            )
            with reader:
                for batch in reader:
                    yield batch, opened.position()
        except pa.ArrowInvalid as error:
            raise broken(name, str(error).split("\n")[0].removeprefix("CSV parse error: ")) from error


def first_rows(entry: Entry, delimiter: str, batch_rows: int) -> Batches:
    """As `read_csv`, but nothing is read ahead of the rows that are taken."""
    with entry.open() as opened, _text(opened, entry.name) as file:
        rows = _rows(file, delimiter)
        names = _header(entry.name, rows)
        held: list[list[str]] = []
        try:
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names):
                    raise broken(
                        entry.name,
                        f"line {rows.line_num:,} has {len(row):,} columns and its header {len(names):,}",
                    )
                held.append(row)
                if len(held) >= batch_rows:
                    yield _batch(names, held), opened.position()
                    held = []
        except csv.Error as error:
            raise broken(entry.name, f"line {rows.line_num:,} cannot be read ({error})") from error
        if held:
            yield _batch(names, held), opened.position()


def _text(opened: Any, name: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(utf8(opened, name), encoding="utf-8-sig", newline="")


def _rows(file: io.TextIOWrapper, delimiter: str) -> Any:
    csv.field_size_limit(1 << 30)
    return csv.reader(file, delimiter=delimiter)


def _header(name: str, rows: Any) -> list[str]:
    try:
        names: list[str] = next(rows, [])
    except csv.Error as error:
        raise broken(name, f"its header cannot be read ({error})") from error
    if repeated := [column for column in names if names.count(column) > 1]:
        raise broken(name, f"its header names the column “{repeated[0]}” twice")
    if not names:
        raise broken(name, "it has no header line")
    return names


def _batch(names: list[str], rows: list[list[str]]) -> pa.RecordBatch:
    columns = [pa.array([row[at] for row in rows], pa.large_string()) for at in range(len(names))]
    return pa.RecordBatch.from_arrays(columns, names=names)


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
