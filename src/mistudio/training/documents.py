"""A training's configuration as a text, TOML or JSON: read with errors that name the line, and written.

The document is the request that the API takes. TOML has no word for nothing, so there an empty text stands for it:
`target_l0 = ""`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ValidationError

from mistudio.engine.runs import KINDS
from mistudio.sae.config import TrainerConfig
from mistudio.training.document_lines import Place, json_lines, toml_lines
from mistudio.training.schemas import DocumentFault, TrainingCreate

Format = Literal["toml", "json"]
Body = dict[str, Any]


@dataclass(frozen=True)
class Document:
    """A text as it was read: what it says, where it says it, and what is wrong with it."""

    body: Body | None
    lines: Mapping[Place, int]
    faults: list[DocumentFault]


def read_document(text: str, format: Format) -> Document:
    """The content of a text; where it cannot be read its one fault says in which line and column."""
    text = text.removeprefix("\ufeff")  # with which some editors begin a file
    try:
        body: Any = _with_nothing(tomllib.loads(text)) if format == "toml" else json.loads(text or "{}")
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        column = int(found[2]) if found and found[2] else None
        said = re.sub(r"\s*\(at .*\)$", "", str(error))
        return Document(
            None, {}, [DocumentFault(line=line, column=column, message=f"This is not TOML: {said}.")]
        )
    except json.JSONDecodeError as error:
        fault = DocumentFault(
            line=error.lineno, column=error.colno, message=f"This is not JSON: {error.msg}."
        )
        return Document(None, {}, [fault])
    except RecursionError:
        return Document(None, {}, [DocumentFault(line=1, message="The text is nested too deeply.")])
    if not isinstance(body, dict):
        return Document(
            None, {}, [DocumentFault(line=1, message="A configuration is an object of settings.")]
        )
    lines = toml_lines(text) if format == "toml" else json_lines(text)
    return Document(cast(Body, body), lines, [])


def checked(document: Document, wanted: type[BaseModel] = TrainingCreate) -> tuple[Any, list[DocumentFault]]:
    """The validated content, or what is wrong with it: one fault for each setting, with its line."""
    if document.body is None:
        return None, document.faults
    try:
        return wanted.model_validate(kinds_given(document.body)), []
    except ValidationError as error:
        return None, faults_of(error, document.lines)


def kinds_given(body: Body) -> Body:
    """A body whose groups of settings name their kind: the default one where it is left out."""
    config = body.get("config")
    if not isinstance(config, dict):
        return body
    config = dict(cast(Body, config))
    for name in KINDS:
        group = config.get(name)
        if isinstance(group, str) and name != "architecture":  # whose names may be synonyms
            config[name] = {"kind": group}
        elif isinstance(group, dict):
            config[name] = {"kind": TrainerConfig.model_fields[name].default.kind, **cast(Body, group)}
    return {**body, "config": config}


def faults_of(error: ValidationError, lines: Mapping[Place, int]) -> list[DocumentFault]:
    """What is wrong, setting by setting, each in the line that says it or, where it is left out, its group's."""
    found: list[DocumentFault] = []
    for item in error.errors():
        loc = [part for part in item["loc"] if part != "[key]"]
        # pydantic names the chosen kind of a group behind the group
        place = tuple(
            part
            for before, part in zip(["", *loc], loc, strict=False)
            if part not in KINDS.get(str(before), {})
        )
        said = item["msg"].removeprefix("Value error, ").rstrip(".")
        name = ".".join(str(part) for part in place)
        if item["type"] == "missing":
            said = "is needed"
        elif item["type"] == "extra_forbidden":
            said = "is no setting here"
        joint = (
            "" if not name or said.startswith(name.rpartition(".")[2]) else " " if said[:3] == "is " else ": "
        )
        message = f"{name if joint else ''}{joint}{said}."
        found.append(DocumentFault(line=_line_of(place, lines), field=name or None, message=message))
    return found


def _line_of(place: Place, lines: Mapping[Place, int]) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _with_nothing(value: Any) -> Any:
    """TOML's content with its empty texts as null."""
    if isinstance(value, dict):
        return {key: _with_nothing(item) for key, item in cast(Body, value).items()}
    if isinstance(value, list):
        return [_with_nothing(item) for item in cast("list[Any]", value)]
    return None if value == "" else value


def write_json(body: Body) -> str:
    """The document as JSON."""
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def write_toml(body: Body) -> str:
    """The document as TOML: settings of a table first, then the tables in it."""
    return "\n".join(_table(body, ())).strip() + "\n"


def _table(body: Body, path: tuple[str, ...]) -> list[str]:
    plain = {key: value for key, value in body.items() if not _is_table(value)}
    lines = [f"[{'.'.join(map(_key, path))}]"] if path and (plain or not body) else []
    lines += [f"{_key(key)} = {_toml(value)}" for key, value in plain.items()]
    for key, value in body.items():
        if isinstance(value, dict):
            lines += ["", *_table(cast(Body, value), (*path, key))]
        elif _is_table(value):
            for one in value:
                lines += ["", f"[[{'.'.join(map(_key, (*path, key)))}]]"]
                lines += [f"{_key(name)} = {_toml(item)}" for name, item in one.items()]
    return lines


def _is_table(value: Any) -> bool:
    several = (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) for one in cast("list[Any]", value))
    )
    return isinstance(value, dict) or several


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, cast('list[Any]', value)))}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in cast(Body, value).items())
        return f"{{ {inner} }}"
    if isinstance(value, str):
        # JSON's escapes are TOML's too, but for the one control character that JSON leaves alone.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return str(value)
