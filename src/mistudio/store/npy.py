"""`.npy` files: streamed out row by row with a running checksum, and mapped back into memory."""

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mistudio.store.checksum import crc32_join
from mistudio.store.errors import TornFile
from mistudio.store.manifest import FileEntry

Array = np.ndarray[Any, np.dtype[Any]]

_HEADER_BYTES = 192
_MAGIC = b"\x93NUMPY\x01\x00"


class NpyWriter:
    """Appends rows to one `.npy` file; the number of rows need not be known before."""

    def __init__(
        self, path: str | os.PathLike[str], dtype: np.dtype[Any], row_shape: tuple[int, ...] = ()
    ) -> None:
        self.path = Path(path)
        self.dtype = np.dtype(dtype)
        self.row_shape = row_shape
        self.rows = 0
        self._bytes = 0
        self._crc = 0
        self._file = self.path.open("wb")
        self._file.write(bytes(_HEADER_BYTES))

    def append(self, rows: Array) -> None:
        """Append `rows` of shape [n, *row_shape] and exactly the writer's dtype."""
        if rows.dtype != self.dtype or rows.shape[1:] != self.row_shape:
            raise ValueError(
                f"{self.path.name} takes rows of {self.dtype} {list(self.row_shape)}, "
                f"not {rows.dtype} {list(rows.shape[1:])}."
            )
        if not rows.size:
            self.rows += len(rows)
            return
        content = np.ascontiguousarray(rows).data.cast("B")
        self._file.write(content)
        self._crc = zlib.crc32(content, self._crc)
        self._bytes += content.nbytes
        self.rows += len(rows)

    def close(self) -> FileEntry:
        """Write the header and close the file; returns its size and checksum."""
        header = _header(self.dtype, (self.rows, *self.row_shape))
        self._file.seek(0)
        self._file.write(header)
        self._file.close()
        return FileEntry(len(header) + self._bytes, crc32_join(zlib.crc32(header), self._crc, self._bytes))

    def discard(self) -> None:
        """Close the file without finishing it; what a full disk refuses to flush is dropped."""
        try:
            self._file.close()
        except OSError:
            self._file.raw.close()


def map_npy(path: str | os.PathLike[str]) -> Array:
    """Map a `.npy` file read-only; only the pages that are touched are read.

    Raises `TornFile` when the file is missing, is no `.npy` file or holds objects.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise TornFile(path, "is missing") from error
    except (ValueError, EOFError) as error:
        raise TornFile(path, f"is not a whole .npy file ({error})") from error
    # A plain array over the same mapping: slicing np.memmap costs several times more.
    return mapped.view(np.ndarray)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    room = _HEADER_BYTES - len(_MAGIC) - 2
    if len(text) >= room:
        raise ValueError(f"The shape {shape} does not fit the header of a .npy file.")
    return _MAGIC + room.to_bytes(2, "little") + text.ljust(room - 1).encode() + b"\n"
