"""Errors over HTTP: problem+json (RFC 9457) with a stable code, a hint, the fields at fault and the
request's id."""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from mistudio.errors import StudioError
from mistudio.settings import Settings, public_text

MEDIA_TYPE = "application/problem+json"

_PHRASES = {
    400: "The request cannot be carried out as it stands.",
    403: "The request comes from a page or under a name that this server does not serve.",
    404: "There is no such thing.",
    405: "This address does not take that method.",
    409: "The present state forbids it: in use, still running, or the name is taken.",
    413: "The request is too large.",
    422: "The request has fields that are not valid.",
    429: "Too many requests from this address.",
    500: "A defect in miStudio; the log has the details under the request id.",
    502: "Another server that this needed did not answer as it should.",
    503: "The server cannot answer just now.",
    507: "The disk is full.",
}


_HINTS = {
    405: "The API's description lists the methods of each address: /api/openapi.json.",
    413: "Send less at once, or raise the setting max_body_bytes or, for uploads, max_upload_bytes.",
}


class Problem(BaseModel):
    """What every error response holds."""

    type: str = Field(description="A URI of the kind of problem: `urn:mistudio:problem:` and the code.")
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="One sentence: what was wrong, and where.")
    code: str = Field(description="Stable name of the problem, for programs.")
    hint: str | None = Field(default=None, description="What to do about it.")
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="For invalid input: dotted path of each field at fault, and its fault.",
    )
    request_id: str | None = Field(default=None, description="The id under which the log has the details.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that may answer with these error statuses."""
    return {
        status: {
            "description": _PHRASES.get(status, HTTPStatus(status).phrase),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def problem(
    status: int, code: str, detail: str, *, hint: str | None = None, fields: dict[str, str] | None = None
) -> Problem:
    """A problem document."""
    return Problem(
        type=f"urn:mistudio:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        fields=fields or {},
    )


def problem_for(error: BaseException, settings: Settings) -> Problem | None:
    """The problem that this error is shown as; None for a defect of ours, of which nothing may be shown."""
    found = _known(error)
    if found is None:
        return None

    def public(text: str) -> str:
        return public_text(text, settings)

    return found.model_copy(
        update={
            "detail": public(found.detail),
            "hint": None if found.hint is None else public(found.hint),
            "fields": {name: public(fault) for name, fault in found.fields.items()},
        }
    )


def _known(error: BaseException) -> Problem | None:
    if isinstance(error, StudioError):
        return problem(error.status, error.code, error.message, hint=error.hint, fields=error.fields)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _http(error)
    if isinstance(error, OperationalError) and "database is locked" in str(error.orig):
        return problem(
            503, "database_busy", "The database is busy with another writer.", hint="Try again in a moment."
        )
    if isinstance(error, DataError) and any(name in str(error.orig) for name in ("NUL", "\\u0000")):
        return problem(
            422,
            "invalid_input",
            "A text has the character U+0000, which the database cannot keep.",
            hint="Leave it out.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return problem(
            507, "disk_full", "The disk is full.", hint="Free some space, or delete what is not needed."
        )
    # The science floor knows no StudioError; its public errors are told by these three attributes.
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if isinstance(code, str) and isinstance(message, str) and hasattr(error, "hint"):
        return problem(400, code, message, hint=getattr(error, "hint", None))
    return None


def problem_response(
    found: Problem, request_id: str | None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The response that carries this problem."""
    body = found.model_copy(update={"request_id": request_id}).model_dump()
    return JSONResponse(body, status_code=found.status, headers=headers, media_type=MEDIA_TYPE)


def _invalid(error: RequestValidationError) -> Problem:
    fields: dict[str, str] = {}
    for item in error.errors():
        location = [str(part) for part in item["loc"]]
        if len(location) > 1 and location[0] in ("body", "query", "path", "header", "cookie"):
            location = location[1:]
        if item["type"] == "json_invalid":
            position = item["loc"][-1] if isinstance(item["loc"][-1], int) else None
            where = f" at character {position}" if position is not None else ""
            return problem(
                422, "json_invalid", f"The body is not valid JSON{where}.", fields={"body": "invalid JSON"}
            )
        fields.setdefault(".".join(location), str(item["msg"]).removeprefix("Value error, "))
    name, fault = next(iter(fields.items()), ("the request", "not valid"))
    more = _more(len(fields) - 1)
    return problem(422, "invalid_input", f"“{name}” is not valid: {fault}.{more}", fields=fields)


def _more(count: int) -> str:
    if count == 0:
        return ""
    return f" ({count} more {'field is' if count == 1 else 'fields are'} not valid either.)"


def _http(error: HTTPException) -> Problem:
    status = error.status_code
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_").replace("'", "")
    plain = error.detail if error.detail and error.detail != phrase else _PHRASES.get(status, f"{phrase}.")
    return problem(status, code, str(plain), hint=_HINTS.get(status))
