"""Which languages a sample of rows is in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from mistudio.datasets.statistics import shares
from mistudio.datasets.statistics_schemas import LanguagesOut

SAMPLE = 5_000
CHARACTERS = 300
_LEAST_LETTERS = 20
_CERTAIN = 0.5


def languages(
    texts: Sequence[str], n_rows: int, check: Callable[[int], None] = lambda done: None
) -> LanguagesOut:
    """Languages of a random sample of the `n_rows` rows; `check(done)` is called now and then."""
    counted: Counter[str] = Counter()
    for number, text in enumerate(texts):
        if number % 50 == 0:
            check(number)
        counted[language_of(text)] += 1
    found = shares(dict(counted)) if counted else []
    n = max(1, len(texts))
    # Drawn without replacement: the error vanishes when the sample is everything.
    unseen = math.sqrt(max(0.0, (n_rows - len(texts)) / max(1, n_rows - 1)))
    error = max((math.sqrt(one.share * (1 - one.share) / n) for one in found), default=0.0) * unseen
    return LanguagesOut(sampled=len(texts), shares=found, standard_error=error)


def language_of(text: str) -> str:
    """The ISO 639-1 code of a text's language, `short`, or `uncertain`."""
    beginning = text[:CHARACTERS]
    if sum(character.isalpha() for character in beginning) < _LEAST_LETTERS:
        return "short"
    code, probability = _identifier().classify(beginning)
    return str(code) if probability >= _CERTAIN else "uncertain"


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
