"""What a tokenization counts while it runs: each token, how long rows and sequences are, what was left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from mistudio.datasets.statistics import Tally, lengths
from mistudio.datasets.tokenization_schemas import DroppedExample, TokenFrequency, TokenizationStatistics
from mistudio.models.tokenizer import ModelTokenizer

Array = np.ndarray[Any, np.dtype[Any]]

EXAMPLES = 5
SHOWN_TOKENS = 100


class TokenizationCounts:
    """Everything that a tokenization's statistics are made of."""

    def __init__(self, vocab_size: int) -> None:
        self.tokens = np.zeros(vocab_size, np.int64)
        self.counts: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.examples: dict[str, list[DroppedExample]] = {}
        self.row_lengths, self.sequence_lengths = Tally(), Tally()

    def add_sequences(self, block: Array, sizes: Array) -> None:
        """Count sequences [n, context] of these real sizes [n]; what lies behind a sequence's end is padding."""
        if len(block) == 0:
            return
        self.add_tokens(block, sizes)
        self.sequence_lengths.add(sizes)
        self.counts["padding_tokens"] += block.size - int(sizes.sum())

    def add_tokens(self, block: Array, sizes: Array) -> None:
        """Count only the tokens of sequences, as a resumed run does with those on the disk."""
        width = block.shape[1]
        real = block.ravel() if int(sizes.min()) == width else block[np.arange(width) < sizes[:, None]]
        self.tokens += np.bincount(real, minlength=len(self.tokens))

    def add_example(self, reason: str, row: int, text: str) -> None:
        """Keep one of the first rows dropped for a reason."""
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(DroppedExample(row=row, text=text))

    def statistics(self, tokenizer: ModelTokenizer) -> TokenizationStatistics:
        """The figures."""
        used = np.flatnonzero(self.tokens)
        # By count, and by id where counts are equal, so that a run repeated says the same.
        order = used[np.argsort(-self.tokens[used], kind="stable")]
        # GPT-2 and its like name EOS as their unknown token, and have no use for one.
        named = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id}
        unknown = None if tokenizer.unknown_id in named else tokenizer.unknown_id
        special = [id for id in sorted(tokenizer.special_ids - {unknown}) if id < len(self.tokens)]
        counts = self.counts

        def shown(ids: Array) -> list[TokenFrequency]:
            return [
                TokenFrequency(id=id, text=tokenizer.text_of(id), count=int(self.tokens[id]))
                for id in ids.tolist()
            ]

        return TokenizationStatistics(
            rows_read=counts["rows_read"],
            rows_used=counts["rows_used"],
            characters=counts["characters"],
            text_tokens=counts["text_tokens"],
            dropped={why: number for why, number in self.dropped.items() if number},
            dropped_examples=self.examples,
            vocabulary_used=len(used),
            vocabulary_size=tokenizer.vocab_size,
            special_tokens=int(self.tokens[special].sum()),
            unknown_tokens=0 if unknown is None else int(self.tokens[unknown]),
            padding_tokens=counts["padding_tokens"],
            most_frequent=shown(order[:SHOWN_TOKENS]),
            least_frequent=shown(order[::-1][:SHOWN_TOKENS]),
            row_lengths=lengths(self.row_lengths) if len(self.row_lengths.values) else None,
            sequence_lengths=lengths(self.sequence_lengths) if len(self.sequence_lengths.values) else None,
        )

    @property
    def state(self) -> dict[str, Any]:
        """All but the counts of tokens, which are read again from the sequences on the disk; as JSON can hold it."""
        return {
            "counts": dict(self.counts),
            "dropped": dict(self.dropped),
            "examples": {why: [one.model_dump() for one in kept] for why, kept in self.examples.items()},
            "row_lengths": _state_of(self.row_lengths),
            "sequence_lengths": _state_of(self.sequence_lengths),
        }

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.counts, self.dropped = Counter(state["counts"]), Counter(state["dropped"])
        self.examples = {
            why: [DroppedExample.model_validate(one) for one in kept]
            for why, kept in state["examples"].items()
        }
        self.row_lengths, self.sequence_lengths = (
            Tally(*(np.array(part, np.int64) for part in state[name]))
            for name in ("row_lengths", "sequence_lengths")
        )


def _state_of(tally: Tally) -> list[list[int]]:
    return [tally.values.tolist(), tally.counts.tolist()]
