"""The language in which lists of runs are filtered, from text to a tree. Knows no database and no field.

    d_sae>=8192 layer:6,7 (state:running OR fvu<0.2) -tag:bad name~"first try" quick

Conditions side by side must all hold; `OR` between them asks for one, `-` before one for its opposite, parentheses
group. A condition is NAME OPERATOR VALUE, or text that the run's name, hook point or notes must contain. Values with
spaces stand in quotation marks; several with commas between mean any of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mistudio.errors import StudioError

OPERATORS = (">=", "<=", "!=", ":", "=", "<", ">", "~")
MOST_CHARACTERS = 2_000
DEEPEST = 40

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_OPERATOR = re.compile(r"\s*(>=|<=|!=|=|<|>|~)\s*|:")
_WORD = re.compile(r"[^\s()\",]+")
_TEXT = re.compile(r"[^\s()\"]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


class FilterError(StudioError):
    """A filter that cannot be understood; `fields` says from which character to which (from 0, end excluded)."""

    status = 422

    def __init__(self, message: str, start: int, end: int, *, hint: str | None = None) -> None:
        super().__init__(
            "filter_invalid",
            message,
            hint=hint,
            fields={"filter": message, "filter.start": str(start), "filter.end": str(max(end, start))},
        )
        self.start = start
        self.end = max(end, start)


@dataclass(frozen=True)
class Text:
    """Text that the run's name, hook point or notes must contain."""

    text: str
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Term:
    """`name operator value`; of several values one must hold."""

    name: str
    operator: str
    values: tuple[str, ...]
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Not:
    """The opposite."""

    inner: Filter


@dataclass(frozen=True)
class And:
    """All of them; of none, everything."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """At least one of them."""

    parts: tuple[Filter, ...]


Filter = Text | Term | Not | And | Or


def parse(text: str) -> Filter:
    """The tree of a filter; an empty one is `And(())`. Raises FilterError with the place that is wrong."""
    if len(text) > MOST_CHARACTERS:
        raise FilterError(
            f"The filter has {len(text):,} characters, and at most {MOST_CHARACTERS:,} are read.",
            MOST_CHARACTERS,
            len(text),
        )
    reader = _Reader(text)
    found = reader.either(0)
    if not reader.ended:
        raise FilterError(
            "There is a “)” that nothing opened.",
            reader.at,
            reader.at + 1,
            hint="Remove it, or put a “(” before.",
        )
    return found


def render(tree: Filter) -> str:
    """A filter as text that parses to the same tree."""
    match tree:
        case Text(text):
            return _quoted(text)
        case Term(name, operator, values):
            return f"{name}{operator}{','.join(_quoted(value) for value in values)}"
        case Not(inner):
            return f"-{_grouped(inner)}"
        case And(parts):
            return " ".join(_grouped(part) for part in parts)
        case Or(parts):
            return " OR ".join(_grouped(part) for part in parts)


def both(one: str, other: str) -> str:
    """The text of a filter that asks for both: either may be empty."""
    parts = [part.strip() for part in (one, other) if part.strip()]
    return parts[0] if len(parts) == 1 else " ".join(f"({part})" for part in parts)


def _grouped(tree: Filter) -> str:
    return f"({render(tree)})" if isinstance(tree, (And, Or)) else render(tree)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip()

    @property
    def ended(self) -> bool:
        return self.at >= len(self.text)

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _keyword(self, word: str) -> bool:
        """Take `OR` when it stands here by itself."""
        end = self.at + len(word)
        alone = end >= len(self.text) or self.text[end].isspace() or self.text[end] in "()"
        if self.text[self.at : end] != word or not alone:
            return False
        self.at = end
        self._skip()
        return True

    def either(self, depth: int) -> Filter:
        """Alternatives up to the end or a closing parenthesis."""
        parts = [self._all(depth)]
        start = self.at
        while self._keyword("OR"):
            parts.append(self._all(depth))
            if And(()) in parts:
                raise FilterError("OR needs a condition on both sides.", start, start + 2)
            start = self.at
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self, depth: int) -> Filter:
        parts: list[Filter] = []
        while not self.ended and self.text[self.at] != ")":
            start = self.at
            if self._keyword("OR"):
                self.at = start
                break
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self, depth: int) -> Filter:
        start = self.at
        if depth > DEEPEST:
            raise FilterError("The filter is nested too deeply.", start, start + 1)
        if self.text[start] == "-":
            self.at += 1
            if self.ended or self.text[self.at].isspace() or self.text[self.at] == ")":
                raise FilterError(
                    "“-” asks for the opposite of what follows it, and nothing does.",
                    start,
                    start + 1,
                    hint="Write the condition right behind it, such as -tag:bad.",
                )
            return Not(self._one(depth + 1))
        if self.text[start] == "(":
            self.at += 1
            self._skip()
            inner = self.either(depth + 1)
            if self.ended:
                raise FilterError("This “(” is never closed.", start, start + 1, hint="Put a “)” behind.")
            self.at += 1
            if inner == And(()):
                raise FilterError("Between these parentheses stands no condition.", start, self.at)
            self._skip()
            return inner
        return self._term()

    def _term(self) -> Filter:
        start = self.at
        name = _NAME.match(self.text, start)
        if name:
            operator = _OPERATOR.match(self.text, name.end())
            if operator:
                self.at = operator.end()
                values = self._values(name.group(), start)
                end = self.at
                self._skip()
                return Term(name.group(), operator.group().strip(), values, start, end)
        if self.text[start] == '"':
            text = self._string()
        else:
            word = _TEXT.match(self.text, start)
            assert word is not None
            text, self.at = word.group(), word.end()
        end = self.at
        self._skip()
        return Text(text, start, end)

    def _values(self, name: str, start: int) -> tuple[str, ...]:
        values: list[str] = []
        while True:
            word = _WORD.match(self.text, self.at)
            if self.at < len(self.text) and self.text[self.at] == '"':
                values.append(self._string())
            elif word:
                values.append(word.group())
                self.at = word.end()
            else:
                raise FilterError(
                    f"“{name}” is compared with nothing.",
                    start,
                    max(self.at, start + 1),
                    hint="Write a value right behind the operator; one with spaces in quotation marks.",
                )
            if self.at < len(self.text) and self.text[self.at] == ",":
                self.at += 1
                continue
            return tuple(values)

    def _string(self) -> str:
        found = _QUOTED.match(self.text, self.at)
        if found is None:
            raise FilterError("This quotation mark is never closed.", self.at, len(self.text))
        self.at = found.end()
        return re.sub(r"\\(.)", r"\1", found.group(1), flags=re.DOTALL)
