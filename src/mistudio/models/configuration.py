"""What a model's own files say of it: configuration, chat template, special tokens. Needs no PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mistudio.models.schemas import ModelConfigOut, SpecialTokenOut
from mistudio.models.tokenizer import ModelTokenizer, open_tokenizer_folder


def configuration(folder: Path) -> ModelConfigOut:
    """Read a model folder's configuration files; one that is not there is empty. Raises StudioError `no_tokenizer`."""
    of_tokenizer = _read(folder / "tokenizer_config.json")
    template = of_tokenizer.pop("chat_template", None)
    of_tokenizer.pop("added_tokens_decoder", None)
    return ModelConfigOut(
        config=_read(folder / "config.json"),
        generation_config=_read(folder / "generation_config.json"),
        tokenizer_config=of_tokenizer,
        chat_template=_chat_template(folder, template),
        special_tokens=special_tokens(open_tokenizer_folder(folder)),
    )


def special_tokens(tokenizer: ModelTokenizer) -> list[SpecialTokenOut]:
    """The vocabulary's special tokens in the order of their ids."""
    roles = {
        "bos": tokenizer.bos_id,
        "eos": tokenizer.eos_id,
        "pad": tokenizer.pad_id,
        "unk": tokenizer.unknown_id,
    }
    ids = tokenizer.special_ids | {id for id in roles.values() if id is not None}
    return [
        SpecialTokenOut(
            id=id, text=tokenizer.text_of(id), roles=[role for role, one in roles.items() if one == id]
        )
        for id in sorted(ids)
    ]


def _chat_template(folder: Path, in_config: Any) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    value = _read(folder / "chat_template.json").get("chat_template", in_config)
    if isinstance(value, list):  # several, by name: the default one is what chats use
        found = {one.get("name"): one.get("template") for one in value if isinstance(one, dict)}
        value = found.get("default") or next(iter(found.values()), None)
    return value if isinstance(value, str) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        value: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
