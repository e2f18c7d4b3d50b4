"""A training as the command line asks for it: a file, a template and options, of which the later beat the earlier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from mistudio.activations.caches import ready_cache
from mistudio.engine.runs import settings as settings_of
from mistudio.errors import StudioError
from mistudio.sae.config import TrainerConfig
from mistudio.templates.commands import find_template
from mistudio.training.documents import Body, faults_of, kinds_given, read_document
from mistudio.training.schemas import DocumentFault, TrainingCreate


def request_of(
    session: Session,
    file: Path | None,
    *,
    template: str | None = None,
    sources: Sequence[str] = (),
    hooks: Sequence[str] = (),
    settings: Sequence[str] = (),
    grid: Sequence[str] = (),
    harvest: Sequence[str] = (),
    **fixed: Any,
) -> TrainingCreate:
    """The request that all of these make together.

    file: a TOML or JSON document. template: name or id of one of trainings, whose settings the file's beat.
    sources: `tk_…` or `tk_…=weight`. A cache knows its own, and its hook point where it holds but one.
    settings, harvest: `name=value`. grid: `name=value,value`.
    fixed: parts of the request that are taken as they are unless they are None.
    Raises StudioError with a line for each fault of the file, SettingsRefused for a setting that is none.
    """
    body: Body = {}
    if template is not None:
        found = find_template(session, template, "training")
        body = {**found.body, "template_id": found.id}
        if fixed.get("cache_id") is not None:
            body.pop("harvest", None)  # a cache was harvested under its own settings
    lines: dict[Any, int] = {}
    if file is not None:
        document = read_document(_text_of(file), "json" if file.suffix.lower() == ".json" else "toml")
        if document.body is None:
            raise _refused(file, document.faults)
        lines = dict(document.lines)
        if document.body.get("cache_id"):
            body.pop("harvest", None)
        body = _over(body, document.body)
    if sources:
        body["sources"] = [_source(one) for one in sources]
    if hooks:
        body["hooks"] = list(hooks)
    body |= {name: value for name, value in fixed.items() if value is not None}
    if body.get("cache_id") and not (body.get("sources") and body.get("hooks")):
        cache = ready_cache(session, body["cache_id"])
        body["sources"] = body.get("sources") or [{"tokenization_id": cache.tokenization_id}]
        if len(cache.hooks) == 1:
            body["hooks"] = body.get("hooks") or cache.hooks
    if harvest:
        body["harvest"] = {**(body.get("harvest") or {}), **assignments(harvest)}
    values = assignments(settings)
    if body.get("grid"):  # one value, said later than several, stands in their place
        said = {name.rpartition(".")[2] for name in values}
        body["grid"] = {
            name: tried for name, tried in body["grid"].items() if name.rpartition(".")[2] not in said
        }
    if grid:
        body["grid"] = {
            **(body.get("grid") or {}),
            **{name: _values(text) for name, text in map(_pair, grid)},
        }
    if settings:
        body = {**body, "config": _changed(file, body, values, lines)}
    try:
        return TrainingCreate.model_validate(kinds_given(body))
    except ValidationError as error:
        raise _refused(file, faults_of(error, lines)) from error


class _Settings(BaseModel):
    """A document's hyperparameters alone, so that their faults are named as those of the whole are."""

    config: TrainerConfig = TrainerConfig()


def _changed(file: Path | None, body: Body, values: Body, lines: dict[Any, int]) -> TrainerConfig:
    """The file's and template's settings with those of the options."""
    try:
        before = _Settings.model_validate(kinds_given(body)).config
    except ValidationError as error:
        raise _refused(file, faults_of(error, lines)) from error
    return settings_of(before, **values)


def _over(below: Body, above: Body) -> Body:
    """Settings over others; a group of another kind takes the place of the whole group."""
    found = dict(below)
    for name, value in above.items():
        before = found.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            one, other = cast(Body, before), cast(Body, value)
            found[name] = (
                _over(one, other) if other.get("kind", one.get("kind")) == one.get("kind") else other
            )
        else:
            found[name] = value
    return found


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError as error:
        raise StudioError(
            "config_missing",
            f"There is no file {file}.",
            hint="`mistudio train --help` lists the commands, should it have been one.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudioError("config_unreadable", f"The file {file.name} cannot be read as text.") from error


def _refused(file: Path | None, faults: Sequence[DocumentFault]) -> StudioError:
    """The faults as one error: each with its line, where a file has one."""
    if file is None:
        return StudioError(
            "invalid_input",
            "The training's settings are not valid.",
            fields={fault.field or "settings": _alone(fault) for fault in faults},
        )
    said = [f"{file.name}:{fault.line}: {fault.message}" for fault in faults]
    return StudioError("config_invalid", "\n".join(said))


def _alone(fault: DocumentFault) -> str:
    """What is said of a setting, where its name stands before it."""
    return fault.message.removeprefix(fault.field or "").lstrip(": ").rstrip(".")


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """`name=value` options as settings; values are JSON, or text where they are not, and nothing where empty."""
    return {name: _value(text) for name, text in map(_pair, texts)}


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise StudioError("invalid_input", f"“{text}” is not NAME=VALUE.")
    return name.strip(), value.strip()


def _value(text: str) -> Any:
    if text == "":
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _values(text: str) -> list[Any]:
    """`16,32` or a JSON list."""
    whole = _value(text)
    if isinstance(whole, list):
        return cast("list[Any]", whole)
    return [_value(part.strip()) for part in text.split(",") if part.strip()]


def _source(text: str) -> Body:
    """`tk_…` or `tk_…=2.5`."""
    id, _, weight = text.partition("=")
    try:
        return {"tokenization_id": id, "weight": float(weight or 1)}
    except ValueError as error:
        raise StudioError(
            "invalid_input",
            f"“{text}” is not a tokenization with a weight.",
            hint="Write tk_… or tk_…=2.5.",
        ) from error
