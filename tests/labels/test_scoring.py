"""Scores against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.labels.scoring import auc, balanced_accuracy, score_predictions

Predictions = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=20)


@pytest.mark.slow
@given(positive=Predictions, negative=Predictions)
def test_auc_counts_pairs(positive: list[float], negative: list[float]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))
    assert auc(negative, positive) == pytest.approx(1 - auc(positive, negative))


@given(positive=Predictions, negative=Predictions)
def test_score_holds_its_parts(positive: list[float], negative: list[float]) -> None:
    groups = ["top" if i % 2 else "q1" for i in range(len(positive))]
    score = score_predictions("rule", positive, negative, groups, baselines=[0.4, 0.6])
    assert score.true_positive_rate == pytest.approx(sum(p > 0 for p in positive) / len(positive))
    assert score.true_negative_rate == pytest.approx(sum(n <= 0 for n in negative) / len(negative))
    assert score.balanced_accuracy == pytest.approx(balanced_accuracy(positive, negative))
    assert score.balanced_accuracy == pytest.approx((score.true_positive_rate + score.true_negative_rate) / 2)
    assert score.baseline == pytest.approx(0.5) and score.baseline_labels == 2
    weights = {group: groups.count(group) / len(groups) for group in set(groups)}
    assert sum(score.by_group[g] * w for g, w in weights.items()) == pytest.approx(score.true_positive_rate)


def test_constant_answers_are_chance() -> None:
    assert balanced_accuracy([1.0] * 7, [1.0] * 3) == 0.5
    assert balanced_accuracy([-1.0] * 7, [-1.0] * 3) == 0.5
    assert auc([1.0] * 7, [1.0] * 3) == 0.5
