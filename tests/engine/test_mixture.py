"""Mixtures: exact shares at every point, nothing twice in an epoch, resumable, and read through a model."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.engine import HarvestSettings, Mixture, ModelSource, TokensUnfit, harvest
from mistudio.engine.sequences import TokenArray
from mistudio.lm import LanguageModel
from tests.engine.conftest import some_tokens


def source(n: int, context: int, seed: int) -> TokenArray:
    """`n` sequences of 1 to `context` tokens."""
    draw = np.random.default_rng(seed)
    return TokenArray(draw.integers(3, 500, (n, context)), draw.integers(1, context + 1, n))


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.05, 10), min_size=4, max_size=4),
    order=st.sampled_from(["shuffled", "sequential"]),
    epoch=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_stretch_has_the_wanted_shares(
    sizes: list[int], weights: list[float], order: str, epoch: int
) -> None:
    parts = {f"s{i}": (source(n, 12, i), weights[i]) for i, n in enumerate(sizes)}
    mixture = Mixture(parts)
    wanted = HarvestSettings(order=order, seed=5)  # type: ignore[arg-type]
    numbers = mixture.order(wanted, epoch)
    assert len(set(numbers.tolist())) == len(numbers)
    assert numbers.tolist() == mixture.order(wanted, epoch).tolist()
    first = np.cumsum([0, *sizes])
    which = np.searchsorted(first, numbers, "right") - 1
    lengths = mixture.lengths(0, mixture.n_sequences)[numbers]
    total = np.cumsum(lengths)
    shares = list(mixture.weights.values())
    assert sum(shares) == pytest.approx(1)
    for i, share in enumerate(shares):
        given_so_far = np.cumsum(np.where(which == i, lengths, 0))
        assert np.abs(given_so_far - share * total).max(initial=0) <= (1 + len(shares)) * 12


def test_over_the_epochs_all_of_a_large_source_is_read() -> None:
    mixture = Mixture({"small": (TokenArray(some_tokens(10)), 1), "large": (TokenArray(some_tokens(90)), 2)})
    wanted = HarvestSettings(seed=2)
    seen: set[int] = set()
    for epoch in range(4):
        numbers = mixture.order(wanted, epoch)
        large = set(numbers[numbers >= 10].tolist())
        assert (numbers < 10).sum() == 10 and len(large) == 20
        assert not large & seen  # it goes on where the epoch before stopped
        seen |= large
    assert len(seen) == 80
    for epoch in range(4, 12):
        seen |= set(mixture.order(wanted, epoch).tolist())
    assert seen >= set(range(10, 100))


def test_sequences_are_those_of_the_sources() -> None:
    one, other = source(5, 8, 0), source(7, 12, 1)
    mixture = Mixture({"a": (one, 3), "b": (other, 1)})
    assert (mixture.n_sequences, mixture.context, mixture.n_tokens) == (12, 12, one.n_tokens + other.n_tokens)
    ids, lengths = mixture.take(np.array([6, 0, 4, 11]))
    for row, length, (part, number) in zip(
        ids, lengths, [(other, 1), (one, 0), (one, 4), (other, 6)], strict=True
    ):
        expected, real = part.take(np.array([number]))
        assert length == real[0] and row[:length].tolist() == expected[0, :length].tolist()
    assert mixture.digest == Mixture({"x": (one, 6), "y": (other, 2)}).digest
    assert mixture.digest != Mixture({"a": (one, 1), "b": (other, 1)}).digest


def test_a_mixture_is_read_through_a_model_and_goes_on(model: LanguageModel) -> None:
    """Embeddings say which source a row is from: they use different tokens."""
    low = torch.randint(3, 250, (60, 16), generator=torch.Generator().manual_seed(0))
    high = torch.randint(250, 500, (300, 16), generator=torch.Generator().manual_seed(1))
    mixture = Mixture({"low": (TokenArray(low), 0.25), "high": (TokenArray(high), 0.75)})
    hook = "blocks.0.hook_resid_pre"
    stream = ModelSource(model, mixture, [hook], held_out_tokens=320, pool_tokens=1000)
    weight = model.hf.get_input_embeddings().weight
    held = stream.held_out()
    assert held is not None

    def share_of_low(rows: torch.Tensor) -> float:
        return float((torch.cdist(rows, weight).argmin(1) < 250).double().mean())

    assert share_of_low(held[hook]) == pytest.approx(0.25, abs=0.03)
    batches = list(islice(stream.batches(256, 1), 20))
    assert share_of_low(torch.cat([b.activations[hook] for b in batches])) == pytest.approx(0.25, abs=0.02)
    position = json.loads(json.dumps(batches[13].position))
    for one, again in zip(batches[14:], stream.batches(256, 1, position), strict=False):
        assert torch.equal(one.activations[hook], again.activations[hook])


def test_a_mixture_of_anything_fills_a_cache_in_its_shares(model: LanguageModel, tmp_path: Path) -> None:
    low = torch.randint(3, 250, (60, 16), generator=torch.Generator().manual_seed(0))
    texts = ["def test(self): return 1"] * 400
    cache = harvest(
        model, {"low": (low, 1), "texts": (texts, 3)}, "blocks.0.hook_resid_pre", tmp_path, 3000, context=16
    )
    sequence = cache.tokens(0, 3000).sequence
    # Packed texts hold end-of-text tokens, which are read and not kept.
    assert 0.25 < (sequence < 60).mean() < 0.3
    again = harvest(
        model, {"low": (low, 2), "texts": (texts, 6)}, "blocks.0.hook_resid_pre", tmp_path, 3000, context=16
    )
    assert again.folder == cache.folder


def test_what_cannot_be_mixed_is_said() -> None:
    tokens = TokenArray(some_tokens(3))
    with pytest.raises(TokensUnfit, match="at least one"):
        Mixture({})
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(TokensUnfit, match="weight of “a”"):
            Mixture({"a": (tokens, weight)})
    with pytest.raises(TokensUnfit, match=r"not tokenized for one model: .* are 0 and 7"):
        Mixture({n: (TokenArray(some_tokens(3), bos_id=b), 1) for n, b in (("a", 0), ("b", 7))})
