"""A model's chat template by Jinja alone, in its sandbox: chats become text without waiting for transformers.

The dialect is the one that chat templates on the hub are written in: `messages`, `add_generation_prompt`, the special
tokens by name, `raise_exception`, `strftime_now`, `tojson` without HTML escapes, loop controls, and blocks trimmed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mistudio.errors import StudioError
from mistudio.models.library import model_folder
from mistudio.settings import Settings

ChatTemplate = Callable[[Sequence[dict[str, Any]], bool], str]
"""(messages, whether to begin an answer) → text."""

_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def open_chat_template(settings: Settings, model_id: str) -> ChatTemplate:
    """The chat template of a model that is there. Raises StudioError `no_chat_template`, `chat_template_broken`."""
    return chat_template_of(model_folder(settings, model_id))


def chat_template_of(folder: Path) -> ChatTemplate:
    """The chat template in a model folder. The function raises StudioError `chat_refused` for chats it forbids."""
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what an assistant wrote; the text is the same with and without it."""

        tags = {"generation"}  # noqa: RUF012  (Jinja reads it as a class attribute)

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    source = _source(folder)
    if not source:
        raise StudioError(
            "no_chat_template",
            "This model's tokenizer has no chat template.",
            hint="Choose an instruction-tuned model, or join columns with a template of your own.",
            status=422,
            fields={"recipe.model_id": "no chat template"},
        )

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)

    environment: Any = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _now
    try:
        template = environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise StudioError(
            "chat_template_broken",
            f"This model's chat template cannot be read: {error.message} (line {error.lineno}).",
            hint="Use another model's tokenizer, or join columns with a template of your own.",
        ) from error
    tokens = _special_tokens(folder)

    def render(messages: Sequence[dict[str, Any]], generation_prompt: bool) -> str:
        try:
            return template.render(messages=list(messages), add_generation_prompt=generation_prompt, **tokens)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise StudioError(
                "chat_refused",
                f"The chat template refuses a chat: {error}.",
                hint="Some templates want a user's message first, or roles in turn.",
            ) from error

    return render


def _now(format: str) -> str:
    return datetime.now().astimezone().strftime(format)


def _source(folder: Path) -> str | None:
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        try:
            text = (folder / name).read_text("utf-8")
        except OSError:
            continue
        if name.endswith(".jinja"):
            return text
        try:
            found: Any = json.loads(text).get("chat_template")
        except (ValueError, AttributeError):
            continue
        if isinstance(found, list):
            named = {str(one.get("name")): one.get("template") for one in found if isinstance(one, dict)}
            found = named.get("default") or next(iter(named.values()), None)
        if isinstance(found, str) and found:
            return found
    return None


def _special_tokens(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        try:
            config: Any = json.loads((folder / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        for token in _TOKENS:
            value = config.get(token) if isinstance(config, dict) else None
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                found[token] = value
    return found
