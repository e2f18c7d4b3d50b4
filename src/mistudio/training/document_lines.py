"""In which line of a TOML or JSON text each setting stands, for errors that point there.

The texts have been read by a real parser before: here nothing is checked.
"""

from __future__ import annotations

import json
import re
from typing import Any

Place = tuple[str | int, ...]
"""The way to a setting: keys of tables, and positions in lists."""

_PART = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*(\.?)""")
_TOML = re.compile(
    r'"""(?:\\.|(?!""").)*"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n]', re.S
)
_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')


def toml_lines(text: str) -> dict[Place, int]:
    """The line (from 1) of every table and key; what stands inside an inline table or list is not told apart."""
    found: dict[Place, int] = {(): 1}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, line in _statements(text):
        header = re.match(r"\s*(\[\[?)", line)
        if header:
            path: Place = tuple(_keys(line[header.end() :])[0])
            table = _within(path[:-1], counts) + path[-1:]
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                found.setdefault(table, number)
                table = (*table, counts[table])
            found[table] = number
            continue
        keys, rest = _keys(line)
        if keys and rest.lstrip().startswith("="):
            for length in range(1, len(keys) + 1):
                found.setdefault((*table, *keys[:length]), number)
    return found


def _within(path: Place, counts: dict[Place, int]) -> Place:
    """The place of a table that lies in arrays of tables: in the newest of each."""
    place: Place = ()
    for part in path:
        place = (*place, part)
        if place in counts:
            place = (*place, counts[place])
    return place


def _statements(text: str) -> list[tuple[int, str]]:
    """Lines that begin a statement, with their numbers: none that lie within a list, a table or a long text."""
    found: list[tuple[int, str]] = []
    depth, number, start = 0, 1, 0
    for match in [*_TOML.finditer(text + "\n")]:
        token = match[0]
        if token == "\n":
            if depth == 0:
                found.append((number, text[start : match.start()]))
                start = match.end()
                number += text[: match.end()].count("\n") + 1 - number
        elif token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
    return found


def _keys(text: str) -> tuple[list[str], str]:
    """The dotted key at the beginning, and what follows it."""
    keys: list[str] = []
    at = 0
    while match := _PART.match(text, at):
        word = match[1]
        keys.append(json.loads(word) if word[0] == '"' else word.strip("'"))
        at = match.end()
        if not match[2]:
            break
    return keys, text[at:]


def json_lines(text: str) -> dict[Place, int]:
    """The line (from 1) in which each value begins, every key's and list item's."""
    found: dict[Place, int] = {(): 1}
    stack: list[Any] = []  # of each open object its present key, of each open list its present position
    number = 1
    for match in _JSON.finditer(text):
        token = match[0]
        if token == "\n":
            number += 1
        elif token in "{[":
            _begin(found, stack, number)
            stack.append(0 if token == "[" else None)
        elif token in "}]":
            stack.pop()
        elif token == ",":
            stack[-1] = stack[-1] + 1 if isinstance(stack[-1], int) else None
        elif token != ":":
            if stack and stack[-1] is None:
                stack[-1] = json.loads(token)
                found.setdefault(tuple(stack), number)
            else:
                _begin(found, stack, number)
    return found


def _begin(found: dict[Place, int], stack: list[Any], number: int) -> None:
    found.setdefault(tuple(stack), number)
