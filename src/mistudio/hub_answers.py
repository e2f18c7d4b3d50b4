"""What the hub's client answers and raises, read in one way wherever it is called. Knows nothing of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FAULT_STATUS = {
    "hub_offline": 503,
    "hub_gated": 403,
    "hub_revision_not_found": 404,
    "hub_not_found": 404,
    "hub_rate_limited": 503,
    "hub_file_gone": 502,
    "hub_refused": 502,
    "download_broken": 502,
    "hub_unreachable": 502,
}
"""Every code of a fault, with the HTTP status that the web answers for it."""


@dataclass(frozen=True)
class HubFault:
    """What went wrong with the hub, for a person: a stable code, one sentence, and what to do."""

    code: str
    message: str
    hint: str = ""


def listed_sum(sibling: Any) -> str | None:
    """The checksum that a listing gives for a file: SHA-256 of a large one, git's name (SHA-1) of a small one."""
    lfs: Any = getattr(sibling, "lfs", None)
    return getattr(lfs, "sha256", None) or getattr(sibling, "blob_id", None)


def hub_fault(error: BaseException, repo: str, revision: str | None, noun: str) -> HubFault | None:
    """What an exception of the hub's client means; None for one that is not of the hub.

    `noun` is what the repository holds, as a person says it: `model`, `data set`.
    """
    from huggingface_hub import errors as hub

    # huggingface_hub has changed its HTTP library between versions; its own HTTP error tells which it uses.
    transport: Any = hub.HfHubHTTPError.__mro__[1]
    chain = list(_chain(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    answers = (getattr(link, "response", None) for link in chain if isinstance(link, hub.HfHubHTTPError))
    response: Any = next((answer for answer in answers if answer is not None), None)
    status: int = response.status_code if response is not None else 0
    if has(hub.OfflineModeIsEnabled):
        return HubFault(
            "hub_offline",
            f"The {noun} {repo} was not asked for, since HF_HUB_OFFLINE keeps this machine off the hub.",
            "Unset HF_HUB_OFFLINE and start again, or take it from a file or folder.",
        )
    if has(hub.GatedRepoError):
        return HubFault(
            "hub_gated",
            f"The {noun} {repo} is gated: its authors ask for consent before anyone downloads it.",
            "Accept the terms on its hub page, then give that account's access token: under Settings, as "
            "MISTUDIO_HF_TOKEN, or as HF_TOKEN in a notebook.",
        )
    if has(hub.RevisionNotFoundError):
        return HubFault(
            "hub_revision_not_found",
            f"The {noun} {repo} has no revision “{revision}”.",
            "Give a branch, tag or commit that it has; left out, it is the newest.",
        )
    if has(hub.RepositoryNotFoundError, hub.HFValidationError):
        return HubFault(
            "hub_not_found",
            f"There is no {noun} “{repo}” on the hub.",
            "Check the id (organisation/name), or the path where a folder is meant. A private one needs an access "
            "token.",
        )
    if response is not None and status == 429:
        wait = response.headers.get("Retry-After")
        return HubFault(
            "hub_rate_limited",
            f"The hub asks to slow down while reading {repo}.",
            f"Try again in {wait} seconds." if wait else "Try again in a few minutes.",
        )
    if has(hub.EntryNotFoundError) and not has(hub.LocalEntryNotFoundError):
        return HubFault(
            "hub_file_gone",
            f"A file of {repo} that its listing names is not there.",
            "Try again, or another revision.",
        )
    if 400 <= status < 500:
        return HubFault(
            "hub_refused",
            f"The hub refused to give {repo}: it answered {status}.",
            "Check the access token and its rights." if status in (401, 403) else "",
        )
    if isinstance(error, OSError) and error.errno is None and "onsistency" in str(error):
        return HubFault(
            "download_broken",
            f"A file of {repo} arrived with another size than the hub announced.",
            "Retry; if it happens again, the hub or a proxy on the way is at fault.",
        )
    unheard = (transport, ConnectionError, TimeoutError, hub.FileMetadataError, hub.LocalEntryNotFoundError)
    if status >= 500 or has(*unheard):
        why = f"it answered {status}" if status else _reason(chain)
        return HubFault(
            "hub_unreachable",
            f"The hub could not be reached for {repo} ({why}).",
            "Check the network and HF_ENDPOINT, then retry; hub_timeout_seconds sets the patience.",
        )
    return None


def _reason(chain: list[BaseException]) -> str:
    timed_out = any("Timeout" in type(link).__name__ for link in chain)
    return "it did not answer in time" if timed_out else "the connection broke or was refused"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
