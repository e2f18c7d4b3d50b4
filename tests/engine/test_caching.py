"""Caches by key: harvested, found again, resumed after kill -9, evicted, and refused when they do not fit."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistudio.engine import (
    ActivationsRefused,
    CacheRefused,
    HarvestSettings,
    ModelSource,
    SettingsRefused,
    evict,
    find_cache,
    harvest,
    reading,
)
from mistudio.engine.caching import cache_key, check_key, forecast_bytes, key_digest
from mistudio.engine.filling import CacheFilling, statistics_of
from mistudio.engine.sequences import as_sequences
from mistudio.lm import HookNotFound, LanguageModel
from mistudio.store import ActivationCache, FolderLock, NotStorable, TornFile, folder_bytes, verify
from tests.engine.conftest import some_tokens
from tests.store.test_atomic import kill_when_ready, python

HOOKS = ["blocks.0.attn.hook_z", "blocks.1.hook_mlp_out", "blocks.2.hook_resid_post"]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "GROUP_TOKENS", 512)


def caches(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@contextmanager
def passes(model: LanguageModel) -> Generator[list[int]]:
    """A list that grows with each forward pass."""
    seen: list[int] = []
    handle = model.decoder.register_forward_pre_hook(lambda *_: seen.append(1))
    yield seen
    handle.remove()


def test_one_harvest_of_several_hooks_equals_separate_ones(model: LanguageModel, tmp_path: Path) -> None:
    tokens = [row[: 3 + i % 14].tolist() for i, row in enumerate(some_tokens(120))]  # of many lengths
    together = harvest(model, tokens, HOOKS, tmp_path / "all", dtype="float32")
    n = together.n_tokens
    assert n == sum(map(len, tokens)) and list(together.hooks) == HOOKS
    where = together.tokens(0, n)
    for hook in HOOKS:
        alone = harvest(model, tokens, hook, tmp_path / "one", dtype="float32")
        np.testing.assert_array_equal(alone.read(hook, 0, n), together.read(hook, 0, n))
        for ours, theirs in zip(where, alone.tokens(0, n), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for row in range(0, n, 97):
        sequence, position, token = (int(part[row]) for part in where)
        assert tokens[sequence][position] == token
        direct = model.activations(torch.tensor([tokens[sequence]]), HOOKS)
        for hook in HOOKS:
            torch.testing.assert_close(
                torch.from_numpy(together.read(hook, row, row + 1)[0]),
                direct[hook][0, position],
                rtol=1e-4,
                atol=1e-5,
            )
    figures = statistics_of(together)
    values = torch.from_numpy(together.read(HOOKS[2], 0, n)).double()
    assert figures.hooks[HOOKS[2]].mean_norm == pytest.approx(float(values.norm(dim=1).mean()), rel=1e-5)
    assert figures.hooks[HOOKS[2]].rms == pytest.approx(float(values.square().mean().sqrt()), rel=1e-5)
    assert figures.tokens_seen == n


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", 0.0), ("float16", 5e-4), ("bfloat16", 4e-3), ("int8", 1.2e-2)]
)
def test_every_precision_reports_its_error(
    model: LanguageModel, tmp_path: Path, dtype: Any, bound: float
) -> None:
    exact = harvest(model, some_tokens(60), HOOKS[2], tmp_path, dtype="float32")
    cache = harvest(model, some_tokens(60), HOOKS[2], tmp_path, dtype=dtype)
    n = exact.n_tokens
    given, stored = exact.read(HOOKS[2], 0, n), cache.read(HOOKS[2], 0, n)
    real = float(np.sqrt(((stored - given) ** 2).sum() / (given**2).sum()))
    assert cache.dtype == dtype
    assert cache.error[HOOKS[2]] == pytest.approx(real, rel=0.2, abs=1e-12)
    assert real <= bound and (real == 0) == (dtype == "float32")
    assert statistics_of(cache).hooks[HOOKS[2]].error == cache.error[HOOKS[2]]
    sizes = forecast_bytes(cache.meta["key"], as_sequences(some_tokens(60), model))
    assert (
        sizes < folder_bytes(cache.folder) < sizes + 16_000
    )  # sums for the statistics, with shard and index


def test_a_half_precision_model_is_cached_without_loss(tiny_llama_folder: Path, tmp_path: Path) -> None:
    from mistudio.lm import load_language_model

    half = load_language_model(tiny_llama_folder, device="cpu", dtype="bfloat16")
    cache = harvest(half, some_tokens(40), HOOKS[2], tmp_path, dtype="bfloat16")
    source = ModelSource(half, some_tokens(40), [HOOKS[2]])
    assert cache.error[HOOKS[2]] == 0.0
    batch = next(source.batches(640, 0)).activations[HOOKS[2]]
    assert batch.dtype == torch.float32
    cached = torch.from_numpy(cache.read(HOOKS[2], 0, 640))
    assert {r.tobytes() for r in batch.numpy()} == {r.tobytes() for r in cached.numpy()}


def test_a_finished_cache_is_found_by_its_key(model: LanguageModel, tmp_path: Path) -> None:
    first = harvest(model, some_tokens(50), HOOKS, tmp_path)
    with passes(model) as ran:
        again = harvest(model, some_tokens(50), HOOKS, tmp_path, progress=lambda *_: ran.append(2))
        fewer = harvest(model, some_tokens(50), HOOKS[1:2], tmp_path)
    assert not ran and first.folder == again.folder == fewer.folder
    sequences = as_sequences(some_tokens(50), model)
    settings = HarvestSettings()
    key = cache_key(model, sequences, HOOKS, settings)
    assert key == cache_key(model, sequences, HOOKS, HarvestSettings(batch_sequences=3))
    found = find_cache(tmp_path, key)
    assert found is not None and found.folder.name == key_digest(key)
    assert find_cache(tmp_path / "nowhere", key) is None
    different: dict[str, dict[str, Any]] = {
        "the tokens": {"sequences": as_sequences(some_tokens(50, seed=1), model)},
        "the hook points": {"hooks": [*HOOKS, "blocks.0.hook_mlp_in"]},
        "the harvest's settings": {"settings": HarvestSettings(seed=1)},
        "the stored precision": {"dtype": "int8"},
    }
    for what, changed in different.items():
        other = cache_key(
            model,
            changed.get("sequences", sequences),
            changed.get("hooks", HOOKS),
            changed.get("settings", settings),
            changed.get("dtype", "float16"),
        )
        assert find_cache(tmp_path, other) is None
        with pytest.raises(CacheRefused, match=f"other inputs: {what} differ"):
            check_key(found, other)


def test_a_cache_of_a_changed_model_is_not_taken(model: LanguageModel, tmp_path: Path) -> None:
    from tests.lm.conftest import tiny_hf

    one, other = LanguageModel(tiny_hf("llama")), tiny_hf("llama")
    with torch.no_grad():
        other.get_output_embeddings().weight[0] += 1
    tokens = some_tokens(20).clamp(max=96)
    mine = harvest(one, tokens, HOOKS, tmp_path)
    theirs = harvest(LanguageModel(other), tokens, HOOKS, tmp_path)
    assert mine.folder != theirs.folder
    with pytest.raises(CacheRefused, match="the model differs"):
        check_key(mine, theirs.meta["key"])


KILLED = """
import sys, time, torch
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from mistudio.engine import harvest, reading
from mistudio.lm import load_language_model
from tests.engine.conftest import some_tokens
reading.GROUP_TOKENS = 512
torch.set_num_threads(1)
def progress(done, total):
    if done >= 6000:
        while not list(Path(sys.argv[2]).glob("*/shard-*")):  # written on a thread, after it was added
            time.sleep(0.01)
        print("ready", flush=True); time.sleep(60)
