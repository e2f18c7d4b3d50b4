"""What reading a model's files, here or on the hub, fails with, as errors for people."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from mistudio.errors import StudioError
from mistudio.hub_answers import FAULT_STATUS
from mistudio.lm.errors import LanguageModelError

_STATUS = FAULT_STATUS | {"not_found": 404}


@contextmanager
def said_plainly() -> Generator[None]:
    """Turns what the language model's room refuses into the error that the web and the command line show."""
    try:
        yield
    except LanguageModelError as error:
        raise StudioError(
            error.code, error.message, hint=error.hint or None, status=_STATUS.get(error.code, 400)
        ) from error
