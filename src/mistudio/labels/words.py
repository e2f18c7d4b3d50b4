"""Whole words out of tokens, and which of them a feature fires on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from mistudio.models.tokenizer import ModelTokenizer

LINE_BREAK = "\n"
BOUNDARY = "\ue000"
"""Stands for special tokens: where one text ends and the next begins."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|\n+|[^\w\s]|_")
_SENTENCE_MARKS = '.!?:;“”"\n'
_HALF = "\ufffd"
_LONGEST_CHARACTER = 4
_FIRES_FROM = 0.5


@dataclass(frozen=True)
class Word:
    """One word or mark of a passage. `activation` is the strongest of its tokens; `piece` is that token's text."""

    text: str
    activation: float = 0.0
    piece: str = ""

    @property
    def key(self) -> str:
        """What it is compared by: lower case, one apostrophe, any run of line breaks as one."""
        return LINE_BREAK if self.text[0] == LINE_BREAK else self.text.lower().replace("’", "'")


@dataclass(frozen=True)
class Passage:
    """A stretch of text with a feature's activations on it. `group` is that of the example, or `silent`."""

    text: str
    words: tuple[Word, ...]
    group: str = "silent"

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The words in the form in which they are compared."""
        return tuple(word.key for word in self.words)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word once."""
        return frozenset(self.keys)

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of its words."""
        return frozenset(stem(key) for key in self.vocabulary)

    @cached_property
    def phrases(self) -> frozenset[str]:
        """Every two words in a row, with a space between them."""
        return frozenset(f"{a} {b}" for a, b in pairwise(self.keys))

    @cached_property
    def classes(self) -> tuple[frozenset[str], ...]:
        """What kinds each word is of, by its looks and place: `break`, `number`, `capitals`, `name`."""
        return tuple(self._classes(place) for place in range(len(self.words)))

    def _classes(self, place: int) -> frozenset[str]:
        text = self.words[place].text
        if text[0] == LINE_BREAK:
            return frozenset({"break"})
        if any(c.isdigit() for c in text):
            return frozenset({"number"})
        if len(text) > 1 and text.isupper():
            return frozenset({"capitals"})
        begins = place == 0 or self.words[place - 1].text[0] in _SENTENCE_MARKS
        return frozenset({"name"}) if text[0].isupper() and len(text) > 1 and not begins else frozenset()

    @cached_property
    def strongest(self) -> int:
        """Place of the word with the strongest activation; 0 in a silent passage."""
        return max(range(len(self.words)), key=lambda i: self.words[i].activation, default=0)

    @cached_property
    def firing(self) -> tuple[int, ...]:
        """Places of the words on which the feature fires at least half as strongly as on the strongest."""
        most = self.words[self.strongest].activation if self.words else 0.0
        if most <= 0:
            return ()
        return tuple(i for i, word in enumerate(self.words) if word.activation >= _FIRES_FROM * most)


def token_texts(tokenizer: ModelTokenizer, ids: Sequence[int]) -> list[str]:
    """The text of each token, so that they join to the whole text; special tokens become BOUNDARY.

    Tokens that share a character give it to the first of them.
    """
    texts = [BOUNDARY if id in tokenizer.special_ids else tokenizer.text_of(id) for id in ids]
    at = 0
    while at < len(texts):
        if _HALF in texts[at]:
            for end in range(at + 2, min(at + _LONGEST_CHARACTER, len(texts)) + 1):
                whole = tokenizer.decode(ids[at:end])
                if _HALF not in whole:
                    texts[at:end] = [whole] + [""] * (end - at - 1)
                    at = end - 1
                    break
        at += 1
    return texts


def passage(texts: Sequence[str], activations: Sequence[float], group: str = "silent") -> Passage:
    """A passage out of tokens' texts and activations. Half words at its ends are left out unless the feature fires
    on them."""
    text = "".join(texts)
    bounds: list[tuple[int, int, int]] = []
    end = 0
    for number, piece in enumerate(texts):
        start, end = end, end + len(piece)
        bare = start + len(piece) - len(piece.lstrip(" \t"))
        if activations[number] > 0 and bare < end:
            bounds.append((bare, end, number))
    words: list[Word] = []
    at = 0
    found = list(_WORD.finditer(text))
    for place, match in enumerate(found):
        strongest, piece = 0.0, ""
        while at < len(bounds) and bounds[at][1] <= match.start():
            at += 1
        for start, stop, number in bounds[at:]:
            if start >= match.end():
                break
            if stop > match.start() and activations[number] > strongest:
                strongest, piece = float(activations[number]), texts[number].strip()
        cut = (place == 0 and match.start() == 0) or (place == len(found) - 1 and match.end() == len(text))
        if not (cut and strongest == 0 and match[0][0].isalnum()):
            words.append(Word(match[0], strongest, piece))
    return Passage(text, tuple(words), group)


def stem(key: str) -> str:
    """A word without its English plural or possessive ending: crude on purpose, for words that look alike."""
    if not key[:1].isalpha():
        return key
    key = key.removesuffix("'s").removesuffix("'")
    if key.endswith("ies") and len(key) > 4:
        return key[:-3] + "y"
    if key.endswith(("sses", "shes", "ches", "xes", "zes")):
        return key[:-2]
    if key.endswith("s") and not key.endswith(("ss", "us", "is")) and len(key) > 3:
        return key[:-1]
    return key
