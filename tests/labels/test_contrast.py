"""Labels without a model: what they say, and that they say nothing when there is nothing to say."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.labels.contrast import Corpus, contrast_label, log_odds
from mistudio.labels.words import Passage
from tests.labels.passages import fires, silent

TEXT = (
    "the people of our country have made great progress in trade and peace with all nations of the world during the "
    "year that has passed and congress will be asked to consider what laws may be needed for the common good"
)
FILLER = TEXT.split()


def filler(seed: int, n: int = 14) -> str:
    return " ".join(random.Random(seed).choices(FILLER, k=n))


def example(seed: int, marked: str, *, before: str = "", after: str = "", **options: object) -> Passage:
    """The marked words in the middle of filler."""
    return fires(f"x {filler(seed)} {before} {marked} {after} {filler(seed + 500)} x", **options)  # type: ignore[arg-type]


SILENT = [silent(f"x {filler(seed, 28)} x") for seed in range(1000, 1064)]
CORPUS = Corpus.count(passage.keys for passage in SILENT)


def label_of(examples: list[Passage], others: list[Passage] = SILENT) -> str | None:
    found = contrast_label(examples, others, CORPUS)
    return found.text if found is not None else None


def test_a_word_and_its_forms() -> None:
    forms = ["war", "war", "War", "wars", "wars", "war", "war", "wars"]
    assert label_of([example(i, f"«{form}»") for i, form in enumerate(forms)]) == "“war”, “wars”"


def test_different_words_the_commoner_first() -> None:
    words = ["silver"] * 6 + ["gold"] * 4
    assert label_of([example(i, f"«{word}»") for i, word in enumerate(words)]) == "“silver”, “gold”"


def test_what_comes_after_a_word() -> None:
    varied = [
        "engineering",
        "service",
        "rights",
        "courts",
        "unrest",
        "liberty",
        "strife",
        "law",
        "life",
        "war",
    ]
    assert (
        label_of([example(i, f"«{word}»", before="civil") for i, word in enumerate(varied)])
        == "after “civil”"
    )


def test_a_word_that_counts_in_one_phrase_only() -> None:
    examples = [example(i, "«states»", before="united") for i in range(8)]
    others = [silent(f"x {filler(i)} several states {filler(i + 90)} x") for i in range(40)] + SILENT[:24]
    assert label_of(examples, others) in ("“united states”", "after “united”")


def test_pieces_of_words() -> None:
    stems = ["ratif", "nullif", "pacif", "codif", "justif", "unif", "modif", "notif"]
    examples = [
        Passage(
            p.text,
            tuple(w if not w.activation else type(w)(w.text, w.activation, "ication") for w in p.words),
            "top",
        )
        for p in (example(i, f"«{one}ication»") for i, one in enumerate(stems))
    ]
    assert label_of(examples) == "words in “-ication”"


def test_numbers_and_line_breaks() -> None:
    assert label_of([example(i, f"«{1800 + 7 * i}»") for i in range(8)]) == "numbers"
    assert label_of([example(i, "«\n\n»") for i in range(8)]) == "line break"


def test_a_topic_when_no_word_of_its_own_fires_it() -> None:
    varied = ["metal", "mint", "dollar", "paper", "standard", "price", "value", "ounce", "bank", "debt"]
    examples = [
        example(i, f"«{word}»", before="coinage was debated when the") for i, word in enumerate(varied)
    ]
    label = label_of(examples)
    assert label is not None and ("coinage" in label or "debated" in label)


def test_strong_examples_count_for_more() -> None:
    examples = [example(i, "«Barbary»", activation=10.0) for i in range(6)]
    examples += [example(50 + i, "«which»", activation=1.0) for i in range(10)]
    label = label_of(examples)
    assert label is not None and label.startswith("“Barbary”")


def test_nothing_is_said_when_nothing_sets_the_examples_apart() -> None:
    rng = random.Random(4)
    examples = []
    for seed in range(12):
        words = filler(seed, 28).split()
        place = rng.randrange(len(words))
        words[place] = f"«{words[place]}»"
        examples.append(fires(f"x {' '.join(words)} x"))
    assert label_of(examples) is None
    assert contrast_label([], SILENT, CORPUS) is None
    assert contrast_label(examples, [], CORPUS) is None


def test_the_rule_is_what_the_label_says() -> None:
    found = contrast_label([example(i, "«war»") for i in range(8)], SILENT, CORPUS)
    assert found is not None and found.text == "“war”"
    assert found.score(silent("x no War was declared x")) > 0
    assert found.score(silent("x no warrant was declared x")) == 0


@settings(deadline=None, max_examples=30)
@given(
    marks=st.lists(
        st.sampled_from(["war", "gold", "Peace", "1812", "don't", ",", "\n", "a"]), min_size=1, max_size=12
    ),
    seed=st.integers(0, 1000),
)
def test_any_evidence_gives_a_readable_label_or_none(marks: list[str], seed: int) -> None:
    text = label_of([example(seed + i, f"«{mark}»") for i, mark in enumerate(marks)])
    if text is not None:
        assert text.strip() and "\n" not in text and len(text) < 300


def test_log_odds_are_those_of_the_paper() -> None:
    corpus = Corpus.count([["a"] * 90 + ["b"] * 10])
    z = log_odds({"b": 5.0, "c": 1.0}, corpus)
    alpha, n = 500 * 10 / 100, 6.0
    delta = math.log((5 + alpha) / (n + 500 - 5 - alpha)) - math.log((10 + alpha) / (100 + 500 - 10 - alpha))
    assert z["b"] == pytest.approx(delta / math.sqrt(1 / (5 + alpha) + 1 / (10 + alpha)))
    assert log_odds({"a": 9.0, "b": 1.0}, corpus)["a"] == pytest.approx(0.0, abs=1e-9)
