"""What every source of labels does: find a label for a feature's evidence, and say where a label holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mistudio.labels.contrast import ContrastLabel, Corpus, contrast_label
from mistudio.labels.evidence import Evidence
from mistudio.labels.schemas import ScoreMethod
from mistudio.labels.words import Passage

Check = Callable[[], None]
"""Called now and then; raises when the work is to end."""


@dataclass(frozen=True)
class Found:
    """A label. `rule` is there when the label is one."""

    text: str
    rule: ContrastLabel | None = None


@dataclass(frozen=True)
class Failed:
    """Why a feature has no label, in words. `skipped`: nothing went wrong, there is just nothing to say."""

    reason: str
    skipped: bool = False


@dataclass(frozen=True)
class Question:
    """Does this label hold in each of these passages?"""

    label: Found
    passages: Sequence[Passage]


class Labeller(Protocol):
    """A source of labels. Answers are in the order of what was asked."""

    source: str
    method: ScoreMethod
    others: int
    """How many other labels are tested on each feature's passages, for the baseline."""

    def find(self, evidence: Sequence[Evidence], check: Check) -> list[Found | Failed]:
        """A label for each feature. What fails is reported, never made into a label."""
        ...

    def hold(self, questions: Sequence[Question], check: Check) -> list[list[float] | Failed]:
        """For each question a prediction per passage: > 0 means that the feature fires in it."""
        ...


class ContrastLabeller:
    """Labels without a model (`mistudio.labels.contrast`)."""

    source = "machine:contrast"
    method: ScoreMethod = "rule"
    others = 5

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def find(self, evidence: Sequence[Evidence], check: Check) -> list[Found | Failed]:
        """The words and contexts that set the examples apart; Failed where nothing does."""
        found: list[Found | Failed] = []
        for one in evidence:
            check()
            rule = contrast_label(one.shown, one.shown_silent, self._corpus)
            if rule is not None:
                found.append(Found(rule.text, rule))
            elif not one.shown_silent:
                found.append(
                    Failed("it fires in every passage, so nothing sets its examples apart", skipped=True)
                )
            else:
                found.append(
                    Failed("no word or context sets its examples apart from other text", skipped=True)
                )
        return found

    def hold(self, questions: Sequence[Question], check: Check) -> list[list[float] | Failed]:
        """What the label says, taken at its word."""
        check()
        return [
            [one.label.rule.score(passage) if one.label.rule else 0.0 for passage in one.passages]
            for one in questions
        ]
