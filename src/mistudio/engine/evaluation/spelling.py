"""The first-letter task: words of a model's vocabulary, each shown after ten worked examples.

Prompts read "\\n{word} has the first letter: {L}" ten times and then the word, at whose token activations are taken
(Chanin et al. 2024, "A is for Absorption", arXiv 2409.14507; template and number of examples of SAEBench 0.6.0).
SAEBench draws new examples for every word; here words share some lists of examples, so that each costs one position.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mistudio.lm.model import LanguageModel
from mistudio.lm.prefix import SharedTexts

LETTERS = "abcdefghijklmnopqrstuvwxyz"
EXAMPLES = 10
TEMPLATE = "{word} has the first letter:"


@dataclass(frozen=True)
class Word:
    """A token of the vocabulary that is one word, perhaps with a space before it."""

    id: int
    text: str

    @property
    def letter(self) -> int:
        """0 for a … 25 for z."""
        return LETTERS.index(self.text.strip()[0].lower())


@dataclass(frozen=True)
class SpellingHalf:
    """Training or test words with their letters [n] and their activations [n, d] by hook."""

    words: list[Word]
    letters: Tensor
    activations: dict[str, Tensor]


def words_of(tokenizer: Any) -> list[Word]:
    """Tokens that consist of ASCII letters, perhaps after one space, and that their own text is tokenized to."""
    found: list[Word] = []
    for token, id in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        text = tokenizer.convert_tokens_to_string([token])
        if token.startswith("▁") and not text.startswith(" "):
            text = f" {text}"
        bare = text.removeprefix(" ")
        if bare and bare.isascii() and bare.isalpha():
            found.append(Word(id, text))
    alone = tokenizer([word.text for word in found], add_special_tokens=False)["input_ids"]
    return [word for word, ids in zip(found, alone, strict=True) if ids == [word.id]]


def spelling_data(
    model: LanguageModel, hooks: Sequence[str], *, words: int, prompts: int, seed: int
) -> tuple[SpellingHalf, SpellingHalf]:
    """Four fifths of (at most `words`) words to train on, one fifth to test on, with their activations.

    `prompts` lists of examples serve each half, taken from its own words; no word is shown after itself.
    """
    draw = random.Random(seed)
    chosen = words_of(model.tokenizer)
    draw.shuffle(chosen)
    chosen = chosen[:words]
    cut = int(len(chosen) * 0.8)
    train, test = (_half(model, hooks, part, prompts, draw) for part in (chosen[:cut], chosen[cut:]))
    return train, test


def example_text(examples: Sequence[Word]) -> str:
    """Worked examples, and the line break after which the word comes."""
    lines = [f"{TEMPLATE.format(word=e.text)} {LETTERS[e.letter].upper()}" for e in examples]
    return "\n" + "\n".join(lines) + "\n"


def _half(
    model: LanguageModel, hooks: Sequence[str], words: list[Word], prompts: int, draw: random.Random
) -> SpellingHalf:
    if len(words) <= EXAMPLES:
        return SpellingHalf([], torch.zeros(0, dtype=torch.long), {h: torch.zeros(0, 0) for h in hooks})
    lists = [draw.sample(words, EXAMPLES) for _ in range(prompts)]
    groups: list[list[int]] = [[] for _ in lists]
    for index, word in enumerate(words):
        first = draw.randrange(prompts)
        order = [(first + step) % prompts for step in range(prompts)]
        # With one list alone, its own examples have to be shown after themselves.
        groups[next((g for g in order if word not in lists[g]), first)].append(index)
    bos = model.tokenizer.bos_token_id
    texts = SharedTexts(model, hooks)
    found: dict[str, list[Tensor]] = {hook: [] for hook in hooks}
    for examples, group in zip(lists, groups, strict=True):
        if not group:
            continue
        ids = model.tokenizer(example_text(examples), add_special_tokens=False)["input_ids"]
        prompt = [*([] if bos is None else [bos]), *ids]
        for hook, seen in texts.followed_by(prompt, torch.tensor([words[i].id for i in group])).items():
            found[hook].append(seen.float())
    order = torch.tensor([index for group in groups for index in group]).argsort()
    activations = {hook: torch.cat(parts)[order.to(parts[0].device)] for hook, parts in found.items()}
    return SpellingHalf(words, torch.tensor([word.letter for word in words]), activations)
