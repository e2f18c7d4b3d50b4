"""Token sequences: from arrays, lists, stores and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.engine import HarvestSettings, TokensUnfit, pack_texts
from mistudio.engine.sequences import TokenArray, as_sequences, sequence_order
from mistudio.lm import LanguageModel
from mistudio.store import TokenStore, TokenStoreWriter
from tests.engine.conftest import some_tokens


def rows(sequences: Any) -> list[list[int]]:
    ids, lengths = sequences.take(np.arange(sequences.n_sequences))
    return [ids[i, :n].tolist() for i, n in enumerate(lengths)]


def test_tensors_arrays_and_lists_are_the_same_sequences(model: LanguageModel) -> None:
    tokens = some_tokens(7)
    forms = [tokens, tokens.numpy(), tokens.tolist(), list(tokens), iter(tokens.tolist())]
    found = [as_sequences(form, model) for form in forms]
    assert len({s.digest for s in found}) == 1
    for sequences in found:
        assert rows(sequences) == tokens.tolist()
        assert (sequences.n_sequences, sequences.n_tokens, sequences.context, sequences.bos_id) == (
            7,
            112,
            16,
            0,
        )
    assert as_sequences(tokens.flip(0), model).digest != found[0].digest


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=9), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_lists_of_any_lengths(lists: list[list[int]]) -> None:
    sequences = TokenArray.of_lists(lists)
    assert rows(sequences) == lists
    assert sequences.n_tokens == sum(map(len, lists))
    assert TokenArray.of_lists([*lists[:-1], [*lists[-1], 0]]).digest != sequences.digest


def test_what_are_no_sequences_is_said(model: LanguageModel) -> None:
    bad: list[tuple[Any, str]] = [
        ([], "no token sequences"),
        ([1, 2, 3], "flat list"),
        ([[1, 2], []], "Sequence 1"),
        (torch.zeros(3), r"\[3\]"),
        (torch.zeros(3, 4), "float32"),
        (["a text", 5], "Text 1 is a int"),
        ("", "hold no token"),
    ]
    for tokens, message in bad:
        with pytest.raises(TokensUnfit, match=message):
            as_sequences(tokens, model)


def test_texts_are_joined_by_eos_and_cut_with_nothing_lost(model: LanguageModel) -> None:
    tokenizer = model.tokenizer
    texts = ["def one(self): return 1", "", "import torch  # two", "x" * 40]
    expected: list[int] = []
    for text in texts:
        expected += [*tokenizer(text, add_special_tokens=False)["input_ids"], 1]
    packed = pack_texts(tokenizer, iter(texts), context=8)
    assert packed.bos_id is None
    assert [token for row in rows(packed) for token in row] == expected
    assert {len(row) for row in rows(packed)[:-1]} == {8}
    one = as_sequences("def one(self): return 1", model, context=8)
    assert [token for row in rows(one) for token in row] == [*tokenizer(texts[0])["input_ids"], 1]


def test_a_tokenizer_that_begins_with_bos_does_so_in_every_sequence() -> None:
    class Tokenizer:
        bos_token_id, eos_token_id = 9, None

        def __call__(self, texts: Any, add_special_tokens: bool = True, verbose: bool = True) -> Any:
            if isinstance(texts, str):
                return {"input_ids": [9, *texts.encode()]}
            return {"input_ids": [list(text.encode()) for text in texts]}

    packed = pack_texts(Tokenizer(), ["abcdefg", "hi"], context=4)
    assert rows(packed) == [[9, *b"abc"], [9, *b"def"], [9, *b"ghi"]]
    assert packed.bos_id == 9
    with pytest.raises(TokensUnfit, match="no room for text"):
        pack_texts(Tokenizer(), ["abc"], context=1)


def test_a_store_is_taken_as_it_is_and_has_a_digest(model: LanguageModel, tmp_path: Path) -> None:
    def store(name: str, tokens: Any) -> TokenStore:
        with TokenStoreWriter(tmp_path / name, context=16, vocab_size=512, tokenizer="t") as out:
            out.append(tokens.numpy(), np.arange(len(tokens)), np.zeros(len(tokens), np.int64))
        return TokenStore(tmp_path / name)

    one, same, other = (
        store("a", some_tokens(5)),
        store("b", some_tokens(5)),
        store("c", some_tokens(5, seed=1)),
    )
    assert as_sequences(one, model) is one
    assert one.digest == same.digest != other.digest


def test_the_order_is_seeded_and_shuffled() -> None:
    sequences, shuffled = TokenArray(some_tokens(100)), HarvestSettings(seed=3)
    order = sequence_order(sequences, shuffled).tolist()
    assert order == sequence_order(sequences, shuffled).tolist()
    assert sorted(order) == list(range(100))
    assert order != sequence_order(sequences, HarvestSettings(seed=4)).tolist()
    assert order != sequence_order(sequences, shuffled, epoch=1).tolist()
    assert sequence_order(sequences, HarvestSettings(order="sequential"), epoch=2).tolist() == list(
        range(100)
    )
