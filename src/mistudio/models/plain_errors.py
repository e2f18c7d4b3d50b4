"""What reading a model's files, here or on the hub, fails with, as errors for people."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from mistudio.errors import StudioError
from mistudio.lm.errors import LanguageModelError

_STATUS = {
    "not_found": 404,
    "revision_not_found": 404,
    "gated": 403,
    "hub_unreachable": 502,
    "hub_refused": 502,
    "rate_limited": 503,
}


@contextmanager
def said_plainly() -> Generator[None]:
    """Turns what the language model's room refuses into the error that the web and the command line show."""
    try:
        yield
    except LanguageModelError as error:
        raise StudioError(
            error.code, error.message, hint=error.hint or None, status=_STATUS.get(error.code, 400)
        ) from error
