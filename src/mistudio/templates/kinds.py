"""The kinds of templates that this process knows, registered at its start by whoever assembled the domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from mistudio.domain import TemplateKind, load
from mistudio.errors import StudioError

_kinds: dict[str, TemplateKind] = {}


def register_template_kinds(kinds: Mapping[str, TemplateKind]) -> None:
    """Make these kinds known; a later registration of a name replaces the earlier one."""
    _kinds.update(kinds)


def template_kinds() -> list[TemplateKind]:
    """Every kind that is known, in the order of the pipeline."""
    return list(_kinds.values())


def schema_of(kind: str) -> type[BaseModel]:
    """The model that a template of this kind must fit. Raises StudioError `template_kind_unknown`."""
    if kind not in _kinds:
        raise StudioError(
            "template_kind_unknown",
            f"There is no kind of template “{kind}”.",
            hint=f"Kinds are {', '.join(_kinds)}.",
            status=422,
            fields={"kind": "unknown kind"},
        )
    return load(_kinds[kind].schema)


def checked(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """The settings with every default filled in. Raises StudioError `template_invalid` naming each wrong field."""
    try:
        return schema_of(kind).model_validate(body).model_dump(mode="json")
    except ValidationError as error:
        fields = problems_of(error, body)
        first = next(iter(fields.items()))
        raise StudioError(
            "template_invalid",
            f"The settings do not fit a template of the kind “{kind}”: {first[0]}: {first[1]}",
            hint="Mend what is named, or leave it out for its default.",
            status=422,
            fields={f"body.{path}" if path != "body" else path: words for path, words in fields.items()},
        ) from error


def architecture_of(kind: str, body: dict[str, Any]) -> str | None:
    """The architecture that settings of this kind name, if they name one."""
    path = _kinds[kind].architecture if kind in _kinds else None
    found: Any = body if path else None
    for part in (path or "").split("."):
        found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
    return str(found)[:50] if found is not None else None


def problems_of(error: ValidationError, given: Any) -> dict[str, str]:
    """What is wrong with `given`, by the path of its field; a problem of the whole stands under `body`."""
    found: dict[str, str] = {}
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        found.setdefault(_path(one["loc"], given) or "body", str(one["msg"]).removeprefix("Value error, "))
    return found


def _path(place: Sequence[int | str], given: Any) -> str:
    """Where a problem is, as a person who wrote `given` knows it: without the names of the kinds of a union."""
    parts: list[str] = []
    at = given
    for number, part in enumerate(place):
        last = number == len(place) - 1
        if isinstance(at, dict):
            inside = cast("dict[str, Any]", at)
            if isinstance(part, str) and part not in inside and not last:
                continue
            at = inside.get(str(part))
        elif isinstance(at, list) and isinstance(part, int):
            items = cast("list[Any]", at)
            at = items[part] if part < len(items) else None
        elif parts:
            continue
        parts.append(str(part))
    return ".".join(parts)
