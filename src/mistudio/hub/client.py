"""The hub's client as we use it: patient for as long as the settings say, and with errors that a person can act on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from mistudio.errors import StudioError
from mistudio.hub.token import hub_token
from mistudio.settings import Settings

_RETRIES = 2
_CHUNK = 64 << 10


def prepare_hub(settings: Settings) -> str | None:
    """Give the hub's client the settings' patience; returns the token. Raises StudioError `hub_token_unreadable`."""
    seconds = max(1, round(settings.hub_timeout_seconds))
    os.environ["HF_HUB_ETAG_TIMEOUT"] = os.environ["HF_HUB_DOWNLOAD_TIMEOUT"] = str(seconds)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub.constants as constants

    # Another import may have come first; the client reads these at each call.
    constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = seconds
    constants.DEFAULT_REQUEST_TIMEOUT = seconds
    # A broken transfer loses what it had of the present chunk, and their default is 10 MB.
    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
    return hub_token(settings)


def lose_patience() -> None:
    """Reading ranges of a file asks on for minutes after the hub has gone; here it gives up after a few seconds."""
    from huggingface_hub import hf_file_system
    from huggingface_hub.utils import http_backoff

    files: Any = hf_file_system
    files.http_backoff = partial(http_backoff, max_retries=_RETRIES, max_wait_time=2)


@contextmanager
def hub_errors(repo: str, revision: str | None, noun: str = "data set") -> Generator[None]:
    """Turns what the hub's client raises into one clear sentence.

    Raises StudioError `hub_not_found`, `hub_revision_not_found`, `hub_gated`, `hub_rate_limited`, `hub_refused`,
    `hub_offline`, `hub_unreachable`, `download_broken`; what is none of these passes.
    """
    try:
        yield
    except (StudioError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        found = _translated(error, repo, revision, noun)
        if found is None:
            raise
        raise found from error


def _translated(error: BaseException, repo: str, revision: str | None, noun: str) -> StudioError | None:
    from huggingface_hub import errors as hub

    # huggingface_hub has changed its HTTP library between versions; its own HTTP error tells which it uses.
    transport: Any = hub.HfHubHTTPError.__mro__[1]
    chain = list(_chain(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    response = next((link.response for link in chain if isinstance(link, hub.HfHubHTTPError)), None)
    status = response.status_code if response is not None else 0
    if has(hub.OfflineModeIsEnabled):
        return StudioError(
            "hub_offline",
            f"The {noun} {repo} was not asked for, since HF_HUB_OFFLINE keeps this machine off the hub.",
            hint="Unset HF_HUB_OFFLINE and start the server again, or add it from a file or folder.",
            status=503,
        )
    if has(hub.GatedRepoError):
        return StudioError(
            "hub_gated",
            f"The {noun} {repo} is gated: its authors ask for consent before anyone downloads it.",
            hint="Accept the terms on its hub page, then store that account's access token under Settings, or set "
            "MISTUDIO_HF_TOKEN.",
            status=403,
        )
    if has(hub.RevisionNotFoundError):
        return StudioError(
            "hub_revision_not_found",
            f"The {noun} {repo} has no revision “{revision}”.",
            hint="Give a branch, tag or commit that it has.",
            status=404,
        )
    if has(hub.RepositoryNotFoundError, hub.HFValidationError):
        return StudioError(
            "hub_not_found",
            f"There is no {noun} “{repo}” on the hub.",
            hint="Check the id (organisation/name). A private one needs an access token.",
            status=404,
        )
    if status == 429 and response is not None:
        wait = response.headers.get("Retry-After")
        return StudioError(
            "hub_rate_limited",
            f"The hub asks to slow down while reading {repo}.",
            hint=f"Try again in {wait} seconds." if wait else "Try again in a few minutes.",
            status=503,
        )
    if has(hub.EntryNotFoundError) and not has(hub.LocalEntryNotFoundError):
        return StudioError(
            "hub_file_gone",
            f"A file of {repo} that its listing names is not there.",
            hint="Try again, or another revision.",
            status=502,
        )
    if 400 <= status < 500:
        return StudioError(
            "hub_refused",
            f"The hub refused to give {repo}: it answered {status}.",
            hint="Check the access token and its rights." if status in (401, 403) else None,
            status=502,
        )
    if isinstance(error, OSError) and error.errno is None and "onsistency" in str(error):
        return StudioError(
            "download_broken",
            f"A file of {repo} arrived with another size than the hub announced.",
            hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
            status=502,
        )
    if status >= 500 or has(transport, ConnectionError, TimeoutError, hub.FileMetadataError):
        why = f"it answered {status}" if status else _reason(chain)
        return StudioError(
            "hub_unreachable",
            f"The hub could not be reached for {repo} ({why}).",
            hint="Check the network and HF_ENDPOINT, then retry; hub_timeout_seconds sets the patience.",
            status=502,
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
