"""Where the bytes of a source come from: files here or ranges of files on the hub, plain or packed (gz, zst, zip)."""

from __future__ import annotations

import codecs
import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from mistudio.datasets.formats import PACKED, format_of, is_packed, unpacked_name
from mistudio.datasets.schemas import FileFormat
from mistudio.errors import StudioError

BOMB_RATIO = 250
BOMB_BYTES = 64 << 20
"""A packed file that has unpacked to this much and to `BOMB_RATIO` times its own size is no text of anybody's."""

Batches = Generator[tuple[pa.RecordBatch, int], None, None]
"""Batches of rows, each with the bytes of the stored file read so far."""

_BUFFER = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A file as it lies somewhere: its name, its size in bytes, and how to open it (seekable, raw)."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Unpacking:
    """How much packed files may unpack to, in bytes, and where what must be seekable is unpacked to."""

    max_bytes: int
    scratch: Path | None = None


@dataclass(frozen=True)
class Opened:
    """Unpacked bytes, and how many bytes of the stored file they took so far."""

    file: BinaryIO
    position: Callable[[], int]


@dataclass(frozen=True)
class Entry:
    """One readable file: a stored file itself, or a member of an archive."""

    name: str
    stored: Stored
    member: zipfile.ZipInfo | None
    unpacking: Unpacking
    archive: zipfile.ZipFile | None = None

    @contextmanager
    def open(self, *, seekable: bool = False) -> Generator[Opened]:
        """Open it from its beginning. Raises StudioError `broken_file`, `unpacks_too_large`, here or on reading."""
        with self._raw() as raw:
            if not is_packed(self.stored.name):
                yield Opened(raw, raw.tell)
                return
            stream = io.BufferedReader(_Unpacked(self, raw), _BUFFER)
            if not seekable:
                yield Opened(cast(BinaryIO, stream), raw.tell)
                return
            with tempfile.TemporaryFile(dir=self.unpacking.scratch) as whole:
                while block := stream.read(_BUFFER):
                    whole.write(block)
                whole.seek(0)
                yield Opened(cast(BinaryIO, whole), raw.tell)

    @contextmanager
    def _raw(self) -> Generator[BinaryIO]:
        if self.archive is not None and self.archive.fp is not None:
            yield cast(BinaryIO, self.archive.fp)  # shared by all members: its list is read only once
            return
        with self.stored.open() as raw:
            yield raw


def stored_file(path: Path) -> Stored:
    """A file of this machine."""
    return Stored(path.name, path.stat().st_size, lambda: path.open("rb"))


def entries(stored: Stored, wanted: FileFormat | None, unpacking: Unpacking) -> Iterator[Entry]:
    """What is to be read of a stored file: itself, or the members of a zip that have the format.

    `wanted` is the format; None takes that of the first member which has one. Raises StudioError `broken_file`,
    `archive_empty`.
    """
    if not stored.name.lower().endswith(".zip"):
        yield Entry(unpacked_name(stored.name), stored, None, unpacking)
        return
    with stored.open() as raw:
        with _translated(stored.name):
            archive = zipfile.ZipFile(raw)
        members = [info for info in archive.infolist() if not info.is_dir()]
        total = sum(info.file_size for info in members)
        if total > unpacking.max_bytes:
            raise _too_large(stored.name, unpacking.max_bytes)
        if _is_bomb(total, stored.size):
            raise _bomb(stored.name)
        found = False
        # In the order in which they lie there, so that the reading goes forward.
        for info in sorted(members, key=lambda info: info.header_offset):
            name = PurePosixPath(info.filename.replace("\\", "/"))
            if any(part.startswith((".", "__MACOSX")) for part in name.parts) or is_packed(name.name):
                continue
            kind = format_of(name.name)
            if kind is None or (wanted is not None and kind != wanted):
                continue
            wanted, found = wanted or kind, True
            yield Entry(name.as_posix(), stored, info, unpacking, archive)
        if not found:
            raise StudioError(
                "archive_empty",
                f"{stored.name} holds no file of {wanted or 'text, JSONL, CSV or Parquet'}.",
                hint="Files in an archive are told by their endings: .txt, .jsonl, .csv, .parquet.",
            )


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of an entry, counted: what grows beyond all measure is refused while it is read."""

    def __init__(self, entry: Entry, raw: BinaryIO) -> None:
        self._entry, self._raw, self._total = entry, raw, 0
        with _translated(entry.stored.name):
            self._inner = _unpacker(entry, raw)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`."""
        with _translated(self._entry.stored.name):
            data: bytes = self._inner.read(len(buffer))
        self._total += len(data)
        if self._total > self._entry.unpacking.max_bytes:
            raise _too_large(self._entry.stored.name, self._entry.unpacking.max_bytes)
        if _is_bomb(self._total, self._entry.stored.size):
            raise _bomb(self._entry.stored.name)
        buffer[: len(data)] = data
        return len(data)


