"""Texts made from columns: templates, and chats in a model's chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.datasets.recipes import chat_columns, messages_of, template
from mistudio.errors import StudioError
from mistudio.models.chat_template import chat_template_of

ROW = {"q": "why?", "n": 3, "none": None, "meta": {"title": "T", "deep": {"x": [1, "é"]}}, "a.b": "dotted"}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Q: {q}\nN: {n}", "Q: why?\nN: 3"),
        ("{none}|{q}", "|why?"),
        ("{{q}} {q} }}{{", "{q} why? }{"),
        ("{meta.title} {meta.deep.x} {meta.gone.x}{q}", 'T [1, "é"] why?'),
        ("{a.b}", "dotted"),
        ("{meta}", '{"title": "T", "deep": {"x": [1, "é"]}}'),
    ],
)
def test_templates(text: str, made: str) -> None:
    assert template(text, ROW)(ROW) == made


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "single “{” at character 1"),
        ("ab {q} }", "single “}” at character 8"),
        ("{nope}", "names “nope”, which is no column"),
        ("{}", "names “”"),
        ("{nope.q}", "names “nope.q”"),
        ("no column", "names no column"),
    ],
)
def test_wrong_templates_are_refused_at_their_place(text: str, says: str) -> None:
    with pytest.raises(StudioError, match=says.replace("{", r"\{").replace("}", r"\}")) as refused:
        template(text, ROW)
    assert refused.value.code == "recipe_invalid" and "recipe.template" in refused.value.fields


@given(st.lists(st.text(alphabet="ab {}\n", max_size=6) | st.just(None), max_size=6))
def test_what_is_not_a_column_stands_as_it_is(parts: list[str | None]) -> None:
    written = "".join("{q}" if part is None else part.replace("{", "{{").replace("}", "}}") for part in parts)
    expected = "".join("why?" if part is None else part for part in parts)
    assert template(written + "{q}", ROW)(ROW) == expected + "why?"


@given(st.text(alphabet="{}q.n ", max_size=12))
def test_every_template_is_made_or_refused(text: str) -> None:
    try:
        template(text, ROW)(ROW)
    except StudioError as error:
        assert error.code == "recipe_invalid"


def test_chats_are_found_by_their_type() -> None:
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    shared = pa.struct([("from", pa.string()), ("value", pa.string())])
    schema = pa.schema(
        [
            ("text", pa.string()),
            ("messages", pa.list_(message)),
            ("conversations", pa.large_list(shared)),
            ("tags", pa.list_(pa.string())),
        ]
    )
    assert chat_columns(schema) == ["messages", "conversations"]


def test_both_forms_of_messages() -> None:
    assert messages_of([{"from": "human", "value": "hi"}, {"from": "gpt", "value": None}]) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": ""},
    ]
    assert messages_of([{"role": "tool", "content": "x", "name": "f", "extra": None}]) == [
        {"role": "tool", "content": "x", "name": "f"}
    ]
    for wrong in ("text", [1], [{"content": "no role"}]):
        with pytest.raises(ValueError, match=r"."):
            messages_of(wrong)


CHATML = (
    "{% for m in messages %}{% if m.role == 'forbidden' %}{{ raise_exception('no such role') }}{% endif %}\n"
    "<|im_start|>{{ m.role }}\n{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{{ eos_token }}{{ {'ä': '<b>'} | tojson }}"
)
CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "  <there>  "}]


def chat_folder(tmp_path: Path, **config: Any) -> Path:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}, **config}))
    return tmp_path


@pytest.mark.slow
def test_chats_come_out_as_transformers_renders_them(tmp_path: Path, tiny_llama_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_llama_folder)
    ours = chat_template_of(chat_folder(tmp_path, chat_template=CHATML))
    for prompt in (False, True):
        theirs = tokenizer.apply_chat_template(
            CHAT, chat_template=CHATML, tokenize=False, add_generation_prompt=prompt
        )
        assert ours(CHAT, prompt) == theirs


@pytest.mark.parametrize("where", ["jinja", "json", "config", "named"])
def test_chat_templates_are_found_where_models_keep_them(tmp_path: Path, where: str) -> None:
    config: dict[str, Any] = {}
    if where == "jinja":
        (tmp_path / "chat_template.jinja").write_text(CHATML)
    elif where == "json":
        (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": CHATML}))
    elif where == "config":
        config = {"chat_template": CHATML}
    else:
        config = {
            "chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": CHATML}]
        }
    assert chat_template_of(chat_folder(tmp_path, **config))(CHAT, True).endswith(
        'assistant\n</s>{"ä": "<b>"}'
    )


def test_bad_chat_templates_and_chats_are_said(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="has no chat template"):
        chat_template_of(chat_folder(tmp_path))
    with pytest.raises(StudioError, match=r"cannot be read: .* \(line 1\)"):
        chat_template_of(chat_folder(tmp_path, chat_template="{% if %}"))
    render = chat_template_of(chat_folder(tmp_path, chat_template=CHATML))
    with pytest.raises(StudioError, match="refuses a chat: no such role"):
        render([{"role": "forbidden", "content": ""}], False)
    escaping = chat_template_of(
        chat_folder(tmp_path, chat_template="{{ messages.__class__.__mro__[1].__subclasses__() }}")
    )
    with pytest.raises(StudioError, match="refuses a chat"):
        escaping(CHAT, False)
