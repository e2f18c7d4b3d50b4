"""Models on the Hugging Face hub (or a mirror: HF_ENDPOINT), by the real huggingface_hub client."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

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

    license: as its card names it. gguf_parameters: what the hub read in a GGUF file's head, where it did.
    """

    repo_id: str
    commit: str
    gated: bool
    files: dict[str, int]
    gguf: str | None
    needed: tuple[str, ...]
    license: str | None = None
    gguf_parameters: int | None = None

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

    Raises ModelLoadError: `not_found`, `revision_not_found`, `gated`, `hub_unreachable`, `rate_limited`,
    `hub_refused`; `no_weights`, `no_config`, `pickle_weights` for what it holds.
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
    )


def _license(info: Any) -> str | None:
    """The license that a repository's card names, or its tags where the card says nothing."""
    named = getattr(info.card_data, "license", None) if info.card_data else None
    tagged = next(
        (tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")), None
    )
    return str(named) if isinstance(named, str) else tagged


def hub_snapshot(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    gguf_file: str | None = None,
    folder: Path | None = None,
    on_bytes: Callable[[int, int], None] | None = None,
    listing: HubListing | None = None,
) -> Path:
    """Download the files that loading needs (those of `listing`, if one is given); returns the folder that holds them.

    They go to `folder`, or to huggingface_hub's own cache. Without a network a complete earlier download in
    that cache is used. `on_bytes(done, total)` is called as bytes arrive; what it raises stops the download,
    and the next call resumes the file it stopped in. Raises ModelLoadError as `hub_listing` does.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        listing = listing or hub_listing(repo_id, revision=revision, token=token, gguf_file=gguf_file)
    except ModelLoadError as error:
        if error.code != "hub_unreachable" or folder is not None:
            raise
        kept = try_to_load_from_cache(repo_id, gguf_file or "config.json", revision=revision)
        if not isinstance(kept, str):
            raise
        return Path(kept).parent
    done, place = 0, Path()
    # The first file is asked for by the revision's name, so that the cache can find its commit offline later.
    commits = chain([revision], repeat(listing.commit))
    for name, commit in zip(listing.needed, commits, strict=False):
        bar = _counting(on_bytes, done, listing.needed_bytes) if on_bytes else None
        with hub_errors(repo_id, revision):
            place = Path(
                hf_hub_download(repo_id, name, revision=commit, token=token, local_dir=folder, tqdm_class=bar)
            ).parent
        done += listing.files[name]
        if on_bytes:
            on_bytes(done, listing.needed_bytes)
    return place


def _counting(on_bytes: Callable[[int, int], None], done: int, total: int) -> Any:
    """A progress bar class that shows nothing and reports bytes instead."""
    from huggingface_hub.utils import tqdm

    class Counting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})
            self.counted = int(kwargs.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.counted += int(n or 0)
            on_bytes(done + self.counted, total)
            return None

    return Counting


@contextmanager
def hub_errors(repo_id: str, revision: str | None) -> Generator[None]:
    """Turns the hub client's exceptions into ModelLoadErrors."""
    from huggingface_hub import errors

    # huggingface_hub has changed its HTTP library between versions; its own HTTP error tells which it uses.
    transport: Any = errors.HfHubHTTPError.__mro__[1]
    try:
        yield
    except errors.GatedRepoError:
        raise ModelLoadError(
            "gated",
            f"The model {repo_id} is gated: its authors ask for consent before anyone downloads it.",
            "Accept the terms on its hub page and give an access token of that account.",
        ) from None
    except errors.RevisionNotFoundError:
        raise ModelLoadError(
            "revision_not_found",
            f"The model {repo_id} has no revision '{revision}'.",
            "Give a branch, tag or commit that it has; leave it out for the newest.",
        ) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise ModelLoadError(
            "not_found",
            f"No model '{repo_id}' was found on the hub, and there is no such folder here.",
            "Check the id (like 'organisation/name'); a private model needs an access token.",
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status == 429:
            wait = error.response.headers.get("Retry-After")
            raise ModelLoadError(
                "rate_limited",
                f"The hub asks to slow down while fetching {repo_id}.",
                f"Try again in {wait} seconds." if wait else "Try again in a few minutes.",
            ) from None
        if status >= 500:
            raise _unreachable(repo_id, f"it answered {status}") from None
        raise ModelLoadError(
            "hub_refused",
            f"The hub refused to give {repo_id}: it answered {status}.",
            "Check the access token and its rights." if status in (401, 403) else "",
        ) from None
    except (
        errors.OfflineModeIsEnabled,
        errors.LocalEntryNotFoundError,
        transport,
        ConnectionError,
        TimeoutError,
    ) as e:
        raise _unreachable(repo_id, type(e.__cause__ or e).__name__) from None
    except errors.EntryNotFoundError as error:
        raise ModelLoadError(
            "no_weights",
            f"A file of {repo_id} is not on the hub: {error}.",
            "Try again, or another revision.",
        ) from None
    except errors.FileMetadataError as error:
        raise _unreachable(repo_id, str(error)) from None


def _unreachable(repo_id: str, why: str) -> ModelLoadError:
    return ModelLoadError(
        "hub_unreachable",
        f"The hub could not be reached for {repo_id} ({why}).",
        "Check the network, HF_ENDPOINT and HF_HUB_OFFLINE, or load the model from a local folder.",
    )