def _unpacker(entry: Entry, raw: BinaryIO) -> Any:
    if entry.member is not None and entry.archive is not None:
        return entry.archive.open(entry.member)
    if PACKED[Path(entry.stored.name).suffix.lower()] == "gzip":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    return pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")


@contextmanager
def _translated(name: str) -> Generator[None]:
    """What unpackers raise about bytes that are not what they seem, as one sentence."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, pa.ArrowInvalid) as error:
        raise _torn(name, str(error)) from error
    except NotImplementedError as error:
        raise _torn(name, f"{error}") from error
    except RuntimeError as error:  # zipfile says so of a member under a password
        if "password" not in str(error):
            raise
        raise _torn(name, "it is locked with a password") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _torn(name, str(error)) from error


def broken(name: str, what: str) -> StudioError:
    """A file that cannot be read, and what is wrong in it."""
    return StudioError(
        "broken_file", f"{name} cannot be read: {what}.", hint="Correct the file, then add it again."
    )


def _torn(name: str, why: str) -> StudioError:
    shown = (
        why.strip().splitlines()[0][:200].rstrip(".")
        if why.strip()
        else "its bytes are not what they should be"
    )
    return StudioError(
        "broken_file",
        f"{name} cannot be unpacked: {shown}.",
        hint="It may have been cut short on its way: pack or fetch it again.",
    )


def _is_bomb(unpacked: int, packed: int) -> bool:
    return unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * packed


def _bomb(name: str) -> StudioError:
    return StudioError(
        "unpacks_too_large",
        f"{name} unpacks to over {BOMB_RATIO} times its size, as only a trap does.",
        hint="If it is honest, unpack it and add the files themselves.",
        status=413,
    )


def _too_large(name: str, limit: int) -> StudioError:
    return StudioError(
        "unpacks_too_large",
        f"{name} unpacks to more than {limit:,} bytes.",
        hint="Raise max_unpacked_bytes, or add a part of it.",
        status=413,
    )


class Utf8Checked(io.RawIOBase):
    """Passes bytes on as they are, and raises StudioError `not_utf8` at the first that is not UTF-8 text."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._offset, self._line = 0, 1

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with bytes that have been looked at."""
        block = self._file.read(len(buffer))
        pending = bytes(self._decoder.getstate()[0])
        try:
            self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            data = pending + block
            at = self._offset - len(pending) + error.start
            line = self._line + data.count(b"\n", 0, error.start)
            shown = f"byte 0x{data[error.start]:02X} at offset {at:,} (line {line:,})"
            raise _not_utf8(self._name, shown, data if self._offset == 0 else b"") from error
        if (zero := block.find(b"\0")) >= 0:
            line = self._line + block.count(b"\n", 0, zero)
            shown = f"a zero byte at offset {self._offset + zero:,} (line {line:,})"
            raise _not_utf8(self._name, shown, block if self._offset == 0 else b"")
        self._offset += len(block)
        self._line += block.count(b"\n")
        buffer[: len(block)] = block
        return len(block)


def utf8(opened: Opened, name: str) -> io.BufferedReader:
    """The bytes of a text file, checked while they are read."""
    return io.BufferedReader(Utf8Checked(opened.file, name), _BUFFER)


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
