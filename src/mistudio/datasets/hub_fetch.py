"""Bringing a hub data set's bytes here: its files whole, or what its first rows take."""

from __future__ import annotations

from pathlib import Path

from mistudio.datasets.sources import OnHub, Readable, ranged
from mistudio.datasets.streams import Stored
from mistudio.hub.download import fetch_files
from mistudio.hub.ranges import RangedFile
from mistudio.jobs import JobContext

_FIRST_ROWS = "Download the first rows"


def bring_whole(context: JobContext, found: Readable, on_hub: OnHub, waiting: Path) -> None:
    """Download the files of `found` whole into `waiting`; a retry goes on at the byte where this stops.

    Raises StudioError as `fetch_files` does.
    """
    files = on_hub.files
    brought = fetch_files(
        on_hub.repository.origin,
        files,
        waiting,
        lambda stage, done, total: context.progress(done, total, "bytes", stage),
    )
    found.files = [
        Stored(file.name, file.size, lambda path=path: path.open("rb"))
        for file, path in zip(files, brought, strict=True)
    ]
    if all(file.sum for file in files):
        found.about = found.about.model_copy(update={"verified": "files"})


class FirstRows:
    """The first `limit` rows, whose bytes are fetched into `waiting` as they are read; a retry fetches only the rest.

    How many bytes they take is an estimate: by the rows that the card names, then by the rows read so far.
    """

    def __init__(
        self, context: JobContext, found: Readable, on_hub: OnHub, waiting: Path, limit: int
    ) -> None:
        self._context, self._found, self._limit = context, found, limit
        origin = on_hub.repository.origin
        self._files = [RangedFile(origin, file, waiting, self._arrived) for file in on_hub.files]
        self._received = sum(file.received for file in self._files)
        self._source_bytes = found.about.source_bytes
        self._estimate = on_hub.rows and self._source_bytes * limit // max(limit, on_hub.rows)
        found.files = [ranged(file) for file in self._files]
        found.reading.batch_rows, found.reading.frugal = min(found.reading.batch_rows, limit), True
        if self._received:
            context.log(f"{self._received:,} bytes are here from before")
        self._tell()

    def saw(self, rows: int, position: int) -> None:
        """`rows` rows have been read, which end at byte `position` of the files."""
        if rows:
            self._estimate = min(self._source_bytes, position * self._limit // rows)
        self._tell()

    def check(self) -> list[str]:
        """Compare the files that are here whole with their checksums; the names of those that are not.

        Raises StudioError `download_broken`.
        """
        touched = [file for file in self._files if file.received]
        return [file.file.name for file in touched if file.check() == "part"]

    def finish(self) -> None:
        """Note what was fetched and what of it could be checked. Raises StudioError `download_broken`."""
        parts = self.check()
        self._found.about = self._found.about.model_copy(
            update={"verified": "part" if parts else "files", "fetched_bytes": self._received}
        )
        self._context.progress(self._received, self._received, "bytes", _FIRST_ROWS)
        if parts:
            self._context.log(
                f"{self._received:,} of {self._source_bytes:,} bytes were fetched. The hub gives checksums of whole "
                f"files only, so {', '.join(parts[:3])}{' and others' if len(parts) > 3 else ''} could not be compared."
            )

    def _arrived(self, count: int) -> None:
        self._received += count
        self._tell()

    def _tell(self) -> None:
        total = self._estimate and max(self._estimate, self._received)
        self._context.progress(self._received, total, "bytes", _FIRST_ROWS)
