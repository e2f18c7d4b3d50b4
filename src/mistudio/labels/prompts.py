"""What chat models are asked, and how their answers are read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from mistudio.labels.schemas import LabellingPrompt
from mistudio.labels.words import BOUNDARY, LINE_BREAK, Passage

Messages = list[dict[str, str]]

LONGEST_LABEL = 200
_SHOWN_BEFORE, _SHOWN_AFTER = 24, 8
_TESTED_WORDS = 48

_TEST_TASK = (
    "A feature inside a language model fires on some passages and is silent on others. You are given a description of "
    "what it fires on and numbered passages. For each passage decide whether the feature fires somewhere in it. Answer "
    "with a JSON list of 1 (fires) and 0 (silent), one number per passage, and nothing else."
)
_YES_NO_TASK = (
    "You are given a description and a passage. Decide whether the passage contains what is described. Answer Yes or "
    "No."
)
_LEAD = re.compile(r"^(?:label|phrase|answer|description|explanation)\s*[:：-]\s*", re.IGNORECASE)


_MARKS = {LINE_BREAK: "¶", BOUNDARY: "[start]"}


def excerpt(passage: Passage, *, marked: bool) -> str:
    """The part of a passage around its strongest word; `marked` puts firing words between « and »."""
    firing = set(passage.firing) if marked else set[int]()
    if passage.firing:
        peak = passage.strongest
        first, end = max(0, peak - _SHOWN_BEFORE), min(len(passage.words), peak + _SHOWN_AFTER + 1)
    else:
        first, end = 0, min(len(passage.words), _TESTED_WORDS)
    parts: list[str] = []
    for place in range(first, end):
        text = passage.words[place].text
        shown = _MARKS.get(text[0], text)
        shown = f"«{shown}»" if place in firing else shown
        glued = not parts or (len(text) == 1 and text in ".,;:!?)’'")
        parts.append(shown if glued else f" {shown}")
    return "".join(parts)


def label_messages(examples: Sequence[Passage], most: int, prompt: LabellingPrompt | None = None) -> Messages:
    """The request for a label: examples across the strengths, the strongest first."""
    prompt = prompt or LabellingPrompt()
    strongest = sorted(examples, key=lambda p: -p.words[p.strongest].activation)
    if len(strongest) > most:
        # The strongest half of what may be shown, and the rest spread over all strengths.
        top, rest = strongest[: (most + 1) // 2], strongest[(most + 1) // 2 :]
        step = len(rest) / max(most - len(top), 1)
        strongest = top + [rest[int(i * step)] for i in range(most - len(top))]
    lines = [f"{number}. {excerpt(one, marked=True)}" for number, one in enumerate(strongest, 1)]
    return _ask(prompt.task, *lines, *(["", prompt.question] if prompt.question else []))


def detection_messages(label: str, passages: Sequence[Passage]) -> Messages:
    """The request to say in which passages a label holds."""
    lines = [f"{number}. {_tested(one)}" for number, one in enumerate(passages, 1)]
    return _ask(_TEST_TASK, f"Description: {label}", "", *lines)


def yes_no_messages(label: str, passage: Passage) -> Messages:
    """The same about one passage, for models too small to keep a list."""
    return _ask(
        _YES_NO_TASK,
        f"Description: {label}",
        f"Passage: {_tested(passage)}",
        "Does the passage contain what is described?",
    )


def _ask(task: str, *lines: str) -> Messages:
    # One turn by the user: some chat templates refuse a system turn.
    return [{"role": "user", "content": "\n".join([task, "", *lines])}]


def _tested(passage: Passage) -> str:
    # Examples and silent passages are cut alike, so that their length gives nothing away.
    middle = passage.strongest if passage.firing else len(passage.words) // 2
    first = max(0, min(middle - _TESTED_WORDS * 2 // 3, len(passage.words) - _TESTED_WORDS))
    part = Passage(passage.text, passage.words[first : first + _TESTED_WORDS])
    return excerpt(Passage(part.text, tuple(type(w)(w.text) for w in part.words)), marked=False)


def read_label(answer: str) -> str | None:
    """The label in a chat model's answer: its first line that says something, without quotes; None without one."""
    for line in answer.splitlines():
        text = _LEAD.sub("", line.strip().strip("*#> ").strip())
        if text.endswith(":"):
            continue  # “The marked words are:” announces a label and is none
        text = text.strip().strip("\"'“”‘’«»`*").strip()
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        text = "".join(c for c in text if c.isprintable())
        if any(c.isalnum() for c in text):
            if len(text) > LONGEST_LABEL:
                text = text[:LONGEST_LABEL].rsplit(" ", 1)[0] + " …"
            return text
    return None


def read_marks(answer: str, n: int) -> list[float] | None:
    """The list of n marks in a model's answer as predictions, 1 for fires and -1 for silent; None when it is not."""
    for found in re.finditer(r"\[[\s\d,.]*\]", answer):
        try:
            marks = json.loads(found[0])
        except ValueError:
            continue
        if len(marks) == n and all(mark in (0, 1) for mark in marks):
            return [1.0 if mark else -1.0 for mark in marks]
    return None
