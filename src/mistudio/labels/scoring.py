"""How well a label tells where its feature fires: on held-out examples and on contexts in which it is silent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mistudio.labels.schemas import ScoreDetail, ScoreMethod

SCORE_METHODS: dict[ScoreMethod, str] = {
    "rule": "The label is taken at its word: a passage counts as recognised when one of the words or contexts that the "
    "label lists is in it. Tested on examples that the labeller was not shown (top ones and random ones from each "
    "quarter of the strengths), and on as many random passages in which the feature is silent.",
    "detection": "The labelling model is given the label and one passage after another, and says whether the feature "
    "fires in it (detection as defined by Delphi: Paulo et al. 2024, arXiv 2410.13928). Tested on examples that it was "
    "not shown, and on as many random passages in which the feature is silent.",
}
LEAST_CONTEXTS = 3
"""Fewer held-out examples or silent contexts than this are no test."""


def score_predictions(
    method: ScoreMethod,
    positive: Sequence[float],
    negative: Sequence[float],
    groups: Sequence[str],
    *,
    baselines: Sequence[float] = (),
) -> ScoreDetail:
    """Rates, balanced accuracy and AUC of predictions, where > 0 means “fires here”.

    positive: predictions on held-out examples, whose groups are `groups`; negative: on silent contexts.
    balanced accuracy = (true positive rate + true negative rate) / 2. AUC = P(positive > negative) + ½P(equal), over
    all pairs. baselines: balanced accuracies of other features' labels on the same contexts.
    """
    hits = np.asarray(positive, float) > 0
    true_positive, true_negative = float(hits.mean()), float((np.asarray(negative, float) <= 0).mean())
    by_group: dict[str, list[bool]] = defaultdict(list)
    for group, hit in zip(groups, hits.tolist(), strict=True):
        by_group[group].append(hit)
    return ScoreDetail(
        method=method,
        balanced_accuracy=(true_positive + true_negative) / 2,
        true_positive_rate=true_positive,
        true_negative_rate=true_negative,
        auc=auc(positive, negative),
        n_positive=len(positive),
        n_negative=len(negative),
        baseline=float(np.mean(baselines)) if baselines else None,
        baseline_labels=len(baselines),
        by_group={group: sum(found) / len(found) for group, found in by_group.items()},
    )


def balanced_accuracy(positive: Sequence[float], negative: Sequence[float]) -> float:
    """(true positive rate + true negative rate) / 2 of predictions, where > 0 means “fires here”."""
    return 0.5 * (
        float((np.asarray(positive, float) > 0).mean()) + float((np.asarray(negative, float) <= 0).mean())
    )


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a positive is ranked above a negative, ties counting half (Mann-Whitney U / n₁n₂)."""
    pos, neg = np.asarray(positive, float)[:, None], np.asarray(negative, float)[None, :]
    return float((pos > neg).mean() + 0.5 * (pos == neg).mean())
