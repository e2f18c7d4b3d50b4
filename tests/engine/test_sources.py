"""Sources of activations: what comes, in which order, how well mixed, and how they go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistudio.engine import (
    ActivationsRefused,
    CacheRefused,
    CacheSource,
    HarvestSettings,
    ModelSource,
    TokensUnfit,
    harvest,
    reading,
)
from mistudio.lm import HookNotFound, LanguageModel
from tests.engine.conftest import some_tokens

HOOKS = [
    "blocks.0.attn.hook_z",
    "blocks.0.hook_mlp_in",
    "blocks.1.hook_resid_mid",
    "blocks.2.hook_resid_post",
]
LAST = HOOKS[-1]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "GROUP_TOKENS", 512)


def model_source(model: LanguageModel, n: int = 100, hooks: list[str] = HOOKS, **wanted: Any) -> ModelSource:
    settings = HarvestSettings(batch_sequences=8, **wanted.pop("settings", {}))
    return ModelSource(model, some_tokens(n), hooks, settings=settings, pool_tokens=600, **wanted)


def cache_source(model: LanguageModel, folder: Path, n: int = 100, **wanted: Any) -> CacheSource:
    cache = harvest(model, some_tokens(n), HOOKS, folder, dtype="float32")
    return CacheSource(cache, **wanted)


@pytest.fixture(params=["model", "cache"])
def source(request: pytest.FixtureRequest, model: LanguageModel, tmp_path: Path) -> Any:
    made = model_source if request.param == "model" else lambda m, **w: cache_source(m, tmp_path, **w)
    return made(model, held_out_tokens=160)


def direct(model: LanguageModel, hooks: list[str], n: int = 100) -> dict[str, set[bytes]]:
    """Rows of all tokens, rounded so that another size of batch does not matter, from one plain pass."""
    found = model.activations(some_tokens(n), hooks)
    return {hook: rounded(rows.flatten(0, 1)) for hook, rows in found.items()}


def rounded(rows: torch.Tensor) -> set[bytes]:
    return {row.tobytes() for row in (rows.double() * 1e4).round().to(torch.int64).numpy()}


def epoch_of(source: Any, batch_size: int, n_rows: int) -> dict[str, torch.Tensor]:
    batches = list(islice(source.batches(batch_size, 3), n_rows // batch_size))
    return {hook: torch.cat([b.activations[hook] for b in batches]) for hook in source.hooks}


def test_an_epoch_gives_every_row_once_and_held_out_ones_never(source: Any, model: LanguageModel) -> None:
    held_out = source.held_out()
    assert held_out is not None
    n_held = len(held_out[LAST])
    assert 160 <= n_held < 160 + 16 if isinstance(source, CacheSource) else n_held == 160
    n = 1600 - 160
    epoch = epoch_of(source, 96, n)
    everything = direct(model, HOOKS)
    for hook in HOOKS:
        assert epoch[hook].shape == (n, source.hooks[hook]) and epoch[hook].dtype == torch.float32
        unique, held = rounded(epoch[hook]), rounded(held_out[hook])
        if hook == LAST:  # there every token has its own activation
            assert len(unique) == n and not unique & held
            assert len(everything[hook] ^ (unique | held)) <= 0.01 * n  # rounding falls differently


def test_rows_of_all_hooks_belong_to_the_same_token(source: Any, model: LanguageModel) -> None:
    """Attention's contribution in the residual stream, looked up at another hook of the same row."""
    found = model.activations(some_tokens(100), HOOKS)
    flat = {hook: rows.flatten(0, 1) for hook, rows in found.items()}
    batch = next(source.batches(64, 5))
    place = torch.cdist(batch.activations[LAST], flat[LAST]).argmin(1)
    for hook in HOOKS:
        torch.testing.assert_close(batch.activations[hook], flat[hook][place], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [50, 96, 700])
