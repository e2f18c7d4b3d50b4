"""An archived metric log: the same points by column, compressed, to the bit.

    "MSMETARC" · parts · directory (JSON) · uint32 length of the directory · "MSMETEND"

Every column is cut into chunks of 65,536 points, each a part: its 64-bit words, as differences to the word before
(counters) or as exclusive-or with it (floats, so that NaN payloads and signs of zero stay), their bytes gathered by
significance, deflated. The last part is the overview's blocks, as they are: curves are drawn from them. The directory
says where each part lies, how long it is, and its CRC-32.
"""

import json
import zlib
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mistudio.store.errors import TornFile
from mistudio.store.metric_records import FIXED, block_dtype
from mistudio.store.npy import Array

_MAGIC, _END = b"MSMETARC", b"MSMETEND"
_CHUNK = 65_536
_LEVEL = 6


def is_archive(path: Path) -> bool:
    """Whether this is an archived log; False when there is no file."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (FileNotFoundError, NotADirectoryError):
        return False


def archive_bytes(points: Mapping[str, Array], overview: Array) -> Generator[bytes, None, None]:
    """The content of an archive of these points, piece by piece."""
    rows = len(points["step"])
    at = len(_MAGIC)
    parts: dict[str, list[list[int]]] = {name: [] for name in points}
    yield _MAGIC
    for name, values in points.items():
        for start in range(0, rows, _CHUNK):
            content = _pack(values[start : start + _CHUNK], counter=FIXED.get(name) == "<i8")
            parts[name].append([at, len(content), zlib.crc32(content)])
            at += len(content)
            yield content
    content = overview.tobytes()
    place = [at, len(content), zlib.crc32(content)]
    yield content
    directory = {"version": 1, "rows": rows, "columns": parts, "overview": [*place, len(overview)]}
    text = json.dumps(directory).encode()
    yield text + len(text).to_bytes(4, "little") + _END


def read_archive(
    path: Path, start: int = 0, stop: int | None = None, names: Sequence[str] | None = None
) -> dict[str, Array]:
    """Columns of an archive from point `start` up to `stop`. Raises `TornFile` when it is damaged."""
    directory = read_directory(path)
    rows: int = directory["rows"]
    stop = rows if stop is None else min(stop, rows)
    start = min(start, stop)
    found: dict[str, Array] = {}
    with path.open("rb") as file:
        for name, places in directory["columns"].items():
            if names is not None and name not in names:
                continue
            kind = FIXED.get(name, "<f8")
            pieces = [np.zeros(0, kind)]
            for chunk in range(start // _CHUNK, -(-stop // _CHUNK)):
                first = chunk * _CHUNK
                count = min(_CHUNK, rows - first)
                words = _unpack(_part(file, path, places[chunk]), count, counter=kind == "<i8")
                pieces.append(words.view(kind)[max(start - first, 0) : stop - first])
            found[name] = np.concatenate(pieces)
    return found


def read_directory(path: Path) -> dict[str, Any]:
    """Where the parts of an archive lie. Raises `TornFile`."""
    tail = 4 + len(_END)
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - tail, 0))
        end = file.read(tail)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != _END or length + tail + len(_MAGIC) > size:
            raise TornFile(path, "is torn: its end is missing")
        file.seek(size - tail - length)
        try:
            return json.loads(file.read(length))
        except ValueError as error:
            raise TornFile(path, "has changed since it was written: its directory is damaged") from error


def read_archive_overview(path: Path, directory: Mapping[str, Any]) -> Array:
    """The blocks of an archive's overview."""
    *place, count = directory["overview"]
    dtype = block_dtype(len(directory["columns"]) - len(FIXED))
    with path.open("rb") as file:
        return np.frombuffer(_part(file, path, place), dtype, count)


def _part(file: Any, path: Path, place: Sequence[int]) -> bytes:
    at, length, crc = place
    file.seek(at)
    content = file.read(length)
    if len(content) != length or zlib.crc32(content) != crc:
        raise TornFile(path, "has changed since it was written: a part of it is damaged")
    return content


def _pack(values: Array, counter: bool) -> bytes:
    words = np.ascontiguousarray(values).view("<u8")
    changes = words.copy()
    if counter:
        changes[1:] -= words[:-1]
    else:
        changes[1:] ^= words[:-1]
    planes = np.ascontiguousarray(changes.view("u1").reshape(-1, 8).T)
    return zlib.compress(planes.tobytes(), _LEVEL)


def _unpack(content: bytes, count: int, counter: bool) -> Array:
    planes = np.frombuffer(zlib.decompress(content), "u1").reshape(8, count)
    changes = np.ascontiguousarray(planes.T).view("<u8").reshape(count)
    accumulate = np.add.accumulate if counter else np.bitwise_xor.accumulate
    return accumulate(changes, dtype="<u8")
