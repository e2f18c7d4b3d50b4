"""The errors a person is meant to read: what was wrong, where, and what to do about it."""

from __future__ import annotations


class StudioError(Exception):
    """A refusal or failure that is shown to the user as it stands.

    `code` is stable and machine-readable (`dataset_not_utf8`); `message` says what was wrong and where;
    `hint` says what to do; `status` is the HTTP status it maps to. Over HTTP it becomes problem+json, on
    the command line one line on stderr with exit code 1, in a job its public error.
    """

    status: int = 400

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        fields: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.fields = fields or {}
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


_SAID = {"dataset": "data set", "gpu": "GPU", "sae": "SAE"}
"""Kinds of things that people write otherwise than code does."""


class NotFound(StudioError):
    """The named thing does not exist."""

    status = 404

    def __init__(self, what: str, key: str) -> None:
        super().__init__(f"{what}_not_found", f"There is no {said(what)} with the id “{key}”.")


class Conflict(StudioError):
    """The request is well formed but the present state forbids it (in use, still running, name taken)."""

    status = 409


def said(kind: str) -> str:
    """A kind of thing (`activation_cache`, `dataset`) as people write it."""
    return _SAID.get(kind, kind.replace("_", " "))
