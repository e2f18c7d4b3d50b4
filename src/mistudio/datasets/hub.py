"""Data sets on the Hugging Face hub: what a repository holds and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mistudio.datasets.hub_layout import (
    Layout,
    card_metadata,
    card_text,
    default_configuration,
    layout,
    rows_by_card,
)
from mistudio.datasets.schemas import AboutOut, ConfigurationOut, SplitOut
from mistudio.errors import StudioError
from mistudio.hub.client import Origin, hub_errors
from mistudio.hub.download import HubFile, listed_files
from mistudio.hub.ranges import RangedFile

MAX_CARD = 200_000


@dataclass(frozen=True)
class Repository:
    """A data set's repository at one commit, its files by path."""

    origin: Origin
    gated: bool
    files: Mapping[str, HubFile]
    card: str
    metadata: Mapping[str, Any]
    layout: Layout

    def about(self, chosen: list[str]) -> AboutOut:
        """What it says of itself, when the files `chosen` are what rows are read from."""
        rows = rows_by_card(self.metadata)
        license, languages = self.metadata.get("license"), self.metadata.get("language")
        return AboutOut(
            files=len(chosen),
            source_bytes=sum(self.files[path].size for path in chosen),
            commit=self.origin.commit,
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
                            bytes=sum(self.files[path].size for path in paths),
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
            script = f"{self.origin.repo.rpartition('/')[2]}.py" in self.files
            raise StudioError(
                "hub_no_data",
                f"The data set {self.origin.repo} holds no files that can be read as rows.",
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
                    f"The data set {self.origin.repo} has several configurations.",
                    hint=f"Choose one of {names}.",
                    fields={"source.config": "choose one"},
                )
        if config not in self.layout:
            if not first:
                raise StudioError(
                    "hub_config_not_found",
                    f"The data set {self.origin.repo} has no configuration “{config}”.",
                    hint=f"It has {names}.",
                    fields={"source.config": "not there"},
                )
            config = next(iter(self.layout))
        splits = self.layout[config]
        if split not in splits:
            if not first:
                raise StudioError(
                    "hub_split_not_found",
                    f"The data set {self.origin.repo} has no split “{split}”.",
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
        if info.gated:
            # The listing of a gated repository is open to all, its files are not: better said now than later.
            api.auth_check(repo, repo_type="dataset")
    origin, files = Origin("dataset", repo, str(info.sha), revision, token), listed_files(info)
    card = ""
    if "README.md" in files:
        card = RangedFile(origin, files["README.md"]).read(0, MAX_CARD).decode("utf-8", "replace")
    metadata = card_metadata(card)
    return Repository(
        origin=origin,
        gated=bool(info.gated),
        files=files,
        card=card_text(card),
        metadata=metadata,
        layout=layout(files, metadata),
    )