harvest(load_language_model(sys.argv[1], device="cpu"), some_tokens(500), %r, sys.argv[2], progress=progress,
        shard_bytes=1)
"""


@pytest.mark.slow
def test_a_harvest_that_was_killed_goes_on(
    model: LanguageModel, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    process = python(KILLED % HOOKS, tiny_llama_folder, tmp_path / "killed", Path(__file__).parents[2])
    try:
        kill_when_ready(process)
    finally:
        process.kill()
    (path,) = [p for p in (tmp_path / "killed").iterdir() if p.is_dir()]
    with pytest.raises(TornFile, match="is not finished"):
        ActivationCache(path)
    done: list[int] = []
    cache = harvest(
        model,
        some_tokens(500),
        HOOKS,
        tmp_path / "killed",
        shard_bytes=1,
        progress=lambda at, _: done.append(at),
    )
    assert 4096 <= done[0] < 6000, done[:3]  # whole shards of the killed harvest were kept
    whole = harvest(model, some_tokens(500), HOOKS, tmp_path / "whole", shard_bytes=1)
    assert cache.folder.name == whole.folder.name and cache.n_tokens == whole.n_tokens == 8000
    for hook in HOOKS:
        np.testing.assert_array_equal(cache.read_raw(hook, 0, 8000), whole.read_raw(hook, 0, 8000))
    assert cache.error == whole.error
    verify(cache.folder, deep=True)
    assert not [p for p in (tmp_path / "killed").rglob("*") if p.name.startswith(".part-")]


def test_a_damaged_cache_is_harvested_again(model: LanguageModel, tmp_path: Path) -> None:
    cache = harvest(model, some_tokens(30), HOOKS, tmp_path)
    expected = cache.read(HOOKS[0], 0, 480)
    file = next(cache.folder.glob("shard-*/hook-0.values.npy"))
    del cache
    os.truncate(file, 300)
    again = harvest(model, some_tokens(30), HOOKS, tmp_path)
    np.testing.assert_array_equal(again.read(HOOKS[0], 0, 480), expected)
    assert caches(tmp_path) == [again.folder.name]


def test_nothing_is_left_of_a_harvest_that_was_refused(model: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(HookNotFound):
        harvest(model, some_tokens(3), ["blocks.9.hook_resid_post"], tmp_path)
    with pytest.raises(ActivationsRefused, match="Every token was left out"):
        harvest(model, [[0, 1, 2]], HOOKS, tmp_path)
    with pytest.raises(SettingsRefused, match="“float8” is no precision"):
        harvest(model, some_tokens(3), HOOKS, tmp_path, dtype="float8")  # type: ignore[arg-type]
    weight = model.hf.get_input_embeddings().weight
    kept = weight.detach().clone()
    hook = "blocks.0.hook_resid_pre"
    try:
        with torch.no_grad():
            weight[:, 3] = 70_000.0
        refused: list[Any] = []
        for _ in range(2):  # the first has let go of the cache, though its error is still known
            with pytest.raises(NotStorable, match=r"hook_resid_pre reaches 70,000, and float16") as error:
                harvest(model, some_tokens(90), [hook], tmp_path)
            refused.append(error)
        assert harvest(model, some_tokens(90), [hook], tmp_path, dtype="bfloat16").n_tokens == 1440
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_the_least_recently_used_go_first_and_none_in_use(model: LanguageModel, tmp_path: Path) -> None:
    def make(seed: int, **wanted: Any) -> ActivationCache:
        return harvest(model, some_tokens(100, seed=seed), HOOKS, tmp_path, **wanted)

    def used(cache: ActivationCache, at: float) -> None:
        os.utime(FolderLock(cache.folder).path, (at, at))

    oldest, middle, newest = make(0), make(1), make(2)
    for cache, at in ((oldest, 100.0), (middle, 200.0), (newest, 300.0)):
        used(cache, at)
    size = folder_bytes(newest.folder)
    names = [cache.folder for cache in (oldest, middle, newest)]
    rows = oldest.read(HOOKS[0], 0, 100)
    del middle, newest, cache
    # The oldest is in use here, so the middle one goes.
    assert evict(tmp_path, int(2.5 * size)) == [names[1]]
    assert caches(tmp_path) == sorted(p.name for p in (names[0], names[2]))
    assert not FolderLock(names[1]).path.exists()
    np.testing.assert_array_equal(oldest.read(HOOKS[0], 0, 100), rows)
    assert evict(tmp_path, 0) == [names[2]]
    with pytest.raises(CacheRefused, match="held by caches in use"):
        make(3, limit_bytes=int(1.5 * size))
    with pytest.raises(CacheRefused, match="the limit for all caches is 1,000"):
        make(3, limit_bytes=1_000)
    del oldest
    fourth = make(3, limit_bytes=int(1.5 * size))
    assert caches(tmp_path) == [fourth.folder.name]


HOLDS = """
import sys, time
from mistudio.store import FolderLock
lock = FolderLock(sys.argv[1])
assert lock.take(alone=False)
print("ready", flush=True); time.sleep(60)
"""


def test_a_cache_in_use_by_another_process_stays_until_that_dies(
    model: LanguageModel, tmp_path: Path
) -> None:
    path = harvest(model, some_tokens(20), HOOKS, tmp_path).folder
    process = python(HOLDS, path)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert evict(tmp_path, 0) == []
        process.kill()
        process.communicate()
        assert evict(tmp_path, 0) == [path]
    finally:
        process.kill()


WAITS = """
import sys, torch
sys.path.insert(0, sys.argv[3])
from mistudio.engine import harvest
from mistudio.lm import load_language_model
from tests.engine.conftest import some_tokens
torch.set_num_threads(1)
model = load_language_model(sys.argv[1], device="cpu")
print("begin", flush=True)
ran = []
cache = harvest(model, some_tokens(200), %r, sys.argv[2], progress=lambda done, total: ran.append(done))
print(len(ran), cache.n_tokens, flush=True)
"""


@pytest.mark.slow
def test_two_harvests_of_one_key_do_the_work_once(
    model: LanguageModel, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    processes: list[Any] = []

    def progress(done: int, total: int) -> None:
        if not processes:  # while this one holds the lock, another one begins
            processes.append(python(WAITS % HOOKS, tiny_llama_folder, tmp_path, Path(__file__).parents[2]))
            assert processes[0].stdout.readline() == "begin\n"

    try:
        harvest(model, some_tokens(200), HOOKS, tmp_path, progress=progress)
        out, err = processes[0].communicate(timeout=100)
    finally:
        for process in processes:
            process.kill()
    assert out.split() == ["0", "3200"], err
    assert len(caches(tmp_path)) == 1


def test_texts_and_a_limit(model: LanguageModel, tmp_path: Path) -> None:
    text = Path(sys.modules[__name__].__file__ or "").read_text("utf-8")
    cache = harvest(model, [text, text[::-1]], HOOKS[2], tmp_path, 700, context=32)
    assert cache.n_tokens == 700
    assert cache.meta["settings"]["n_tokens"] == 700
    assert cache.meta["sae_metadata"]["context_size"] == 32
    assert not np.isin(cache.tokens(0, 700).token, sorted(model.special_ids)).any()


def test_the_thread_that_writes_is_waited_for(model: LanguageModel, tmp_path: Path) -> None:
    """Back-pressure: at most four groups wait to be written, whatever the speed of the disk."""
    import threading

    gate = threading.Event()
    ahead: list[int] = []
    with CacheFilling(tmp_path / "ac", {HOOKS[2]: 32}, "float32") as filling:
        append = filling._writer.append
        filling._writer.append = lambda *a: (gate.wait(30), append(*a))[1]  # type: ignore[method-assign]
        source = ModelSource(model, some_tokens(500), [HOOKS[2]])

        def produce() -> None:
            sequences, order = source.sequences, source.training_sequences
            for chunk in reading.read_activations(model, sequences, [HOOKS[2]], source.settings, order):
                filling.add(chunk)
                ahead.append(chunk.next)

        thread = threading.Thread(target=produce)
        thread.start()
        thread.join(3)
        assert thread.is_alive() and len(ahead) == 5  # one is being written, four wait
        gate.set()
        thread.join(60)
        filling.finish()
    assert ActivationCache(tmp_path / "ac").n_tokens == 8000
