"""Which formats of files can be read, told by the endings of their names."""

from __future__ import annotations

from pathlib import PurePosixPath

from mistudio.datasets.schemas import FileFormat

FORMATS: dict[str, FileFormat] = {
    ".txt": "text",
    ".md": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
PACKED = {".gz": "gzip", ".zst": "zstd", ".zip": "zip"}


def is_packed(name: str) -> bool:
    """Whether a file is packed: `rows.jsonl.gz`, `texts.zip`."""
    return PurePosixPath(name).suffix.lower() in PACKED


def unpacked_name(name: str) -> str:
    """A file's name without the ending that says how it is packed."""
    return name[: -len(PurePosixPath(name).suffix)] if is_packed(name) else name


def format_of(name: str) -> FileFormat | None:
    """The format that a file's name tells; None where it tells none, as `texts.zip` or `song.mp3`."""
    return FORMATS.get(PurePosixPath(unpacked_name(name)).suffix.lower())


def delimiter_of(name: str) -> str:
    """What separates the columns of a CSV file of this name."""
    return "\t" if unpacked_name(name).lower().endswith(".tsv") else ","