def test_a_position_goes_on_to_the_bit(source: Any, batch_size: int) -> None:
    """Across pools and epochs, through JSON, from every position."""
    n = 4000 // batch_size
    whole = list(islice(source.batches(batch_size, 3), n))
    assert {len(batch) for batch in whole} == {batch_size}
    for start in range(0, n - 1, max(1, n // 9)):
        position = json.loads(json.dumps(whole[start].position))
        later = list(islice(source.batches(batch_size, 3, position), min(3, n - start - 1)))
        for one, other in zip(whole[start + 1 :], later, strict=False):
            assert one.position == other.position
            for hook in HOOKS:
                assert torch.equal(one.activations[hook], other.activations[hook]), (start, hook)


def test_seeds_and_epochs_have_their_own_order(source: Any) -> None:
    def first(seed: int) -> torch.Tensor:
        return next(source.batches(64, seed)).activations[LAST]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
    two = torch.cat([b.activations[LAST] for b in islice(source.batches(96, 1), 30)])
    assert rounded(two[:1440]) == rounded(two[1440:])
    assert not torch.equal(two[:1440], two[1440:])


def test_the_pool_mixes_as_it_promises(model: LanguageModel) -> None:
    """The hardest case: all rows of a sequence are equal. Then a batch's mean strays by σ·sqrt(C/P + 1/B)."""
    n, context, pool, batch_size = 1500, 16, 4000, 200
    ids = torch.arange(3, 503)[torch.randint(0, 500, (n,), generator=torch.Generator().manual_seed(1))]
    hook = "blocks.0.hook_resid_pre"
    source = ModelSource(model, ids[:, None].expand(-1, context), [hook], pool_tokens=pool)
    values: list[np.ndarray] = []
    for batch in islice(source.batches(batch_size, 0), n * context // batch_size):
        values.append(batch.activations[hook][:, 0].double().numpy())
    rows = np.stack(values)
    deviation = rows.std()
    bound = deviation * np.sqrt(context / pool + 1 / batch_size)
    strays = (rows.mean(1) - rows.mean()).std()
    assert 0.7 * deviation * np.sqrt(1 / batch_size) < strays < 1.15 * bound
    # In the order of the text, a batch of 12 sequences would stray by σ·sqrt(1/12).
    assert strays < 0.5 * deviation * np.sqrt(context / batch_size)
    centred = rows - rows.mean()
    neighbours = (centred[:, 1:] * centred[:, :-1]).mean() / deviation**2
    assert abs(neighbours) < 0.02
    same = (rows[:, 1:] == rows[:, :-1]).mean()
    by_chance = sum((np.bincount(ids.numpy()) / n) ** 2)
    assert same < 2 * (context / pool + by_chance)
    # Every row once: each token's embedding as often as it occurs.
    _, counts = np.unique(rows.reshape(-1), return_counts=True)
    assert counts.sum() == n * context and (counts % context == 0).all()


def test_n_tokens_limits_every_epoch_to_the_same_rows(model: LanguageModel) -> None:
    source = model_source(model, hooks=[LAST], settings={"n_tokens": 640}, held_out_tokens=100)
    assert len(source.training_sequences) == 40 - 7
    n = 33 * 16
    stream = torch.cat([b.activations[LAST] for b in islice(source.batches(48, 0), 3 * n // 48)])
    assert rounded(stream[:n]) == rounded(stream[n : 2 * n]) == rounded(stream[2 * n :])


def test_special_tokens_and_padding_are_left_out(model: LanguageModel) -> None:
    sequences = [[0, 5, 6, 1], [0, 7, 8, 9, 10, 11], [0, 12]]
    source = ModelSource(model, sequences, [LAST], settings=HarvestSettings(order="sequential"))
    (batch,) = islice(source.batches(8, 0), 1)
    expected = [model.activations(torch.tensor([s]), [LAST])[LAST][0, 1:] for s in sequences]
    expected[0] = expected[0][:-1]
    wanted = torch.cat(expected)
    distance = torch.cdist(batch.activations[LAST], wanted)
    assert distance.min(1).values.max() < 1e-4 and sorted(distance.argmin(1).tolist()) == list(range(8))
    with pytest.raises(ActivationsRefused, match="Every token was left out"):
        next(ModelSource(model, [[0, 1], [0, 2]], [LAST]).batches(1, 0))


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite|NaN")])
def test_an_overflow_is_refused_by_hook_and_place(model: LanguageModel, value: float, word: str) -> None:
    tokens = some_tokens(20)
    weight = model.hf.get_input_embeddings().weight
    loud = int(tokens[7, 3])
    kept = weight[loud].clone()
    place = next((s, p) for s, p in (tokens == loud).nonzero().tolist())
    try:
        with torch.no_grad():
            weight[loud, 0] = value
        for settings in (
            HarvestSettings(order="sequential"),
            HarvestSettings(order="sequential", outlier_multiple=10),
        ):
            source = ModelSource(model, tokens, ["blocks.0.hook_resid_pre"], settings=settings)
            with pytest.raises(ActivationsRefused) as error:
                next(source.batches(64, 0))
            message = error.value.message
            assert "blocks.0.hook_resid_pre" in message and f"(token {loud})" in message
            assert f"sequence {place[0]}, position {place[1]}" in message
            assert any(w in message for w in word.split("|"))
    finally:
        with torch.no_grad():
            weight[loud] = kept


def test_one_head_is_a_source_of_its_own(model: LanguageModel) -> None:
    source = model_source(model, hooks=["blocks.1.attn.hook_z", "blocks.1.attn.hook_z[2]"])
    assert source.hooks == {"blocks.1.attn.hook_z": 32, "blocks.1.attn.hook_z[2]": 8}
    batch = next(source.batches(32, 0)).activations
    assert torch.equal(batch["blocks.1.attn.hook_z"][:, 16:24], batch["blocks.1.attn.hook_z[2]"])
    named = source.metadata("blocks.1.attn.hook_z[2]")
    assert (named["hook_name"], named["hook_head_index"]) == ("blocks.1.attn.hook_z", 2)
    assert source.metadata("blocks.1.attn.hook_z")["hook_head_index"] is None


def test_one_hook_needs_no_list(model: LanguageModel, tmp_path: Path) -> None:
    assert ModelSource(model, some_tokens(3), LAST).hooks == {LAST: 32}
    assert CacheSource(cache_source(model, tmp_path).cache, LAST).hooks == {LAST: 32}


def test_the_model_stops_at_the_deepest_hook(model: LanguageModel) -> None:
    ran: list[int] = []
    handles = [b.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, b in enumerate(model.blocks)]
    try:
        next(model_source(model, hooks=["blocks.0.hook_mlp_out", "blocks.1.hook_resid_pre"]).batches(8, 0))
    finally:
        for handle in handles:
            handle.remove()
    assert set(ran) == {0}


def test_what_does_not_fit_is_refused(model: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(HookNotFound):
        model_source(model, hooks=["blocks.9.hook_resid_post"])
    with pytest.raises(TokensUnfit, match="leave nothing to train on"):
        model_source(model, held_out_tokens=1600)
    with pytest.raises(ValueError, match="batch_size"):
        next(model_source(model).batches(0, 0))
    source = cache_source(model, tmp_path)
    with pytest.raises(CacheRefused, match=r"does not hold blocks\.2\.hook_mlp_out; it holds blocks\.0"):
        CacheSource(source.cache, ["blocks.2.hook_mlp_out"])
    with pytest.raises(TokensUnfit, match="leave nothing"):
        CacheSource(source.cache, held_out_tokens=1600)
    position = next(source.batches(32, 0)).position
    with pytest.raises(CacheRefused, match="in batches of 32, not 64"):
        next(source.batches(64, 0, position))


def test_a_cache_of_another_model_is_refused(model: LanguageModel, tmp_path: Path) -> None:
    from tests.lm.conftest import tiny_hf

    cache = cache_source(model, tmp_path).cache
    CacheSource(cache, model=model)
    other = LanguageModel(tiny_hf("llama"), source="some other model")
    with pytest.raises(CacheRefused, match="filled by another model") as error:
        CacheSource(cache, model=other)
    assert "some other model" in error.value.message


def test_a_cache_is_as_well_mixed_for_all_hooks(source: Any) -> None:
    """The metadata of every hook names it."""
    for hook in HOOKS:
        assert source.metadata(hook)["hook_name"] == hook
        assert source.metadata(hook)["context_size"] == 16


def endless(texts: list[str]) -> Iterator[str]:
    while True:
        yield from texts


@pytest.mark.slow
def test_texts_are_read_no_further_than_needed(model: LanguageModel) -> None:
    source = ModelSource(
        model,
        endless(["def test(self): pass", "import torch"]),
        [LAST],
        settings=HarvestSettings(n_tokens=500),
        context=16,
    )
    assert source.sequences.context == 16
    assert 500 <= sum(len(b) for b in islice(source.batches(100, 0), 5)) < 1000
