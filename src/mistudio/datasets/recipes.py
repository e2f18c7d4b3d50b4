"""How a text is made from the columns of a row: joined by a template, or a chat rendered by a tokenizer's template."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mistudio.datasets.schemas import ChatRecipe, Recipe, TemplateRecipe
from mistudio.datasets.text_store import as_string
from mistudio.errors import StudioError
from mistudio.models.chat_template import open_chat_template
from mistudio.settings import Settings

Row = Mapping[str, Any]
Render = Callable[[Row], str]

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def renderer(settings: Settings, recipe: Recipe, columns: Iterable[str]) -> Render:
    """The function that makes a row's text. Raises StudioError `recipe_invalid`, `no_chat_template`, `model_…`."""
    if isinstance(recipe, TemplateRecipe):
        return template(recipe.template, columns)
    return _chat(settings, recipe, columns)


def template(text: str, columns: Iterable[str]) -> Render:
    """A template like `{question} {meta.title}`. A missing value is the empty text, other values are as JSON.

    Raises StudioError `recipe_invalid` naming the place of a stray brace, or a column that is not there.
    """
    known = set(columns)
    pieces: list[str | list[str]] = []
    end = 0
    for match in _PIECE.finditer(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        if match[0] in ("{{", "}}"):
            pieces.append(match[0][0])
        elif match[0] in ("{", "}"):
            raise _invalid(
                f"The template has a single “{match[0]}” at character {match.start() + 1:,}.",
                "Close the braces around a column's name, or double a brace that is meant as it stands.",
            )
        else:
            pieces.append(_path(match[1], known))
    pieces.append(text[end:])
    if not any(isinstance(piece, list) for piece in pieces):
        raise _invalid(
            "The template names no column.", f"Write for instance {{{min(known, default='text')}}}."
        )

    def render(row: Row) -> str:
        return "".join(piece if isinstance(piece, str) else _value(row, piece) for piece in pieces)

    return render


def _path(name: str, known: set[str]) -> list[str]:
    if name in known:
        return [name]
    # A column's own name may hold dots: the longest that fits is meant.
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        if (column := ".".join(parts[:count])) in known:
            return [column, *parts[count:]]
    raise _invalid(
        f"The template names “{name}”, which is no column.", f"The columns are {', '.join(sorted(known))}."
    )


def _value(row: Row, path: list[str]) -> str:
    value: Any = row.get(path[0])
    for name in path[1:]:
        value = value.get(name) if isinstance(value, Mapping) else None
    return as_string(value) or ""


def chat_columns(schema: Any) -> list[str]:
    """Names of the columns of an Arrow schema that hold chats: lists of {role, content} or of {from, value}."""
    import pyarrow as pa

    found: list[str] = []
    for field in schema:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            item = field.type.value_type
            names = (
                {item.field(i).name for i in range(item.num_fields)} if pa.types.is_struct(item) else set()
            )
            if {"role", "content"} <= names or {"from", "value"} <= names:
                found.append(field.name)
    return found


_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}


def messages_of(value: Any) -> list[dict[str, Any]]:
    """The messages of a chat, in the form that chat templates know. Raises ValueError for what is no chat."""
    if not isinstance(value, list):
        raise ValueError("it is not a list of messages")
    messages: list[dict[str, Any]] = []
    for item in value:
        if not isinstance(item, Mapping):
            raise ValueError("a message is not an object")
        role = item.get("role", item.get("from"))
        content = item.get("content", item.get("value"))
        if role is None:
            raise ValueError("a message has no role")
        rest = {
            key: kept
            for key, kept in item.items()
            if key not in ("role", "from", "content", "value") and kept is not None
        }
        messages.append({"role": _ROLES.get(str(role), str(role)), "content": content or "", **rest})
    return messages


def _chat(settings: Settings, recipe: ChatRecipe, columns: Iterable[str]) -> Render:
    if recipe.column not in set(columns):
        raise StudioError(
            "recipe_invalid",
            f"There is no column “{recipe.column}”.",
            hint=f"The columns are {', '.join(columns)}.",
            status=422,
            fields={"recipe.column": "not there"},
        )
    chat = open_chat_template(settings, recipe.model_id)

    def render(row: Row) -> str:
        value = row.get(recipe.column)
        if not value:
            return ""
        try:
            messages = messages_of(value)
        except ValueError as error:
            raise StudioError(
                "recipe_invalid",
                f"The column “{recipe.column}” holds something that is no chat: {error}.",
                hint="Messages are objects with role and content (or from and value).",
                status=422,
                fields={"recipe.column": "not chats"},
            ) from error
        return chat(messages, recipe.generation_prompt)

    return render


def _invalid(message: str, hint: str) -> StudioError:
    return StudioError(
        "recipe_invalid", message, hint=hint, status=422, fields={"recipe.template": message.rstrip(".")}
    )
