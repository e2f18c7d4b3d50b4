"""A source made readable: which files it is, and how they are read. The same for a preview and for an import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistudio.datasets.formats import format_of
from mistudio.datasets.hub import Repository, look_at
from mistudio.datasets.hub_layout import rows_by_card
from mistudio.datasets.readers import Reading, folder_files, name_columns
from mistudio.datasets.schemas import (
    AboutOut,
    CsvSource,
    DatasetSource,
    FileFormat,
    FolderSource,
    HubSource,
    TextSource,
)
from mistudio.datasets.streams import Stored, Unpacking, entries, stored_file
from mistudio.errors import StudioError
from mistudio.hub.client import prepare_hub
from mistudio.hub.download import HubFile
from mistudio.hub.ranges import RangedFile
from mistudio.settings import Settings


@dataclass(frozen=True)
class OnHub:
    """The part of a repository that a source means: a configuration's split, and its files' paths."""

    repository: Repository
    config: str
    split: str
    paths: list[str]

    @property
    def files(self) -> list[HubFile]:
        """The files."""
        return [self.repository.files[path] for path in self.paths]

    @property
    def rows(self) -> int | None:
        """How many rows it has, where the card says."""
        return rows_by_card(self.repository.metadata).get((self.config, self.split))


@dataclass
class Readable:
    """The files of a source, still unread. Those on the hub are read by ranges."""

    files: list[Stored]
    reading: Reading
    about: AboutOut
    unpacking: Unpacking
    on_hub: OnHub | None = None


def open_source(
    settings: Settings,
    source: DatasetSource,
    path: Path | None,
    *,
    first: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Readable:
    """Make a source readable; `path` is where a file or folder lies. Nothing but listings is fetched from the hub.

    `first`: where a hub data set's configuration or split is open, take the first. Raises StudioError for what is not
    there, and as `look_at` does.
    """
    unpacking = Unpacking(settings.max_unpacked_bytes, settings.data_dir)
    if isinstance(source, HubSource):
        return _hub(settings, source, unpacking, first=first, log=log)
    assert path is not None
    if not path.exists():
        uploaded = getattr(source, "uploaded", False)
        raise StudioError(
            "path_not_found",
            f"There is nothing at “{source.path}” any more.",
            hint="Upload the file again." if uploaded else "Put it back, then retry.",
        )
    if isinstance(source, FolderSource):
        found = folder_files(path, source)
        files = [
            Stored(file.relative_to(path).as_posix(), file.stat().st_size, _opener(file)) for file in found
        ]
        columns = dict(zip((file.name for file in files), name_columns(source, found), strict=True))
        reading = Reading(
            format=source.format, documents=source.documents, file_column=True, columns=columns, log=log
        )
    else:
        files = [stored_file(path)]
        reading = Reading(
            format=source.kind,
            documents=source.documents if isinstance(source, TextSource) else "paragraph",
            delimiter=source.delimiter if isinstance(source, CsvSource) else None,
            log=log,
        )
    about = AboutOut(files=len(files), source_bytes=sum(file.size for file in files))
    return Readable(files, reading, about, unpacking)


def _hub(
    settings: Settings, source: HubSource, unpacking: Unpacking, *, first: bool, log: Callable[[str], None]
) -> Readable:
    token = prepare_hub(settings)
    found = look_at(
        source.repo, source.revision, token=token, patience=max(1.0, settings.hub_timeout_seconds)
    )
    log(f"{source.repo} is at commit {found.origin.commit}")
    config, split, paths = found.choose(source.config, source.split, first=first)
    on_hub = OnHub(found, config, split, paths)
    return Readable(
        files=[ranged(RangedFile(found.origin, file)) for file in on_hub.files],
        reading=Reading(documents=source.documents, log=log),
        about=found.about(paths),
        unpacking=unpacking,
        on_hub=on_hub,
    )


def ranged(file: RangedFile) -> Stored:
    """A file that stays on the hub, of which what is read is fetched and no more."""
    return Stored(file.file.name, file.file.size, file.open)


def _opener(file: Path) -> Callable[[], Any]:
    return lambda: file.open("rb")


def archive_format(settings: Settings, path: Path) -> FileFormat | None:
    """The format of the files in a zip; None for what is no zip. Raises StudioError `archive_empty`, `broken_file`."""
    if not path.name.lower().endswith(".zip"):
        return None
    first = next(iter(entries(stored_file(path), None, Unpacking(settings.max_unpacked_bytes))))
    return format_of(first.name)
