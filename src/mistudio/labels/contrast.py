"""Labels without a model: the words and contexts that set a feature's examples apart from other text.

Candidates are ranked by log odds with an informative Dirichlet prior (Monroe, Colaresi & Quinn 2008, "Fightin'
Words", eq. 16 and 22): with fy of n foreground and cy of N background words being w, and a prior of α0 words shared
out as the background is, δ = log((fy+α)/(n+α0-fy-α)) - log((cy+α)/(N+α0-cy-α)), variance ≈ 1/(fy+α) + 1/(cy+α), and
z = δ/√variance. Foreground words count by their activation as a share of the strongest one.

Out of the best candidates of each kind a label is built greedily: the condition that raises balanced accuracy on the
training passages most is added (an example counting by its activation, so that a label tells of the strong ones first),
while it raises it enough to be worth its words. A passage fits the label when any of
its conditions holds anywhere in it, which is just what the label says in words.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from mistudio.labels.words import BOUNDARY, LINE_BREAK, Passage, stem

Kind = Literal["word", "stem", "phrase", "ends", "begins", "after", "before", "class", "near"]
"""What a condition looks for; earlier kinds are preferred when two do equally well."""
_ORDER: tuple[Kind, ...] = ("word", "stem", "phrase", "class", "ends", "begins", "after", "before", "near")

_PRIOR_WORDS = 500.0
_LEAST_Z = 2.0
_PER_KIND = 12
_MOST_CONDITIONS = 5
_LEAST_GAIN = 0.04
_LEAST_ACCURACY = 0.6
_NEAR_BEFORE, _NEAR_AFTER = 24, 8
# What each kind must beat the kinds before it by: what it says is vaguer, or longer.
_HANDICAP: Mapping[Kind, float] = {
    "word": 0.0,
    "stem": 0.005,
    "phrase": 0.01,
    "class": 0.02,
    "ends": 0.02,
    "begins": 0.02,
    "after": 0.03,
    "before": 0.03,
    "near": 0.04,
}
_CLASSES = {
    "number": "numbers",
    "break": "line breaks",
    "capitals": "words in capitals",
    "name": "capitalised words",
}


_MARKS = {LINE_BREAK: "line break", BOUNDARY: "the start of a text"}


@dataclass(frozen=True)
class Condition:
    """One thing to look for. `forms` are what it is shown as; `weight` is its log likelihood ratio."""

    kind: Kind
    key: str
    forms: tuple[str, ...]
    weight: float = 0.0

    def holds(self, passage: Passage) -> bool:
        """Whether it is anywhere in the passage."""
        match self.kind:
            case "word" | "near":
                return self.key in passage.vocabulary
            case "after":
                return self.key in passage.keys[:-1]
            case "before":
                return self.key in passage.keys[1:]
            case "stem":
                return self.key in passage.stems
            case "phrase":
                return self.key in passage.phrases
            case "ends":
                return any(key.endswith(self.key) and key != self.key for key in passage.vocabulary)
            case "begins":
                return any(key.startswith(self.key) and key != self.key for key in passage.vocabulary)
            case "class":
                return any(self.key in classes for classes in passage.classes)


@dataclass(frozen=True)
class ContrastLabel:
    """A label that is also a rule. `text` is what people read."""

    conditions: tuple[Condition, ...]

    @property
    def text(self) -> str:
        """`“war”, “wars” · after “civil”`."""
        return describe(self.conditions)

    def score(self, passage: Passage) -> float:
        """Sum of the weights of the conditions that hold; 0 when none does, so that > 0 means “fires here”."""
        return sum(condition.weight for condition in self.conditions if condition.holds(passage))


@dataclass(frozen=True)
class Corpus:
    """How often words occur in ordinary text, counted once for all features."""

    words: Counter[str]
    total: int

    @classmethod
    def count(cls, passages: Iterable[Sequence[str]]) -> Corpus:
        """Count the words (keys) of passages."""
        words: Counter[str] = Counter()
        for keys in passages:
            words.update(keys)
        return cls(words, sum(words.values()))

    @cached_property
    def stemmed(self) -> Corpus:
        """The same counts by stem."""
        counts: Counter[str] = Counter()
        for key, n in self.words.items():
            counts[stem(key)] += n
        return Corpus(counts, self.total)


def log_odds(foreground: Mapping[str, float], corpus: Corpus) -> dict[str, float]:
    """z of each foreground word against the corpus (module docstring)."""
    n = sum(foreground.values())
    found: dict[str, float] = {}
    for word, fy in foreground.items():
        cy = corpus.words.get(word, 0)
        # A word that the corpus has never seen still gets the share of half an occurrence.
        alpha = _PRIOR_WORDS * max(cy, 0.5) / max(corpus.total, 1)
        rest_f, rest_c = n + _PRIOR_WORDS - fy - alpha, corpus.total + _PRIOR_WORDS - cy - alpha
        delta = math.log((fy + alpha) / max(rest_f, 1e-9)) - math.log((cy + alpha) / max(rest_c, 1e-9))
        found[word] = delta / math.sqrt(1 / (fy + alpha) + 1 / (cy + alpha))
    return found


def contrast_label(
    examples: Sequence[Passage], silent: Sequence[Passage], corpus: Corpus
) -> ContrastLabel | None:
    """A label for a feature that fires in `examples` and not in `silent`; None when nothing tells them apart."""
    if not examples or not silent:
        return None
    candidates = _candidates(examples, corpus)
    weights = [passage.words[passage.strongest].activation for passage in examples]
    positives = sum(weights)

    def share(hits: frozenset[int]) -> float:
        return sum(weights[i] for i in hits) / positives

    held = [
        (
            condition,
            frozenset(i for i, passage in enumerate(examples) if condition.holds(passage)),
            frozenset(i for i, passage in enumerate(silent) if condition.holds(passage)),
        )
        for condition in candidates
    ]
    chosen: list[Condition] = []
    hits: frozenset[int] = frozenset()
    false_hits: frozenset[int] = frozenset()
    reached = 0.5
    while len(chosen) < _MOST_CONDITIONS:
        best, best_value = None, reached + _LEAST_GAIN
        for condition, true, false in held:
            value = 0.5 * (share(hits | true) + 1 - len(false_hits | false) / len(silent))
            value -= _HANDICAP[condition.kind]
            if value > best_value:
                best, best_value = (condition, true, false), value
        if best is None:
            break
        condition, true, false = best
        hits, false_hits = hits | true, false_hits | false
        reached = 0.5 * (share(hits) + 1 - len(false_hits) / len(silent))
        ratio = (len(true) + 0.5) / (len(examples) + 1) / ((len(false) + 0.5) / (len(silent) + 1))
        chosen.append(Condition(condition.kind, condition.key, condition.forms, max(math.log(ratio), 0.01)))
        held = [one for one in held if one[0] is not condition]
    if reached < _LEAST_ACCURACY:
        return None
    return ContrastLabel(tuple(chosen))


def _candidates(examples: Sequence[Passage], corpus: Corpus) -> list[Condition]:
    """The best conditions of each kind by z, each supported by two examples (or by all, when there are fewer)."""
    strongest = max(p.words[p.strongest].activation for p in examples if p.words)
    weight: dict[Kind, Counter[str]] = defaultdict(Counter)
    support: dict[Kind, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    forms: dict[tuple[Kind, str], Counter[str]] = defaultdict(Counter)

    def note(kind: Kind, key: str, form: str, share: float, example: int) -> None:
        weight[kind][key] += share  # type: ignore[assignment]  (a Counter of floats)
        support[kind][key].add(example)
        forms[kind, key][form] += 1

    for number, passage in enumerate(examples):
        firing = set(passage.firing)
        for i in firing:
            word, share = passage.words[i], passage.words[i].activation / strongest
            note("word", word.key, word.text, share, number)
            if word.key[0].isalpha():
                note("stem", stem(word.key), word.text, share, number)
            for name in passage.classes[i]:
                note("class", name, _CLASSES[name], share, number)
            piece = word.piece.lower()
            if len(piece) >= 2 and piece.isalpha() and piece != word.key:
                if word.key.endswith(piece):
                    note("ends", piece, piece, share, number)
                elif word.key.startswith(piece):
                    note("begins", piece, piece, share, number)
            if i > 0:
                previous = passage.words[i - 1]
                note("after", previous.key, previous.text, share, number)
                if previous.key[0].isalnum() and word.key[0].isalnum():
                    note(
                        "phrase", f"{previous.key} {word.key}", f"{previous.text} {word.text}", share, number
                    )
            if i + 1 < len(passage.words):
                following = passage.words[i + 1]
                note("before", following.key, following.text, share, number)
        peak = passage.strongest
        seen: set[str] = set()
        for i in range(max(0, peak - _NEAR_BEFORE), min(len(passage.words), peak + _NEAR_AFTER)):
            word = passage.words[i]
            if i not in firing and word.key not in seen and word.key[0].isalpha() and len(word.key) > 3:
                seen.add(word.key)
                note("near", word.key, word.text, 1.0, number)

    least = min(2, len(examples))
    found: list[Condition] = []
    for kind in _ORDER:
        if kind in ("class", "ends", "begins", "phrase"):
            ranked = [(key, float(share)) for key, share in weight[kind].most_common()]
        elif kind == "stem":
            ranked = sorted(log_odds(weight[kind], corpus.stemmed).items(), key=lambda item: -item[1])
        else:
            ranked = sorted(log_odds(weight[kind], corpus).items(), key=lambda item: -item[1])
            ranked = [(key, z) for key, z in ranked if z >= _LEAST_Z]
        kept = [key for key, _ in ranked if len(support[kind][key]) >= least][:_PER_KIND]
        found += [Condition(kind, key, _shown(forms[kind, key])) for key in kept]
    return found


def _shown(forms: Counter[str]) -> tuple[str, ...]:
    """The usual spelling of each form, the commonest first; forms that differ in case only are one."""
    best: dict[str, str] = {}
    for form, _ in forms.most_common():
        best.setdefault(form.lower(), form)
    return tuple(best.values())[:3]


def describe(conditions: Sequence[Condition]) -> str:
    """Conditions as a short phrase, alike ones together, each form once."""
    named: dict[str, list[str]] = {}
    for kind in _ORDER:
        for condition in conditions:
            if condition.kind == kind:
                lead, shown = _phrase(condition)
                listed = named.setdefault(lead, [])
                listed += [form for form in shown if form not in listed]
    return " · ".join(f"{lead}{', '.join(listed)}" for lead, listed in named.items())


def _phrase(condition: Condition) -> tuple[str, list[str]]:
    quoted = [_MARKS.get(form[0], f"“{form}”") for form in condition.forms]
    match condition.kind:
        case "word" | "phrase":
            return "", quoted[:1]
        case "stem":
            return "", quoted
        case "class":
            return "", [_CLASSES[condition.key]]
        case "ends":
            return "words in ", [f"“-{condition.key}”"]
        case "begins":
            return "words in ", [f"“{condition.key}-”"]
        case "after" | "before" | "near":
            return f"{condition.kind} ", quoted[:1]
