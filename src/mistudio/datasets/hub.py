"""Data sets on the Hugging Face hub: what a repository holds, its files read by ranges or brought here whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from mistudio.datasets.hub_layout import (
    Layout,
    card_metadata,
    card_text,
    default_configuration,
    layout,
    rows_by_card,
)
from mistudio.datasets.schemas import AboutOut, ConfigurationOut, SplitOut
from mistudio.datasets.streams import Stored
from mistudio.errors import StudioError
from mistudio.hub.client import hub_errors, lose_patience
from mistudio.hub.download import fetch_file

MAX_CARD = 200_000
_RANGE = 1 << 20
_BUFFER = 256 << 10


@dataclass(frozen=True)
class Repository:
    """A data set's repository at one commit. `files` maps paths to sizes in bytes."""

    repo: str
    revision: str
    commit: str
    gated: bool
    files: Mapping[str, int]
    card: str
    metadata: Mapping[str, Any]
    layout: Layout

    def about(self, chosen: list[str]) -> AboutOut:
        """What it says of itself, when the files `chosen` are what rows are read from."""
        rows = rows_by_card(self.metadata)
        license, languages = self.metadata.get("license"), self.metadata.get("language")
        return AboutOut(
            files=len(chosen),
            source_bytes=sum(self.files[path] for path in chosen),
            commit=self.commit,
            license=", ".join(map(str, license)) if isinstance(license, list) else license and str(license),
            gated=self.gated,
            languages=[
                str(one) for one in (languages if isinstance(languages, list) else [languages]) if one
            ],
            configurations=[
                ConfigurationOut(
                    name=config,
                    splits=[
                        SplitOut(
                            name=split,
                            files=len(paths),
                            bytes=sum(self.files[path] for path in paths),
                            rows=rows.get((config, split)),
                        )
                        for split, paths in splits.items()
                    ],
                )
                for config, splits in self.layout.items()
            ],
        )

    def choose(self, config: str | None, split: str, *, first: bool = False) -> tuple[str, str, list[str]]:
        """(configuration, split, its files). `first`: where the choice is open or wrong, the first one there is.

        Raises StudioError `hub_no_data`, `hub_config_not_found`, `hub_split_not_found`.
        """
        if not self.layout:
            script = f"{self.repo.rpartition('/')[2]}.py" in self.files
            raise StudioError(
                "hub_no_data",
                f"The data set {self.repo} holds no files that can be read as rows.",
                hint="It is a loading script, and code from the hub is never run: try the revision "
                "refs/convert/parquet."
                if script
                else "It needs Parquet, JSONL, CSV or text files.",
            )
        names = ", ".join(self.layout)
        if config is None:
            config = default_configuration(self.layout, self.metadata)
            if config is None and not first:
                raise StudioError(
                    "hub_config_not_found",
                    f"The data set {self.repo} has several configurations.",
                    hint=f"Choose one of {names}.",
                    fields={"source.config": "choose one"},
                )
        if config not in self.layout:
            if not first:
                raise StudioError(
                    "hub_config_not_found",
                    f"The data set {self.repo} has no configuration “{config}”.",
                    hint=f"It has {names}.",
                    fields={"source.config": "not there"},
                )
            config = next(iter(self.layout))
        splits = self.layout[config]
        if split not in splits:
            if not first:
                raise StudioError(
                    "hub_split_not_found",
                    f"The data set {self.repo} has no split “{split}”.",
                    hint=f"It has {', '.join(splits)}.",
                    fields={"source.split": "not there"},
                )
            split = next(iter(splits))
        return config, split, splits[split]


def look_at(repo: str, revision: str, *, token: str | None, patience: float) -> Repository:
    """List a repository and read its card; `patience` is in seconds. Raises StudioError as `hub_errors` does."""
    from huggingface_hub import HfApi

    with hub_errors(repo, revision):
        api = HfApi(token=token)
        info = api.dataset_info(repo, revision=revision, files_metadata=True, timeout=patience)
        commit = str(info.sha)
        files = {sibling.rfilename: int(sibling.size or 0) for sibling in info.siblings or []}
        if info.gated:
            # The listing of a gated repository is open to all, its files are not: better said now than later.
            api.auth_check(repo, repo_type="dataset")
        card = ""
        if "README.md" in files:
            with open_range(repo, "README.md", commit, token=token, block=MAX_CARD) as file:
                card = file.read(min(MAX_CARD, files["README.md"])).decode("utf-8", "replace")
    metadata = card_metadata(card)
    return Repository(
        repo=repo,
        revision=revision,
        commit=commit,
        gated=bool(info.gated),
        files=files,
        card=card_text(card),
        metadata=metadata,
        layout=layout(files, metadata),
    )


def open_range(repo: str, path: str, commit: str, *, token: str | None, block: int = _RANGE) -> BinaryIO:
    """A file on the hub, of which only the ranges that are read get fetched, at least `block` bytes at a time."""
    from huggingface_hub import HfFileSystem

    lose_patience()
    files: Any = HfFileSystem(token=token, skip_instance_cache=True, use_listings_cache=True)
    return cast(
        BinaryIO,
        files.open(
            f"datasets/{repo}/{path}", "rb", revision=commit, block_size=block, cache_type="readahead"
        ),
    )


def remote_file(found: Repository, path: str, *, token: str | None) -> Stored:
    """A file that stays on the hub: what is read of it is fetched, and no more."""

    def open_it() -> BinaryIO:
        with hub_errors(found.repo, found.revision):
            inner = open_range(found.repo, path, found.commit, token=token)
        return cast(BinaryIO, io.BufferedReader(_Ranges(inner, found, path), _BUFFER))

    return Stored(path, found.files[path], open_it)


class _Ranges(io.RawIOBase):
    """A file on the hub as a plain one, its errors in our words."""

    def __init__(self, inner: BinaryIO, found: Repository, path: str) -> None:
        self._inner, self._found, self._path = inner, found, path

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`."""
        with hub_errors(self._found.repo, self._found.revision):
            data = self._inner.read(len(buffer))
        if not data and len(buffer) and self._inner.tell() < self._found.files[self._path]:
            raise StudioError(
                "download_broken",
                f"{self._path} of {self._found.repo} ended before the size that the hub announced.",
                hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
            )
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place in the file."""
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        """The present place."""
        return self._inner.tell()

    def close(self) -> None:
        """Close it."""
        self._inner.close()
        super().close()


def bring_files(
    found: Repository,
    paths: list[str],
    folder: Path,
    *,
    token: str | None,
    on_bytes: Callable[[int, int], None],
) -> list[Path]:
    """Download these files whole into `folder`, going on where an earlier attempt stopped.

    `on_bytes(done, total)` counts the bytes of all files. Raises StudioError as `hub_errors` and `fetch_file` do.
    """
    total = sum(found.files[path] for path in paths)
    done = 0
    brought: list[Path] = []
    for path in paths:
        before = done
        with hub_errors(found.repo, found.revision):
            brought.append(
                fetch_file(
                    found.repo,
                    path,
                    commit=found.commit,
                    repo_type="dataset",
                    token=token,
                    folder=folder,
                    on_bytes=lambda here, before=before: on_bytes(min(before + here, total), total),
                )
            )
        done += found.files[path]
    on_bytes(total, total)
    return brought
