"""What a person types into the search field, as an expression of SQLite's FTS5.

    civil war        both words, anywhere in the row        "civil war"   the words side by side
    emancipat*       words that begin so                    peace OR war  either
    war -civil       without this word                      (a OR b) c    grouped

Whatever is typed either becomes an expression that FTS5 takes or raises one clear StudioError.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from mistudio.errors import StudioError

_DEEPEST = 20
_TOKEN = re.compile(r'\s*(?:(?P<quote>")|(?P<paren>[()])|(?P<word>[^\s"()]+))')


def parse_query(text: str, words_from: Callable[[str], list[str] | None] = lambda _: None) -> str:
    """The FTS5 expression for a query. Raises StudioError `query_invalid` saying what is wrong and where.

    `words_from(beginning)` may name all words that begin so, to be written out in place of `begin*`.
    """
    parser = _Parser(text, words_from)
    expression = parser.alternatives(0)
    if parser.peek() is not None:
        raise _invalid(
            f"The bracket “)” at character {parser.at + 1} closes nothing", "Write brackets in pairs."
        )
    return expression


class _Parser:
    def __init__(self, text: str, words_from: Callable[[str], list[str] | None]) -> None:
        self._tokens = _tokens(text)
        self._words_from = words_from
        self._next = 0

    @property
    def at(self) -> int:
        return self._tokens[min(self._next, len(self._tokens) - 1)][2]

    def peek(self) -> tuple[str, str, int] | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def alternatives(self, depth: int) -> str:
        found = [self._together(depth)]
        while (token := self.peek()) and token[:2] == ("word", "OR"):
            self._next += 1
            found.append(self._together(depth))
        return found[0] if len(found) == 1 else f"({' OR '.join(found)})"

    def _together(self, depth: int) -> str:
        wanted: list[str] = []
        unwanted: list[str] = []
        while (token := self.peek()) and token[:2] not in (("paren", ")"), ("word", "OR")):
            kind, value, _ = token
            if kind == "word" and value == "AND":
                self._next += 1
                continue
            side = wanted
            if kind == "word" and value in ("NOT", "-"):
                side = unwanted
                self._next += 1
            elif kind == "word" and value[0] == "-":
                side = unwanted
                self._tokens[self._next] = ("word", value[1:], token[2] + 1)
            side.append(self._one(depth))
        if not wanted:
            raise _invalid(
                "The query says only what a row must not hold"
                if unwanted
                else "The query has no word to look for",
                "Add a word to look for." if unwanted else "Write a word, or “OR” between two.",
            )
        expression = wanted[0] if len(wanted) == 1 else f"({' AND '.join(wanted)})"
        return f"({expression} NOT ({' OR '.join(unwanted)}))" if unwanted else expression

    def _one(self, depth: int) -> str:
        token = self.peek()
        if token is None or token[:2] == ("paren", ")"):
            raise _invalid(
                "Nothing follows the last “-” or “NOT”", "Write the word that rows must not hold after it."
            )
        kind, value, at = token
        self._next += 1
        if kind == "paren":
            if depth >= _DEEPEST:
                raise _invalid(f"The query nests brackets over {_DEEPEST} deep", "Write it flatter.")
            inner = self.alternatives(depth + 1)
            if (end := self.peek()) is None or end[1] != ")" or end[0] != "paren":
                raise _invalid(f"The bracket at character {at + 1} is never closed", "Close it with “)”.")
            self._next += 1
            return inner
        prefix = value.endswith("*")
        words = value.rstrip("*")
        if kind == "phrase" and (following := self.peek()) and following == ("word", "*", following[2]):
            prefix = True
            self._next += 1
        if not any(unicodedata.category(character)[0] in "LN" for character in words):
            raise _invalid(
                f"“{value}” at character {at + 1} holds no letter or digit, and words are what is searched",
                "Search for exactly this text instead.",
            )
        if prefix and (alternatives := self._words_from(words)):
            return f"({' OR '.join(map(_quoted, alternatives))})"
        return f"{_quoted(words)} *" if prefix else _quoted(words)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """(kind, value, character) of each: word, phrase or paren."""
    text = text.replace("\0", " ")
    found: list[tuple[str, str, int]] = []
    at = 0
    while match := _TOKEN.match(text, at):
        begin = match.start(match.lastgroup or 0)
        at = match.end()
        if match["quote"] is None:
            found.append((match.lastgroup or "", match[match.lastgroup or 0], begin))
            continue
        end = text.find('"', at)
        if end < 0:
            raise _invalid(
                f"The quotation mark at character {begin + 1} is never closed",
                "Close the phrase with another one.",
            )
        found.append(("phrase", text[at:end], begin))
        at = end + 1
    if not found:
        raise _invalid("The query has no word to look for", "Write a word.")
    return found


def _quoted(words: str) -> str:
    return '"' + words.replace('"', '""') + '"'


def _invalid(what: str, hint: str) -> StudioError:
    return StudioError("query_invalid", f"{what}.", hint=hint, status=422, fields={"q": what})
