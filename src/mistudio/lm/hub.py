"""Models on the Hugging Face hub (or a mirror: HF_ENDPOINT), by the real huggingface_hub client."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from mistudio.hub_answers import hub_fault, listed_sum
from mistudio.lm.checkpoint import INDEX, PICKLED, TOKENIZER_FILES, only_gguf, weight_files
from mistudio.lm.errors import ModelLoadError

_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    INDEX,
    *TOKENIZER_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
PICKLE_INDEX = "pytorch_model.bin.index.json"
_LISTING_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class HubListing:
    """A model repository at one commit: its files with their sizes in bytes, and those that loading needs.

    sums: each file's SHA-256, or git's SHA-1 of a small one, where the hub gives it. license: as its card names it.
    gguf_parameters: what the hub read in a GGUF file's head, where it did.
    """

    repo_id: str
    commit: str
    gated: bool
    files: dict[str, int]
    gguf: str | None
    needed: tuple[str, ...]
    license: str | None = None
    gguf_parameters: int | None = None
    sums: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def needed_bytes(self) -> int:
        return sum(self.files[name] for name in self.needed)


def hub_listing(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    gguf_file: str | None = None,
    timeout: float = _LISTING_TIMEOUT_S,
    pickles: bool = False,
    code: bool = False,
) -> HubListing:
    """Look at a model repository without downloading it; `timeout` is in seconds.

    `pickles` counts pickled weights as needed where there are no others, `code` the Python files.

    Raises ModelLoadError as `hub_errors` does, and `not_found`, `no_weights`, `no_config`, `pickle_weights` for what it
    holds.
    """
    from huggingface_hub import HfApi

    with hub_errors(repo_id, revision):
        info = HfApi(token=token).model_info(repo_id, revision=revision, files_metadata=True, timeout=timeout)
    files = {s.rfilename: int(s.size or 0) for s in info.siblings or [] if "/" not in s.rfilename}
    gguf = gguf_file or only_gguf(files, repo_id)
    if gguf is not None:
        if gguf not in files:
            raise ModelLoadError(
                "not_found", f"{repo_id} has no file '{gguf}'.", "Check the name for a misspelling."
            )
        needed = (gguf,)
    else:
        weights = weight_files(files, repo_id, pickles=pickles)
        small = [*_SMALL_FILES, PICKLE_INDEX] if weights[0].endswith(PICKLED) else _SMALL_FILES
        needed = (
            *(name for name in small if name in files),
            *(name for name in files if code and name.endswith(".py")),
            *weights,
        )
        if "config.json" not in files:
            raise ModelLoadError(
                "no_config",
                f"{repo_id} has weights but no config.json.",
                "It may hold an adapter or an SAE: give the language model's own repository.",
            )
    total: Any = (getattr(info, "gguf", None) or {}).get("total") if gguf is not None else None
    return HubListing(
        repo_id=repo_id,
        commit=str(info.sha),
        gated=bool(info.gated),
        files=files,
        gguf=gguf,
        needed=needed,
        license=_license(info),
        gguf_parameters=int(total) if total else None,
        sums={s.rfilename: found for s in info.siblings or [] if (found := listed_sum(s))},
    )


def _license(info: Any) -> str | None:
    """The license that a repository's card names, or its tags where the card says nothing."""
    named = getattr(info.card_data, "license", None) if info.card_data else None
    tagged = next(
        (tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")), None
    )
    return str(named) if isinstance(named, str) else tagged


def hub_snapshot(
    repo_id: str, *, revision: str | None = None, token: str | None = None, gguf_file: str | None = None
) -> Path:
    """Download the files that loading needs to huggingface_hub's own cache; returns the folder that holds them.

    Without a network a complete earlier download is used. Raises ModelLoadError as `hub_listing` does.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        listing = hub_listing(repo_id, revision=revision, token=token, gguf_file=gguf_file)
    except ModelLoadError as error:
        if error.code not in ("hub_unreachable", "hub_offline"):
            raise
        kept = try_to_load_from_cache(repo_id, gguf_file or "config.json", revision=revision)
        if not isinstance(kept, str):
            raise
        return Path(kept).parent
    place = Path()
    # The first file is asked for by the revision's name, so that the cache can find its commit offline later.
    commits = chain([revision], repeat(listing.commit))
    for name, commit in zip(listing.needed, commits, strict=False):
        with hub_errors(repo_id, revision):
            place = Path(hf_hub_download(repo_id, name, revision=commit, token=token)).parent
    return place


@contextmanager
def hub_errors(repo_id: str, revision: str | None) -> Generator[None]:
    """Turns what the hub's client raises into ModelLoadErrors (`mistudio.hub_answers` has their codes)."""
    try:
        yield
    except ModelLoadError:
        raise
    except Exception as error:
        fault = hub_fault(error, repo_id, revision, "model")
        if fault is None:
            raise
        raise ModelLoadError(fault.code, fault.message, fault.hint) from None
