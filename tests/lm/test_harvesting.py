"""Streaming activations: what counts, in which order, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.lm import HookNotFound, TokensRefused
from mistudio.lm.harvesting import WINDOW, harvest
from mistudio.lm.model import LanguageModel

HOOKS = ["blocks.0.hook_resid_mid", "blocks.2.hook_resid_post"]


def some_sequences(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 512, (n,), generator=draw) for n in lengths]


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=9), batch_size=st.integers(1, 4))
def test_every_token_comes_once_with_its_own_activation(
    tiny_llama: LanguageModel, lengths: list[int], batch_size: int
) -> None:
    sequences = some_sequences(lengths)
    seen: list[int] = []
    for batch in harvest(tiny_llama, sequences, HOOKS, batch_size=batch_size):
        assert batch.tokens.shape == batch.mask.shape and batch.tokens.shape[0] <= batch_size
        for row, index in enumerate(batch.sequence_index.tolist()):
            seen.append(index)
            n = len(sequences[index])
            assert batch.lengths[row] == n == batch.mask[row].sum()
            assert torch.equal(batch.tokens[row, :n], sequences[index])
            alone = tiny_llama.activations(sequences[index].unsqueeze(0), HOOKS)
            for hook in HOOKS:
                torch.testing.assert_close(
                    batch.activations[hook][row, :n], alone[hook][0], rtol=1e-4, atol=1e-5
                )
    assert sorted(seen) == list(range(len(sequences)))


def test_specials_do_not_count_unless_asked(tiny_llama: LanguageModel) -> None:
    sequence = [0, 9, 1, 8, 2]  # <s>, a word, </s>, a word, <pad> within the text
    (batch,) = harvest(tiny_llama, [sequence], HOOKS)
    assert batch.mask.tolist() == [[False, True, False, True, False]]
    assert batch.rows(HOOKS[0]).shape == (2, tiny_llama.d_model)
    assert torch.equal(batch.rows(HOOKS[0])[1], batch.activations[HOOKS[0]][0, 3])
    (batch,) = harvest(tiny_llama, [sequence], HOOKS, skip_special=False)
    assert batch.mask.all()


def test_equal_lengths_keep_their_order_and_length_order_wastes_little(tiny_llama: LanguageModel) -> None:
    even = [
        b.sequence_index.tolist() for b in harvest(tiny_llama, some_sequences([5] * 5), HOOKS, batch_size=2)
    ]
    assert even == [[0, 1], [2, 3], [4]]
    mixed = some_sequences([2, 9, 2, 9])
    sorted_ = list(harvest(tiny_llama, mixed, HOOKS, batch_size=2))
    assert [b.sequence_index.tolist() for b in sorted_] == [[1, 3], [0, 2]]
    assert [b.tokens.shape[1] for b in sorted_] == [9, 2]
    given_ = harvest(tiny_llama, mixed, HOOKS, batch_size=2, sort_by_length=False)
    assert [b.sequence_index.tolist() for b in given_] == [[0, 1], [2, 3]]


def test_the_stream_is_read_a_window_at_a_time(tiny_llama: LanguageModel) -> None:
    read = 0

    def endless() -> Iterator[list[int]]:
        nonlocal read
        while True:
            read += 1
            yield [5, 6, 7]

    next(harvest(tiny_llama, endless(), HOOKS[:1], batch_size=2))
    assert read == 2 * WINDOW


def test_outliers_are_left_out_at_every_hook(tiny_llama: LanguageModel) -> None:
    sequences = some_sequences([12, 12])
    hook = "blocks.0.hook_resid_pre"
    weight = tiny_llama.hf.get_input_embeddings().weight
    loud = int(sequences[0][4])
    kept = weight[loud].clone()
    with torch.no_grad():
        weight[loud] *= 100
    try:
        (batch,) = harvest(tiny_llama, sequences, [hook, *HOOKS], outlier_norm_multiple=10)
        norms = batch.activations[hook].norm(dim=-1)
        assert torch.equal(~batch.mask, norms > 10 * norms.median())
        assert not batch.mask[0, 4] and batch.mask.sum() >= 20
        (batch,) = harvest(tiny_llama, sequences, [hook])
        assert batch.mask.all()
    finally:
        with torch.no_grad():
            weight[loud] = kept


def test_what_is_harvested_can_be_trained_on(tiny_llama: LanguageModel) -> None:
    (batch,) = harvest(tiny_llama, some_sequences([6]), HOOKS[:1])
    weight = torch.randn(tiny_llama.d_model, 4, requires_grad=True)
    (batch.activations[HOOKS[0]] @ weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([[5, 6], []], "Sequence 1: "),
        ([[5, 6], [5, 512]], "Sequence 1: Token id 512 is outside the vocabulary of 512"),
        ([[-1]], "Token id -1"),
        ([[5] * 257], "257 tokens in a row exceed this model's context of 256"),
    ],
)
def test_sequences_that_the_model_cannot_take_are_named(
    tiny_llama: LanguageModel, sequences: Any, message: str
) -> None:
    with pytest.raises(TokensRefused) as error:
        list(harvest(tiny_llama, sequences, HOOKS))
    assert message in error.value.message


def test_bad_arguments_are_refused_before_the_first_batch(tiny_llama: LanguageModel) -> None:
    with pytest.raises(HookNotFound):
        harvest(tiny_llama, [[5]], ["blocks.9.hook_resid_post"])
    for bad in ({"batch_size": 0}, {"outlier_norm_multiple": 1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            harvest(tiny_llama, [[5]], HOOKS, **bad)
    with pytest.raises(ValueError, match="at least one hook"):
        harvest(tiny_llama, [[5]], [])


@pytest.mark.slow
def test_attention_sinks_of_the_real_model_are_outliers(smollm2: LanguageModel) -> None:
    ids = smollm2.tokenizer("The union of these States is older than its constitution.")["input_ids"]
    (batch,) = harvest(smollm2, [ids], ["blocks.12.hook_resid_post"], outlier_norm_multiple=10)
    assert batch.mask.tolist() == [[False] + [True] * (len(ids) - 1)]
