"""Texts to token ids, each distinct part encoded once.

Text repeats its words: a book of a million words has some ten thousand different ones. Where it is known that a
tokenizer does not look across the cuts of `word_splits`, texts are cut there, each part that was not met before is
encoded by the tokenizer itself, and the ids of all the others are looked up. For any other tokenizer whole texts are
encoded. Either way the ids are those of the `tokenizers` library.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mistudio.datasets.measures import bytes_of, white_space
from mistudio.datasets.word_splits import Cuts, safe_cuts, without_prepend
from mistudio.models.tokenizer import FILE, ModelTokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Array = np.ndarray[Any, np.dtype[Any]]

# What is remembered is bounded, and forgotten as a whole: frequent words are back within one batch.
MAX_PARTS = 1 << 19
MAX_PART_TOKENS = 1 << 22

# Kinds of bytes by which texts are cut behind letters: Latin letters, what may follow them within a part, the rest.
_LETTER, _WITHIN, _NO_LETTER = 0, 1, 2
_KINDS = np.full(256, _NO_LETTER, np.uint8)
_KINDS[[*range(65, 91), *range(97, 123)]] = _LETTER
_KINDS[[ord("'"), *range(128, 256)]] = _WITHIN
# What may stand behind the last of several spaces.
_VISIBLE = np.zeros(256, bool)
_VISIBLE[[byte for byte in range(33, 127) if not 48 <= byte < 58]] = True


class Encoded:
    """Texts as token ids, one after the other.

    ids: [n_tokens]; bounds: [n_texts + 1], text i has the ids [bounds[i], bounds[i + 1]).
    """

    def __init__(self, ids: Array, bounds: Array, places: Callable[[Array], Array]) -> None:
        self.ids, self.bounds = ids, bounds
        self._places = places

    def places(self, tokens: Array) -> Array:
        """The character of its text at which each of these tokens begins; `tokens` are indices into `ids`."""
        return self._places(tokens) if len(tokens) else np.empty(0, np.int64)


class TextEncoder:
    """Encodes whole texts by the `tokenizers` library: right for every tokenizer."""

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
        self._tokenizer, self._dtype = tokenizer, dtype

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """Texts without missing ones as ids, special tokens not added."""
        encodings = self._tokenizer.encode_batch(texts.to_pylist(), add_special_tokens=False)
        ids, bounds = _joined(encodings, self._dtype)

        def places(tokens: Array) -> Array:
            which = np.searchsorted(bounds, tokens, "right") - 1
            pairs = zip(which.tolist(), (tokens - bounds[which]).tolist(), strict=True)
            return np.array([_first_character(encodings[text], token) for text, token in pairs], np.int64)

        return Encoded(ids, bounds, places)


class PartEncoder:
    """Encodes each distinct part of text once: mostly a word with the space before it. See `word_splits`."""

    def __init__(self, tokenizer: Tokenizer, inner: Tokenizer, dtype: np.dtype[Any], cuts: Cuts) -> None:
        """`inner` encodes parts that do not begin a text."""
        self._tokenizer, self._inner, self._dtype, self._cuts = tokenizer, inner, dtype, cuts
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, int] = {}
        self._known_first: dict[str, int] = {}
        self._ids = np.empty(1 << 16, self._dtype)
        self._ends = np.zeros(1 << 16, np.int64)
        self._n_ids = self._n_parts = 0

    def encode(self, texts: pa.LargeStringArray) -> Encoded:
        """Texts without missing ones as ids, special tokens not added."""
        if self._n_parts > MAX_PARTS or self._n_ids > MAX_PART_TOKENS:
            self._forget()
        data, offsets = bytes_of(texts)
        begins = np.flatnonzero(self._cut(data, offsets))
        if len(begins) == 0:
            return Encoded(
                np.empty(0, self._dtype), np.zeros(len(texts) + 1, np.int64), lambda tokens: tokens
            )
        bounds = pa.py_buffer(np.append(begins, len(data)))
        parts = pa.LargeStringArray.from_buffers(len(begins), bounds, pa.py_buffer(data))
        coded = parts.dictionary_encode()
        indices = coded.indices.to_numpy(zero_copy_only=False)
        numbers = self._numbers_of(coded.dictionary.to_pylist(), self._known, self._inner)[indices]
        text_parts = np.searchsorted(begins, offsets)
        if self._cuts.prepends:
            first = text_parts[:-1][np.diff(text_parts) > 0]
            beginnings = parts.take(pa.array(first)).to_pylist()
            numbers[first] = self._numbers_of(beginnings, self._known_first, self._tokenizer)
        sources = self._ends[numbers]
        lengths = self._ends[numbers + 1] - sources
        ends = np.cumsum(lengths)
        firsts = ends - lengths
        ids = self._ids[np.arange(int(ends[-1])) + np.repeat(sources - firsts, lengths)]
        text_bounds = np.append(firsts, len(ids))[text_parts]

        def places(tokens: Array) -> Array:
            which = np.searchsorted(ends, tokens, "right")
            text = np.searchsorted(text_parts, which, "right") - 1
            found = _characters(data, offsets[text], begins[which])
            within = tokens - firsts[which]
            for i in np.flatnonzero(within).tolist():
                begins_text = which[i] == text_parts[text[i]]
                tokenizer = self._tokenizer if begins_text else self._inner
                encoding = tokenizer.encode(parts[int(which[i])].as_py(), add_special_tokens=False)
                found[i] += _first_character(encoding, int(within[i]))
            return found

        return Encoded(ids, text_bounds, places)

    def _cut(self, data: Array, offsets: Array) -> Array:
        """At which bytes a part begins, bool [n_bytes]."""
        begins = np.zeros(len(data), bool)
        if len(data) == 0:
            return begins
        space = data == 0x20
        blank = white_space(data)
        begins[1:] = space[1:] & ~blank[:-1]
        kind = _KINDS[data]
        fine = np.zeros(len(data), bool)
        if self._cuts.behind_letters:
            fine[1:] = (kind[:-1] == _LETTER) & (kind[1:] == _NO_LETTER)
        if self._cuts.last_spaces:
            last = space[:-2] & space[1:-1] & _VISIBLE[data[2:]]
            last[offsets[(offsets > 1) & (offsets < len(data))] - 2] = False  # what follows is another text
            fine[1:-1] |= last
        for begin, end in self._with_names(data, offsets):
            fine[begin:end] = False
            if self._cuts.prepends:  # behind the token as well as at the text's beginning
                begins[begin:end] = False
        begins |= fine
        begins[offsets[:-1][np.diff(offsets) > 0]] = True
        return begins

    def _with_names(self, data: Array, offsets: Array) -> Iterator[tuple[int, int]]:
        """Where the texts lie in which the name of an added token occurs, which a finer cut might tear."""
        content = data.tobytes() if self._cuts.names else b""
        begun = {beginning for beginning in {name[:2] for name in self._cuts.names} if beginning in content}
        for name in self._cuts.names:
            at = content.find(name) if name[:2] in begun else -1
            while at >= 0:
                text = int(np.searchsorted(offsets, at, "right"))
                yield int(offsets[text - 1]), int(offsets[text])
                at = content.find(name, int(offsets[text]))

    def _numbers_of(self, parts: list[str], known: dict[str, int], tokenizer: Tokenizer) -> Array:
        """The number of each part; parts not met before are encoded and remembered."""
        new = list(dict.fromkeys(part for part in parts if part not in known))
        if new:
            first = self._n_parts
            self._n_parts += len(new)
            known.update(zip(new, range(first, first + len(new)), strict=True))
            ids, bounds = _joined(tokenizer.encode_batch_fast(new, add_special_tokens=False), self._dtype)
            self._ids = _grown(self._ids, self._n_ids + len(ids))
            self._ends = _grown(self._ends, first + len(new) + 1)
            self._ids[self._n_ids : self._n_ids + len(ids)] = ids
            self._ends[first + 1 : first + len(new) + 1] = self._n_ids + bounds[1:]
            self._n_ids += len(ids)
        return np.fromiter(map(known.__getitem__, parts), np.int64, len(parts))


def open_encoder(
    tokenizer: ModelTokenizer, dtype: np.dtype[Any], *, special_in_text: bool = True, remember: bool = True
) -> TextEncoder | PartEncoder:
    """The fastest encoder that is right for a tokenizer; ids come as `dtype`.

    `special_in_text`: the name of a special token in a text becomes that token. `remember` pays from some hundred
    kilobytes of text on.
    """
    path = tokenizer.folder / FILE
    bare, inner, cuts = _bare(path, path.stat().st_mtime_ns, special_in_text)
    if cuts is None or not remember:
        return TextEncoder(bare, dtype)
    return PartEncoder(bare, inner, dtype, cuts)


@lru_cache(maxsize=4)
def _bare(path: Path, _modified: int, special_in_text: bool) -> tuple[Tokenizer, Tokenizer, Cuts | None]:
    """The tokenizer without what adds, cuts, pads or shifts; that for parts within a text; where those may begin."""
    from tokenizers import Tokenizer

    specification = json.loads(path.read_bytes())
    specification |= {"post_processor": None, "truncation": None, "padding": None}
    cuts = safe_cuts(specification)
    bare = inner = Tokenizer.from_str(json.dumps(specification))
    bare.encode_special_tokens = not special_in_text
    if cuts is not None and cuts.prepends:
        inner = Tokenizer.from_str(json.dumps(specification | {"normalizer": without_prepend(specification)}))
        inner.encode_special_tokens = not special_in_text
    return bare, inner, cuts


def _joined(encodings: list[Encoding], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    lists = [encoding.ids for encoding in encodings]
    bounds = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, lists), np.int64, len(lists)), out=bounds[1:])
    return np.fromiter(chain.from_iterable(lists), dtype, int(bounds[-1])), bounds


def _characters(data: Array, begins: Array, ends: Array) -> Array:
    """How many characters lie between these bytes, [n] each."""
    if int(data.max()) < 0x80:
        return ends - begins
    before = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
    return before[ends] - before[begins]


def _grown(array: Array, size: int) -> Array:
    if size <= len(array):
        return array
    grown = np.zeros(max(size, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown


def _first_character(encoding: Encoding, token: int) -> int:
    span = encoding.token_to_chars(token)
    return span[0] if span is not None else 0
