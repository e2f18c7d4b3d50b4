"""What is counted of tokens, against counting by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from mistudio.datasets.token_statistics import TokenizationCounts
from mistudio.models.tokenizer import ModelTokenizer


def tokenizer_in(folder: Path, **special: str) -> ModelTokenizer:
    words = ["<unk>", "<s>", "</s>", "a", "b", "c"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(words[:3])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return ModelTokenizer(folder)


BLOCKS = st.lists(
    st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=6
)  # sequences of up to 4 tokens


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    folder = tmp_path_factory.mktemp("words")
    return tokenizer_in(folder, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@given(batches=st.lists(BLOCKS, max_size=3))
def test_figures_are_those_counted_by_hand(tokenizer: ModelTokenizer, batches: list[list[list[int]]]) -> None:
    counts = TokenizationCounts(6)
    sequences = [sequence for batch in batches for sequence in batch]
    for batch in batches:
        block = np.full((len(batch), 4), 2, np.uint16)
        for row, sequence in zip(block, batch, strict=True):
            row[: len(sequence)] = sequence
        counts.add_sequences(block, np.array([len(sequence) for sequence in batch]))
        again = TokenizationCounts(6)  # as a resumed run does: tokens from the disk, the rest from the state
        again.tokens += counts.tokens
        again.state = json.loads(json.dumps(counts.state))
        counts = again
    found = counts.statistics(tokenizer)
    flat = [id for sequence in sequences for id in sequence]
    assert found.unknown_tokens == flat.count(0)
    assert found.special_tokens == flat.count(1) + flat.count(2)
    assert found.padding_tokens == 4 * len(sequences) - len(flat)
    assert found.vocabulary_used == len(set(flat)) and found.vocabulary_size == 6
    assert {one.id: one.count for one in found.most_frequent} == {id: flat.count(id) for id in set(flat)}
    assert found.least_frequent == found.most_frequent[::-1]
    if sequences:
        assert found.sequence_lengths is not None
        assert found.sequence_lengths.total == len(flat)
        assert found.sequence_lengths.maximum == max(map(len, sequences))


def test_an_unknown_token_that_is_eos_stands_for_nothing_unknown(tmp_path: Path) -> None:
    tokenizer: Any = tokenizer_in(tmp_path, unk_token="</s>", eos_token="</s>")
    counts = TokenizationCounts(6)
    counts.add_sequences(np.array([[3, 2, 4, 2]], np.uint16), np.array([4]))
    found = counts.statistics(tokenizer)
    assert (found.unknown_tokens, found.special_tokens) == (0, 2)
