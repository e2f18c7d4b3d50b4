"""A file on the hub of which only what is read is fetched, in blocks that are kept for the next attempt.

`<name>.<version>.ranges` has the file's own offsets, with holes where nothing was read; `….ranges.index` has 8 bytes
for each block, its length (0: not here) and its CRC-32, little-endian.
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from mistudio.errors import StudioError
from mistudio.hub.client import Origin
from mistudio.hub.download import (
    HubFile,
    broken,
    digest_for,
    has_expired,
    headers_for,
    locate,
    place,
    short_name,
)
from mistudio.store import disk_errors

BLOCK = 256 << 10
_MOST_AHEAD = 16
_BUFFER = 256 << 10
_ENTRY = struct.Struct("<II")
_RETRIES = 2
_LOCATION_SECONDS = 300.0
"""Where large files are stored is told by signed links, which expire."""


class RangedFile:
    """One file on the hub, read by ranges.

    `folder` keeps what was fetched for another process; without one it goes with this object. `on_arrival(bytes)` is
    called with the bytes that have newly come; what it raises stops the reading. Reading raises StudioError as
    `hub_errors` does, and `download_broken`.
    """

    def __init__(
        self,
        origin: Origin,
        file: HubFile,
        folder: Path | None = None,
        on_arrival: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.file, self._origin, self._on_arrival = file, origin, on_arrival
        self._blocks = -(-file.size // BLOCK)
        self._kept: dict[int, tuple[int, int]] = {}
        self._unchecked: set[int] = set()
        self._data: BinaryIO | None = None
        self._path: Path | None = None
        self._location, self._located_at = "", -float("inf")
        if folder is not None:
            whole = place(origin, file, folder)
            self._path = whole.with_name(f"{whole.name}.{short_name(file, origin)}.ranges")
            self._recall()

    @property
    def received(self) -> int:
        """Bytes of the file that are here."""
        return sum(length for length, _ in self._kept.values())

    def open(self) -> BinaryIO:
        """The file from its beginning; closing it keeps what was fetched."""
        return cast(BinaryIO, io.BufferedReader(_Reader(self), _BUFFER))

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`, fetched where they are not here yet."""
        end = min(offset + size, self.file.size)
        if offset >= end:
            return b""
        last = (end - 1) // BLOCK
        for block in range(offset // BLOCK, last + 1):
            if not self._here(block):
                self._fetch(block, last)
        return os.pread(self._opened().fileno(), end - offset, offset)

    def check(self) -> Literal["whole", "part"]:
        """Compare all of it with its checksum, if all of it is here: then it is `whole`.

        Raises StudioError `download_broken`, after which nothing of it is here.
        """
        if len(self._kept) < self._blocks:
            return "part"
        digest = digest_for(self.file.sum, self.file.size)
        if digest is None:
            return "part"
        for block in range(self._blocks):
            digest.update(self.read(block * BLOCK, BLOCK))
        if digest.hexdigest() != self.file.sum:
            self._forget()
            raise broken(
                self._origin,
                self.file.name,
                "damaged: its checksum is not the one that the hub announced",
            )
        return "whole"

    def close(self) -> None:
        """Close what was opened. One that has a folder opens it again when it is read."""
        if self._data is not None and self._path is not None:
            self._data.close()
            self._data = None

    def _opened(self) -> BinaryIO:
        if self._data is None:
            if self._path is None:
                self._data = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  (it lives as long as this does)
            else:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._data = cast(
                    BinaryIO, os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
                )
        return self._data

    @property
    def _index(self) -> Path | None:
        return self._path and self._path.with_name(f"{self._path.name}.index")

    def _recall(self) -> None:
        if self._index is None or not self._index.is_file():
            return
        entries = self._index.read_bytes()
        entries = entries[: min(len(entries) // _ENTRY.size, self._blocks) * _ENTRY.size]
        for block, (length, crc) in enumerate(_ENTRY.iter_unpack(entries)):
            if length:
                self._kept[block] = length, crc
                self._unchecked.add(block)

    def _forget(self) -> None:
        self._kept.clear()
        self.close()
        for path in (self._index, self._path):
            if path is not None:
                path.unlink(missing_ok=True)

    def _here(self, block: int) -> bool:
        """Whether a block is here. One of an earlier process may have been torn by a power cut, and is looked at."""
        if block not in self._kept:
            return False
        if block in self._unchecked:
            self._unchecked.discard(block)
            data = os.pread(self._opened().fileno(), self.length(block), block * BLOCK)
            if (len(data), zlib.crc32(data)) != self._kept[block]:
                del self._kept[block]
                return False
        return True

    def _fetch(self, first: int, last: int) -> None:
        """Fetch the blocks from `first` to `last` as far as they are missing, and a quarter ahead of a long reading."""
        before = 0
        while before < 4 * _MOST_AHEAD and first - before - 1 in self._kept:
            before += 1
        beyond = max(last + 1, first + 1 + before // 4)
        end = first + 1
        while end < min(beyond, self._blocks) and end not in self._kept:
            end += 1
        incoming = _Incoming(self, first, end)
        with self._origin.errors():
            self._ask(incoming)

    def _ask(self, incoming: _Incoming) -> None:
        """Ask for what is still to come, and again after a break, as long as something comes."""
        from huggingface_hub import constants
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

        transport: Any = HfHubHTTPError.__mro__[1]
        in_vain = 0
        while not incoming.whole:
            before, asked = incoming.at, time.monotonic()
            try:
                if time.monotonic() - self._located_at > _LOCATION_SECONDS:
                    self._location, _ = locate(self._origin, self.file)
                    self._located_at = time.monotonic()
                headers = headers_for(self._origin, self.file, self._location)
                headers["Range"] = f"bytes={incoming.at}-{incoming.end - 1}"
                with http_stream_backoff(
                    "GET",
                    self._location,
                    headers=headers,
                    timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                    max_retries=_RETRIES,
                    max_wait_time=2,
                    retry_on_exceptions=(),
                ) as response:
                    hf_raise_for_status(response)
                    if response.status_code != 206:
                        raise self._deaf()
                    for chunk in response.iter_bytes(chunk_size=constants.DOWNLOAD_CHUNK_SIZE):
                        incoming.write(chunk)
            except transport as error:
                expired = self._located_at < asked and has_expired(
                    error, self._origin, self.file, self._location
                )
                if in_vain >= _RETRIES or (isinstance(error, HfHubHTTPError) and not expired):
                    raise
                self._located_at = -float("inf")
            else:
                if incoming.at == before:
                    raise broken(self._origin, self.file.name, "shorter than the hub announced")
            in_vain = 0 if incoming.at > before else in_vain + 1

    def keep(self, block: int, data: bytes) -> None:
        """Write a block that has arrived."""
        file = self._opened()
        entry = len(data), zlib.crc32(data)
        with disk_errors(self._path or "a temporary file"):
            os.pwrite(file.fileno(), data, block * BLOCK)
            if self._index is not None:
                index = os.open(self._index, os.O_WRONLY | os.O_CREAT, 0o666)
                try:
                    os.pwrite(index, _ENTRY.pack(*entry), block * _ENTRY.size)
                finally:
                    os.close(index)
        self._kept[block] = entry

    def arrived(self, count: int) -> None:
        """Tell of bytes that have come."""
        self._on_arrival(count)

    def length(self, block: int) -> int:
        """Bytes of a block."""
        return min(BLOCK, self.file.size - block * BLOCK)

    def _deaf(self) -> StudioError:
        return StudioError(
            "hub_no_ranges",
            f"The hub, or a proxy on the way, sent all of {self.file.name} instead of the part that was asked for.",
            hint="Add it without a limit of rows: then its files are fetched whole.",
            status=502,
        )


class _Incoming:
    """Where an answer's bytes go: block by block into the file, so that a break loses less than one."""

    def __init__(self, ranged: RangedFile, first: int, end: int) -> None:
        self._ranged, self._block, self._end = ranged, first, end
        self._held = bytearray()
        self.end = min(end * BLOCK, ranged.file.size)

    @property
    def at(self) -> int:
        """The file's offset of the next byte."""
        return self._block * BLOCK + len(self._held)

    @property
    def whole(self) -> bool:
        """Whether all has come."""
        return self._block == self._end

    def write(self, chunk: bytes) -> None:
        """Take bytes in."""
        chunk = chunk[: self.end - self.at]
        self._held += chunk
        self._ranged.arrived(len(chunk))
        while not self.whole and len(self._held) >= self._ranged.length(self._block):
            length = self._ranged.length(self._block)
            self._ranged.keep(self._block, bytes(self._held[:length]))
            del self._held[:length]
            self._block += 1


class _Reader(io.RawIOBase):
    """A reading place in a ranged file."""

    def __init__(self, ranged: RangedFile) -> None:
        self._ranged, self._at = ranged, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`."""
        data = self._ranged.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ranged.file.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """The present place."""
        return self._at

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            self._ranged.close()
        super().close()
