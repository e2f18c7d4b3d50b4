"""What a labeller is shown of a feature, and what is kept from it for the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mistudio.features.schemas import GROUPS
from mistudio.labels.words import Passage, passage, token_texts
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.store import ExampleStore

_MOST_TESTED = 20


@dataclass(frozen=True)
class Evidence:
    """A feature's passages. The labeller sees `shown` and `shown_silent`; `held_out` and `held_out_silent` test it."""

    index: int
    shown: list[Passage]
    held_out: list[Passage]
    shown_silent: list[Passage]
    held_out_silent: list[Passage]


@dataclass(frozen=True)
class SilentContexts:
    """Random passages, and where each of some features is silent.

    active: [n_passages, n_features] bool. The first half may be shown to a labeller, the second tests its label.
    """

    passages: list[Passage]
    columns: dict[int, int]
    active: Any

    def of(self, index: int) -> tuple[list[Passage], list[Passage]]:
        """The passages in which the feature is silent: of the first half, and of the second."""
        silent = np.flatnonzero(~self.active[:, self.columns[index]]).tolist()
        half = len(self.passages) // 2
        return [self.passages[i] for i in silent if i < half], [self.passages[i] for i in silent if i >= half]


def collect(
    store: ExampleStore, tokenizer: ModelTokenizer, contexts: SilentContexts, index: int, seed: int
) -> Evidence:
    """Share a feature's examples and silent contexts out between the labeller and the test.

    Of each group (top, quarters of the strengths) half is held out, chosen by the seed; examples from a sequence that
    the labeller sees are not used to test. There are as many silent contexts in the test as examples, where enough
    are there. Raises IndexError for a feature that is not there.
    """
    page = store.page(index)
    made: list[tuple[int, Passage]] = []
    for number, (ids, activations) in enumerate(page.windows()):
        texts = token_texts(tokenizer, ids.tolist())
        group = GROUPS[int(page.group[number])]
        made.append((int(page.sequence[number]), passage(texts, activations.tolist(), group)))
    made = [(sequence, one) for sequence, one in made if one.words]
    draw = np.random.default_rng([seed, index])
    shown_at, held_at = _share_out([one.group for _, one in made], draw)
    seen = {made[i][0] for i in shown_at}
    held_out = [made[i][1] for i in held_at if made[i][0] not in seen]
    if len(held_out) > _MOST_TESTED:
        chosen = sorted(draw.choice(len(held_out), _MOST_TESTED, replace=False).tolist())
        held_out = [held_out[i] for i in chosen]
    shown_silent, test_silent = contexts.of(index)
    n = min(len(held_out), len(test_silent))
    picked = sorted(draw.choice(len(test_silent), n, replace=False).tolist())
    return Evidence(
        index, [made[i][1] for i in shown_at], held_out, shown_silent, [test_silent[i] for i in picked]
    )


def _share_out(groups: Sequence[str], draw: np.random.Generator) -> tuple[list[int], list[int]]:
    """Places of what is shown and of what is held out; a group's odd one is shown."""
    shown: list[int] = []
    held: list[int] = []
    for group in dict.fromkeys(groups):
        places = [i for i, one in enumerate(groups) if one == group]
        kept = set(draw.choice(len(places), len(places) // 2, replace=False).tolist())
        for number, place in enumerate(places):
            (held if number in kept else shown).append(place)
    return sorted(shown), sorted(held)
