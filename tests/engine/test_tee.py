"""Training from the model while a cache fills: the same rows, complete after one epoch, safe to kill."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistudio.engine import (
    CacheRefused,
    HarvestSettings,
    ModelSource,
    TeeSource,
    find_cache,
    harvest,
    reading,
)
from mistudio.lm import LanguageModel
from mistudio.store import verify
from tests.engine.conftest import some_tokens
from tests.engine.test_caching import passes
from tests.store.test_atomic import kill_when_ready, python

HOOKS = ["blocks.0.attn.hook_z", "blocks.1.hook_resid_post"]
LAST = HOOKS[-1]
B = 96


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "GROUP_TOKENS", 512)


def model_source(model: LanguageModel, n: int = 500, **settings: Any) -> ModelSource:
    return ModelSource(
        model,
        some_tokens(n),
        HOOKS,
        settings=HarvestSettings(batch_sequences=8, **settings),
        held_out_tokens=200,
        pool_tokens=1000,
    )


def tee(model: LanguageModel, folder: Path, **settings: Any) -> TeeSource:
    return TeeSource(model_source(model, **settings), folder, dtype="float32", shard_bytes=1)


N = 8000 - 13 * 16
"""Rows that are trained on: 200 held-out tokens are 13 sequences."""


def test_the_first_epoch_is_the_models_and_the_rest_the_caches(model: LanguageModel, tmp_path: Path) -> None:
    source = tee(model, tmp_path)
    first = N // B
    batches = list(islice(source.batches(B, 3), first))
    for ours, theirs in zip(batches, model_source(model).batches(B, 3), strict=False):
        assert ours.position == theirs.position
        assert all(torch.equal(ours.activations[hook], theirs.activations[hook]) for hook in HOOKS)
    stream = source.batches(B, 3, batches[-1].position)
    later = [
        next(stream) for _ in range(2 * first)
    ]  # the rest of the first epoch, and almost two from the cache
    assert {len(batch) for batch in [*batches, *later]} == {B}
    cache = find_cache(tmp_path, source.key)
    assert cache is not None
    verify(cache.folder, deep=True)
    rows = torch.cat([b.activations[LAST] for b in [*batches, *later]])
    epochs = [{r.tobytes() for r in rows[i * N : (i + 1) * N].numpy()} for i in range(2)]
    assert (
        len(epochs[0]) == N and epochs[0] == epochs[1]
    )  # every row once in each, and the held-out ones in none
    held_out = source.held_out()
    assert held_out is not None and len(held_out[LAST]) == 200
    assert not {r.tobytes() for r in held_out[LAST].numpy()} & epochs[0]
    with passes(model) as ran:
        list(islice(stream, 50))
        again = next(tee(model, tmp_path).batches(B, 3))  # a second run does not need the model
        assert not ran
    assert again.position["batch"] == 1


def test_the_cache_is_what_a_harvest_would_have_written(model: LanguageModel, tmp_path: Path) -> None:
    source = tee(model, tmp_path / "tee")
    for _ in islice(source.batches(B, 0), 1 + N // B):
        pass
    written = find_cache(tmp_path / "tee", source.key)
    harvested = harvest(model, some_tokens(500), HOOKS, tmp_path / "harvest", dtype="float32")
    assert written is not None and written.folder.name == harvested.folder.name
    assert written.n_tokens == harvested.n_tokens == 8000
    for one, other in zip(written.tokens(0, 8000), harvested.tokens(0, 8000), strict=True):
        np.testing.assert_array_equal(one, other)
    for hook in HOOKS:
        np.testing.assert_allclose(
            written.read(hook, 0, 8000), harvested.read(hook, 0, 8000), rtol=1e-4, atol=1e-5
        )
    assert harvest(model, some_tokens(500), HOOKS, tmp_path / "tee", dtype="float32").folder == written.folder


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"n_tokens": 3000}, {"order": "sequential"}])
def test_a_training_that_stops_goes_on_to_the_bit(
    model: LanguageModel, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Within the first epoch, at its end and beyond it; the cache that was begun is completed."""
    epoch = (settings.get("n_tokens", 8000) - 208) // B
    whole = list(islice(tee(model, tmp_path / "whole", **settings).batches(B, 3), 2 * epoch))
    for stop in (1, epoch // 2, epoch - 1, epoch, epoch + 1, epoch + 2, 2 * epoch - 3):
        folder = tmp_path / str(stop)
        begun = list(islice(tee(model, folder, **settings).batches(B, 3), stop))
        position = json.loads(json.dumps(begun[-1].position))
        resumed = tee(model, folder, **settings)
        rest = list(islice(resumed.batches(B, 3, position), 2 * epoch - stop))
        assert len(rest) == 2 * epoch - stop
        for ours, theirs in zip([*begun, *rest], whole, strict=True):
            assert ours.position == theirs.position
            for hook in HOOKS:
                assert torch.equal(ours.activations[hook], theirs.activations[hook]), stop
        cache = find_cache(folder, resumed.key)
        assert cache is not None and cache.n_tokens == settings.get("n_tokens", 8000)


def test_a_training_of_exactly_one_epoch_leaves_a_whole_cache(model: LanguageModel, tmp_path: Path) -> None:
    source = tee(model, tmp_path)
    for batch in source.batches(B, 0):
        if batch.position.get("next", 0) > 400:  # in the last pool: everything has been read
            break
    assert find_cache(tmp_path, source.key) is not None


def test_a_cache_that_was_deleted_is_harvested_again_to_the_same_bits(
    model: LanguageModel, tmp_path: Path
) -> None:
    source = tee(model, tmp_path)
    batches = list(islice(source.batches(B, 3), N // B + 5))
    shutil.rmtree(source.path)
    after = next(tee(model, tmp_path).batches(B, 3, batches[-2].position))
    assert all(torch.equal(after.activations[hook], batches[-1].activations[hook]) for hook in HOOKS)


def test_a_cache_that_another_training_writes_is_left_alone(model: LanguageModel, tmp_path: Path) -> None:
    stream = tee(model, tmp_path).batches(B, 3)
    next(stream)
    with pytest.raises(CacheRefused, match="being written by another process"):
        next(tee(model, tmp_path).batches(B, 3))
    stream.close()  # type: ignore[attr-defined]
    next(tee(model, tmp_path).batches(B, 3))


KILLED = """
import json, sys, time, torch
sys.path.insert(0, sys.argv[3])
from mistudio.lm import load_language_model
from tests.engine.test_tee import B, reading, tee
from pathlib import Path
reading.GROUP_TOKENS = 512
torch.set_num_threads(1)
source = tee(load_language_model(sys.argv[1], device="cpu"), Path(sys.argv[2]))
for number, batch in enumerate(source.batches(B, 3)):
    if number == 30:
        Path(sys.argv[2], "position.json").write_text(json.dumps(batch.position))
    if number == 65:
        print("ready", flush=True); time.sleep(60)
"""


@pytest.mark.slow
def test_a_training_that_was_killed_completes_its_cache(
    model: LanguageModel, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    """Killed with -9 well behind its checkpoint: rows that the cache has are not written twice."""
    killed = tmp_path / "killed"
    process = python(KILLED, tiny_llama_folder, killed, Path(__file__).parents[2])
    try:
        kill_when_ready(process)
    finally:
        process.kill()
    position = json.loads((killed / "position.json").read_text())
    source = tee(model, killed)
    whole = list(islice(tee(model, tmp_path / "whole").batches(B, 3), 100))
    rest = list(islice(source.batches(B, 3, position), 69))
    for ours, theirs in zip(rest, whole[31:], strict=True):
        assert all(torch.equal(ours.activations[hook], theirs.activations[hook]) for hook in HOOKS)
    cache, other = find_cache(killed, source.key), find_cache(tmp_path / "whole", source.key)
    assert cache is not None and other is not None and cache.n_tokens == 8000
    for hook in HOOKS:
        np.testing.assert_array_equal(cache.read(hook, 0, 8000), other.read(hook, 0, 8000))
    where = cache.tokens(0, 8000)
    assert len(set(zip(where.sequence.tolist(), where.position.tolist(), strict=True))) == 8000
    verify(cache.folder, deep=True)
