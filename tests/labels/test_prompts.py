"""What chat models are shown, and how their answers are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.labels.prompts import (
    LONGEST_LABEL,
    detection_messages,
    excerpt,
    label_messages,
    read_label,
    read_marks,
    yes_no_messages,
)
from tests.labels.passages import fires, silent


def test_firing_words_are_marked_for_labels_and_never_for_tests() -> None:
    passage = fires("x the civil «war», he said x")
    assert excerpt(passage, marked=True) == "the civil «war», he said"
    (message,) = label_messages([passage], 5)
    assert "civil «war»" in message["content"]
    for (asked,) in (
        detection_messages("wars", [passage, silent("a b c")]),
        yes_no_messages("wars", passage),
    ):
        assert "civil war" in asked["content"] and "«war»" not in asked["content"]
        assert "Description: wars" in asked["content"]


def test_examples_are_spread_over_the_strengths() -> None:
    passages = [fires(f"x the «w{i}» x", activation=100.0 - i) for i in range(40)]
    (message,) = label_messages(passages, 8)
    shown = [i for i in range(40) if f"«w{i}»" in message["content"]]
    assert len(shown) == 8 and shown[:4] == [0, 1, 2, 3] and shown[-1] > 30


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("references to war", "references to war"),
        ("Label: “Words about war.”", "Words about war"),
        ("\n\n**Answer:** the U.S. Senate", "the U.S. Senate"),
        ("The marked words are:\n- military terms", "- military terms"),
        ("", None),
        ("\n ...\n", None),
        ("The marked words are:", None),
    ],
)
def test_answers_become_labels(answer: str, label: str | None) -> None:
    assert read_label(answer) == label


@given(st.text(max_size=400))
def test_any_answer_is_a_clean_label_or_none(answer: str) -> None:
    label = read_label(answer)
    assert label is None or (label.strip() and label.isprintable() and len(label) <= LONGEST_LABEL + 2)


def test_marks_are_read_strictly() -> None:
    assert read_marks("Sure: [1, 0, 1]", 3) == [1.0, -1.0, 1.0]
    assert read_marks("[1, 0]", 3) is None
    assert read_marks("[1, 2, 0]", 3) is None
    assert read_marks("yes, no, yes", 3) is None
