"""Statistics of a text: slices are measured as they go by, and what they hold is added up."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mistudio.datasets.measures import Measures
from mistudio.datasets.statistics_schemas import (
    CharacterOut,
    CharactersOut,
    DuplicatesOut,
    LengthsOut,
    RepeatedTextOut,
    ShareOut,
)

PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
BINS = 48
_CODE_POINTS = 0x110000
_SHOWN = 200
_CLASSES = {
    "L": "letters",
    "M": "marks",
    "N": "digits",
    "P": "punctuation",
    "S": "symbols",
    "Z": "white space",
    "C": "control and other",
}
_SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85"


@dataclass
class Tally:
    """How often each whole number occurred; only those that did are kept."""

    values: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, values: NDArray[np.int64], counts: NDArray[np.int64] | None = None) -> None:
        """Add values, each once or as often as `counts` says."""
        everything = np.concatenate([self.values, values])
        weights = np.concatenate([self.counts, np.ones_like(values) if counts is None else counts])
        self.values, places = np.unique(everything, return_inverse=True)
        self.counts = np.zeros(len(self.values), np.int64)
        np.add.at(self.counts, places, weights)


@dataclass
class Sums:
    """What has been counted so far; adding is associative, so parts can be added in any order."""

    rows: int = 0
    missing: int = 0
    empty: int = 0
    blank: int = 0
    bytes: int = 0
    characters: Tally = field(default_factory=Tally)
    words: Tally = field(default_factory=Tally)
    code_points: Tally = field(default_factory=Tally)

    def add(self, measures: Measures) -> None:
        """Add a slice."""
        self.rows += len(measures.characters)
        self.missing += measures.missing
        self.empty += int(np.count_nonzero(measures.characters == 0))
        self.blank += int(np.count_nonzero(measures.words == 0))
        self.bytes += measures.bytes
        self.characters.add(measures.characters)
        self.words.add(measures.words)
        self.code_points.add(measures.code_points, measures.code_point_counts)

    def merge(self, other: Sums) -> None:
        """Add what another part has counted."""
        for name in ("rows", "missing", "empty", "blank", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("characters", "words", "code_points"):
            tally: Tally = getattr(other, name)
            getattr(self, name).add(tally.values, tally.counts)


def lengths(tally: Tally) -> LengthsOut:
    """Figures of a tally of lengths, of at least one row."""
    values, counts = tally.values, tally.counts
    rows, total = int(counts.sum()), int((values * counts).sum())
    mean = total / rows
    variance = float((counts * (values - mean) ** 2).sum()) / rows
    reached = np.cumsum(counts)
    percentiles = {
        str(p): int(values[np.searchsorted(reached, np.ceil(rows * p / 100))]) for p in PERCENTILES
    }
    low, high = int(values[0]), int(values[-1])
    logarithmic = high > 20 * max(1, percentiles["50"])
    edges = _edges(low, high, logarithmic)
    bins = np.searchsorted(edges, values, side="right") - 1
    binned = np.zeros(len(edges) - 1, np.int64)
    np.add.at(binned, bins, counts)
    return LengthsOut(
        total=total,
        mean=mean,
        deviation=variance**0.5,
        minimum=low,
        maximum=high,
        percentiles=percentiles,
        edges=edges.tolist(),
        counts=binned.tolist(),
        logarithmic=logarithmic,
    )


def _edges(low: int, high: int, logarithmic: bool) -> NDArray[np.int64]:
    """Whole numbers from `low` to beyond `high`, ascending, at most BINS + 1 of them."""
    if not logarithmic:
        step = max(1, -(-(high + 1 - low) // BINS))
        return np.arange(low, high + 1 + step, step, dtype=np.int64)
    edges = np.unique(np.round(np.geomspace(max(1, low), high + 1, BINS)).astype(np.int64))
    edges[-1] = high + 1
    return edges if low > 0 else np.concatenate([[0], edges])


def duplicates(
    hashes: NDArray[np.uint64], blank: NDArray[np.bool_], text_of: Callable[[int], str]
) -> tuple[DuplicatesOut, NDArray[np.int64]]:
    """Exact duplicates by the hash of every row, and the first row of each differing text (ascending).

    `text_of(row)` reads a row.
    """
    rows = np.flatnonzero(~blank)
    _, firsts, counts = np.unique(hashes[rows], return_index=True, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:10]
    repeated = [
        RepeatedTextOut(
            first_row=int(rows[firsts[i]]),
            count=int(counts[i]),
            text=text_of(int(rows[firsts[i]]))[:_SHOWN],
        )
        for i in most
        if counts[i] > 1
    ]
    found = DuplicatesOut(rows=len(rows) - len(firsts), texts=len(firsts), most_repeated=repeated)
    return found, np.sort(rows[firsts])


def characters(tally: Tally) -> CharactersOut:
    """Classes, scripts and the characters themselves."""
    classes: dict[str, int] = {}
    scripts: dict[str, int] = {}
    suspect: list[tuple[int, int]] = []
    pairs: list[tuple[int, int]] = list(zip(tally.values.tolist(), tally.counts.tolist(), strict=True))
    for point, count in pairs:
        character = chr(point)
        category = unicodedata.category(character)
        if character in _SPACES:
            category = "Zs"
        name = _CLASSES[category[0]]
        classes[name] = classes.get(name, 0) + count
        if category[0] == "L":
            script = _script(character)
            scripts[script] = scripts.get(script, 0) + count
        if category[0] == "C" or point == 0xFFFD:
            suspect.append((point, count))
    pairs.sort(key=lambda pair: -pair[1])
    suspect.sort(key=lambda pair: -pair[1])
    return CharactersOut(
        classes=shares(classes),
        scripts=shares(scripts)[:20],
        distinct=len(pairs),
        most_frequent=[_character(*pair) for pair in pairs[:40]],
        suspect=[_character(*pair) for pair in suspect[:20]],
    )


def shares(counts: dict[str, int]) -> list[ShareOut]:
    """Counts as shares of their sum, largest first."""
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [ShareOut(name=name, count=count, share=count / total) for name, count in ordered]


def _character(point: int, count: int) -> CharacterOut:
    control = {"\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\0": "NULL"}
    name = unicodedata.name(chr(point), "") or control.get(chr(point)) or f"U+{point:04X}"
    return CharacterOut(character=chr(point), name=name, count=count)


def _script(letter: str) -> str:
    first = unicodedata.name(letter, "UNNAMED").split()[0]
    if first in ("CJK", "IDEOGRAPHIC"):
        return "Han"
    if first in (
        "FULLWIDTH",
        "MATHEMATICAL",
        "MODIFIER",
        "DOUBLE-STRUCK",
        "SCRIPT",
        "BLACK-LETTER",
        "FEMININE",
        "MASCULINE",
        "MICRO",
        "SUPERSCRIPT",
        "SUBSCRIPT",
    ):
        return "Other letters"
    return first.capitalize()
