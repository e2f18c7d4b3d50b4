"""A model's tokenizer by the `tokenizers` library alone: fast, parallel, and without waiting for PyTorch."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistudio.errors import StudioError
from mistudio.models.schemas import TokenOut

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

FILE = "tokenizer.json"
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class ModelTokenizer:
    """The tokenizer of a model folder, with what its configuration says about special tokens."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.folder = folder
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(folder / FILE))
        except Exception as error:  # the library raises a bare Exception for every fault
            raise StudioError(
                "no_tokenizer",
                "The model has no readable tokenizer.json.",
                hint="Add the model again from a folder or repository that has one.",
            ) from error
        # Some repositories ship a tokenizer that cuts or pads whatever it is given.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._config = _json(folder / "tokenizer_config.json")
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.bos_id = self._special("bos")
        self.eos_id = self._special("eos")
        self.pad_id = self._special("pad")
        self.unknown_id = self._special("unk")

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer begins texts with BOS by itself."""
        ids = self._tokenizer.encode("a").ids
        return self.bos_id is not None and ids[:1] == [self.bos_id]

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of all special tokens."""
        added = self._tokenizer.get_added_tokens_decoder()
        named = {self.bos_id, self.eos_id, self.pad_id} - {None}
        return frozenset(
            {id for id, token in added.items() if token.special} | {int(i) for i in named if i is not None}
        )

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode texts in parallel, without special tokens."""
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def encode_ids(self, texts: Sequence[str]) -> list[Encoding]:
        """As `encode` but faster: the encodings have ids and no usable offsets."""
        return self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)

    def tokenize(self, text: str, *, special_tokens: bool = True) -> list[TokenOut]:
        """A text as tokens with the characters each covers."""
        encoding = self._tokenizer.encode(text, add_special_tokens=special_tokens)
        return [
            TokenOut(
                id=id,
                text=self.text_of(id),
                piece=piece,
                start=start,
                end=end,
                special=id in self.special_ids,
            )
            for id, piece, (start, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True)
        ]

    def tokens_of(self, ids: Sequence[int]) -> list[TokenOut]:
        """Ids as tokens; `start` and `end` count characters of their concatenated texts."""
        tokens: list[TokenOut] = []
        end = 0
        for id in ids:
            start, text = end, self.text_of(int(id))
            end += len(text)
            tokens.append(
                TokenOut(
                    id=int(id),
                    text=text,
                    piece=self._tokenizer.id_to_token(int(id)) or "",
                    start=start,
                    end=end,
                    special=int(id) in self.special_ids,
                )
            )
        return tokens

    def text_of(self, id: int) -> str:
        """The characters that one token stands for; � where it is only a part of a character."""
        piece = self._tokenizer.id_to_token(id)
        if piece is None:
            return ""
        if id in self.special_ids:
            return piece
        if self._byte_level:
            return self._tokenizer.decode([id], skip_special_tokens=False)
        if match := _BYTE_PIECE.fullmatch(piece):
            byte = int(match[1], 16)
            return chr(byte) if byte < 128 else "�"
        return piece.replace("▁", " ")

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included."""
        return self._tokenizer.decode([int(id) for id in ids], skip_special_tokens=False)

    @cached_property
    def _byte_level(self) -> bool:
        return '"ByteLevel"' in json.dumps(json.loads(self._tokenizer.to_str()).get("decoder"))

    def _special(self, name: str) -> int | None:
        value: Any = self._config.get(f"{name}_token")
        if value is None:
            value = _json(self.folder / "special_tokens_map.json").get(f"{name}_token")
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            return self._tokenizer.token_to_id(value)
        if name == "unk":
            return None
        number = _json(self.folder / "config.json").get(f"{name}_token_id")
        number = number[0] if isinstance(number, list) and number else number
        return number if isinstance(number, int) and number < self.vocab_size else None


@lru_cache(maxsize=4)
def _cached(folder: Path, _modified: int) -> ModelTokenizer:
    return ModelTokenizer(folder)


def open_tokenizer_folder(folder: Path) -> ModelTokenizer:
    """The tokenizer of a model folder; the last few stay loaded."""
    path = folder / FILE
    return _cached(folder, path.stat().st_mtime_ns if path.exists() else 0)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
