"""The hub's client as we use it: patient for as long as the settings say, and with errors that a person can act on."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from mistudio.errors import StudioError
from mistudio.hub.token import hub_token
from mistudio.hub_answers import FAULT_STATUS, hub_fault
from mistudio.settings import Settings

_CHUNK = 64 << 10
_NOUNS = {"model": "model", "dataset": "data set"}


@dataclass(frozen=True)
class Origin:
    """A repository at one commit, and the token to ask for it with. `revision` is what was asked for by name."""

    kind: Literal["model", "dataset"]
    repo: str
    commit: str
    revision: str
    token: str | None

    @contextmanager
    def errors(self) -> Generator[None]:
        """As `hub_errors`."""
        with hub_errors(self.repo, self.revision, _NOUNS[self.kind]):
            yield


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


@contextmanager
def hub_errors(repo: str, revision: str | None, noun: str = "data set") -> Generator[None]:
    """Turns what the hub's client raises into one clear sentence.

    Raises StudioError `hub_not_found`, `hub_revision_not_found`, `hub_gated`, `hub_rate_limited`, `hub_refused`,
    `hub_file_gone`, `hub_offline`, `hub_unreachable`, `download_broken`; what is none of these passes.
    """
    try:
        yield
    except StudioError:
        raise
    except Exception as error:
        fault = hub_fault(error, repo, revision, noun)
        if fault is None:
            raise
        raise StudioError(
            fault.code, fault.message, hint=fault.hint or None, status=FAULT_STATUS[fault.code]
        ) from error
