"""Activation caches: round trips, precision, mixing, exact resumption, kills and full disks."""

import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.store import (
    ActivationCache,
    ActivationCacheWriter,
    FolderDeleted,
    NotStorable,
    TooFewTokens,
    TornFile,
    delete_folder,
    to_bfloat16,
    verify,
)
from mistudio.store.shuffle import BLOCK
from tests.store.test_atomic import kill_when_ready, names, python


def origins(n: int, start: int = 0, context: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequence index, position and token id of rows start … start+n."""
    rows = np.arange(start, start + n)
    return rows // context, rows % context, rows % 1_000


def counting_cache(folder: Path, n: int, dtype: str = "float32", shard: int = 1_000) -> ActivationCache:
    """A cache whose row i is [i, -i]."""
    with ActivationCacheWriter(folder, {"hook": 2}, dtype, shard) as out:  # type: ignore[arg-type]
        for start in range(0, n, 500):
            rows = np.arange(start, min(start + 500, n), dtype=np.float32)
            out.append({"hook": np.stack([rows, -rows], 1)}, *origins(len(rows), start))
    return ActivationCache(folder)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 40), max_size=6),
    st.integers(1, 50),
    st.sampled_from(["float32", "float16", "bfloat16", "int8"]),
    st.integers(1, 70),
    st.data(),
)
def test_activations_round_trip(
    appends: list[int], shard: int, dtype: str, d: int, data: st.DataObject
) -> None:
    n = sum(appends)
    generator = np.random.default_rng(n)
    hooks = {"blocks.0.hook_resid_post": d, "model.layers.1": 3}
    given = {hook: generator.standard_normal((n, width)).astype(np.float32) for hook, width in hooks.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ac")
        with ActivationCacheWriter(path, hooks, dtype, shard, {"layer": 1}) as out:  # type: ignore[arg-type]
            start = 0
            for size in appends:
                rows = slice(start, start + size)
                out.append({hook: values[rows] for hook, values in given.items()}, *origins(size, start))
                start += size
            assert out.n_tokens == n
        cache = ActivationCache(path)
        assert (cache.n_tokens, cache.hooks, cache.dtype, cache.meta) == (n, hooks, dtype, {"layer": 1})
        first = data.draw(st.integers(0, n))
        last = data.draw(st.integers(first, n))
        bound = {"float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7, "int8": 5 / 254}[dtype]
        for hook, values in given.items():
            got = cache.read(hook, first, last)
            assert got.dtype == np.float32
            assert got.shape == (last - first, hooks[hook])
            np.testing.assert_allclose(got, values[first:last], rtol=0, atol=5 * bound)
        for stored, expected in zip(cache.tokens(first, last), origins(last - first, first), strict=True):
            np.testing.assert_array_equal(stored, expected)
        verify(path, deep=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_arrives_reduced_is_stored_bit_by_bit(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    stored = to_bfloat16(values) if dtype == "bfloat16" else values.astype(np.float16)
    out = ActivationCacheWriter(tmp_path / "ac", {"hook": 8}, dtype)  # type: ignore[arg-type]
    out.append({"hook": stored}, *origins(100))
    cache = out.finish()
    raw = cache.read_raw("hook", 0, 100)
    assert raw.dtype == stored.dtype
    assert not raw.flags.owndata
    np.testing.assert_array_equal(raw, stored)
    assert cache.error == {"hook": 0.0}
    expected = torch.from_numpy(values).to(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(cache.read("hook", 0, 100), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_the_recorded_error_is_the_real_one(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal((8_000, 96)).astype(np.float32)
    values[:, 5] += 40.0
    out = ActivationCacheWriter(tmp_path / "ac", {"hook": 96}, dtype, 1_000)  # type: ignore[arg-type]
    for start in range(0, 8_000, 500):
        out.append({"hook": values[start : start + 500]}, *origins(500, start))
    cache = out.finish()
    difference = cache.read("hook", 0, 8_000) - values
    real = float(np.sqrt((difference**2).sum() / (values**2).sum()))
    assert cache.error["hook"] == pytest.approx(real, rel=0.1, abs=1e-12)
    assert (real == 0) == (dtype == "float32")


def test_what_a_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    rows = np.ones((4, 3), np.float32)
    rows[2, 1] = 70_000.0
    out = ActivationCacheWriter(tmp_path / "a", {"hook": 3}, "float16")
    with pytest.raises(NotStorable, match=r"hook reaches 70,000, and float16 ends at 65,504\."):
        out.append({"hook": rows}, *origins(4))
    for dtype in ("float32", "bfloat16", "int8"):
        rows[2, 1] = np.nan
        out = ActivationCacheWriter(tmp_path / dtype, {"hook": 3}, dtype)
        with pytest.raises(NotStorable, match="hook holds NaN or infinite values"):
            out.append({"hook": rows}, *origins(4))
        assert names(tmp_path / dtype) == ["head.json"]
        with pytest.raises(ValueError, match="closed for writing"):
            out.append({"hook": np.ones((4, 3), np.float32)}, *origins(4))


def test_wrong_shapes_write_nothing(tmp_path: Path) -> None:
    out = ActivationCacheWriter(tmp_path / "ac", {"hook": 3})
    good = np.ones((4, 3), np.float32)
    sequence, position, token = origins(4)
    for rows, arguments, sentence in [
        ({"hook": good[:, :2]}, (sequence, position, token), r"hook must have shape \[4, 3\]"),
        (
            {"hook": good.astype(np.float64)},
            (sequence, position, token),
            "must be float32, float16 or bfloat16",
        ),
        ({"other": good}, (sequence, position, token), "needs the hooks hook, not other"),
        ({"hook": good}, (sequence[:3], position, token), "sequence must be 4 integers"),
        ({"hook": good}, (sequence, position + 65_536, token), "position must lie in 0 to 65,535"),
        ({"hook": good}, (sequence, position, token - 1), "token must lie in 0"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            out.append(rows, *arguments)
    out.append({"hook": good}, sequence, position, token)
    assert out.finish().n_tokens == 4
    with pytest.raises(ValueError, match="'float8' is no precision"):
        ActivationCacheWriter(tmp_path / "x", {"hook": 3}, "float8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one or more hook points"):
        ActivationCacheWriter(tmp_path / "x", {})
    assert not (tmp_path / "x").exists()


def test_an_unknown_hook_is_named(tmp_path: Path) -> None:
    cache = counting_cache(tmp_path / "ac", 10)
    with pytest.raises(KeyError, match="other is not in this cache; it holds hook"):
        cache.read("other", 0, 1)
    with pytest.raises(IndexError):
        cache.read("hook", 0, 11)


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 5_000),
    batch=st.integers(1, 700),
    epochs=st.integers(1, 3),
    window=st.sampled_from([1, BLOCK, 1_000, 65_536]),
    seed=st.integers(0, 2**40),
    start=st.integers(0, 40),
)
def test_each_epoch_gives_each_token_once_and_resumes_exactly(
    n: int, batch: int, epochs: int, window: int, seed: int, start: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = counting_cache(Path(folder, "ac"), n)
        if n * epochs < batch:
            with pytest.raises(TooFewTokens, match="do not fill one batch"):
                cache.shuffled_batches("hook", batch, seed, epochs)
            return
        batches = list(cache.shuffled_batches("hook", batch, seed, epochs, window_tokens=window))
        assert {b.shape for b in batches} == {(batch, 2)}
        assert len(batches) == n * epochs // batch
        stream = np.concatenate(batches)[:, 0].astype(int)
        for epoch in range(epochs):
            part = stream[epoch * n : (epoch + 1) * n]
            assert len(np.unique(part)) == len(part)
            if len(part) == n:
                assert sorted(part) == list(range(n))
        again = cache.shuffled_batches("hook", batch, seed, epochs, start_batch=start, window_tokens=window)
        assert (again.epoch, again.position) == divmod(start * batch, n)
        rest = list(again)
        assert len(rest) == max(0, len(batches) - start)
        for resumed, straight in zip(rest, batches[start:], strict=True):
            np.testing.assert_array_equal(resumed, straight)


@pytest.mark.parametrize("shift", [0, 1, 37, 450, 1_000, 1_234])
def test_batches_may_begin_at_any_row(tmp_path: Path, shift: int) -> None:
    """Batch b holds rows shift + b·64 … of the epochs' rows, whatever the size of batches before it was."""
    cache = counting_cache(tmp_path / "ac", 1_000)
    rows = np.concatenate(list(cache.shuffled_batches("hook", 100, 5, 3, window_tokens=256)))
    shifted = cache.shuffled_batches("hook", 64, 5, 3, first_row=shift, window_tokens=256)
    assert (shifted.epoch, shifted.position) == divmod(shift, 1_000)
    found = np.concatenate(list(shifted))
    assert len(found) == (3_000 - shift) // 64 * 64
    np.testing.assert_array_equal(found, rows[shift : shift + len(found)])
    with pytest.raises(ValueError, match="first_row"):
        cache.shuffled_batches("hook", 64, 5, first_row=-1)


@pytest.mark.slow
def test_an_error_that_the_caller_measured_is_kept(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    stored = values.astype(np.float16)
    error = float(((stored.astype(np.float32) - values) ** 2).sum())
    out = ActivationCacheWriter(tmp_path / "ac", {"hook": 8}, "float16")
    for half in (slice(0, 32), slice(32, 64)):
        squares = {"hook": (error / 2, float((values**2).sum()) / 2)}
        out.append({"hook": stored[half]}, *origins(32), state={"at": half.stop}, squares=squares)
    cache = out.finish()
    assert cache.error["hook"] == pytest.approx(np.sqrt(error / (values**2).sum()))
    assert cache.state == {"at": 64}


@given(lengths=st.lists(st.integers(1, 900), min_size=1, max_size=5), data=st.data())
@settings(max_examples=20, deadline=None)
def test_rows_are_cut_between_sequences(lengths: list[int], data: st.DataObject) -> None:
    n = sum(lengths)
    stop = data.draw(st.integers(0, n))
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    with tempfile.TemporaryDirectory() as folder:
        out = ActivationCacheWriter(Path(folder, "ac"), {"hook": 1}, "float32")
        out.append({"hook": np.zeros((n, 1), np.float32)}, sequence, np.arange(n), np.zeros(n, np.int64))
        ends = [0, *np.cumsum(lengths).tolist()]
        assert out.finish().whole_sequences(stop) == max(end for end in ends if end <= stop)


def test_the_order_depends_on_seed_and_epoch_and_not_on_the_precision(tmp_path: Path) -> None:
    cache = counting_cache(tmp_path / "a", 2_000)
    half = counting_cache(tmp_path / "b", 2_000, "float16", shard=300)
    epochs = np.concatenate(list(cache.shuffled_batches("hook", 500, 1, 2)))
    assert not np.array_equal(epochs[:2_000], epochs[2_000:])
    other = np.concatenate(list(cache.shuffled_batches("hook", 500, 2, 2)))
    assert not np.array_equal(epochs, other)
    np.testing.assert_array_equal(np.concatenate(list(half.shuffled_batches("hook", 500, 1, 2))), epochs)


def test_batches_are_well_mixed(tmp_path: Path) -> None:
    n, batch, window = 200_000, 2_048, 16_384
    cache = counting_cache(tmp_path / "ac", n, shard=30_000)
    means, sequences = [], []
    for rows in cache.shuffled_batches("hook", batch, 0, 1, window_tokens=window):
        means.append(rows[:, 0].mean(dtype=np.float64))
        sequences.append(np.bincount(rows[:, 0].astype(int) // BLOCK).max())
    deviation = n / np.sqrt(12)
    bound = deviation * np.sqrt(BLOCK / window + 1 / batch)
    # The promise: the mean over a batch strays by σ·sqrt(1/W + 1/B), though rows are a steady slope.
    assert np.std(np.array(means) - (n - 1) / 2) < 1.15 * bound
    assert np.std(means) < 0.15 * deviation
    # No block of neighbours fills more than a few times its share (2,048 rows from 64 blocks: 32).
    assert max(sequences) < 3 * batch * BLOCK / window


def test_an_endless_stream_goes_on(tmp_path: Path) -> None:
    stream = counting_cache(tmp_path / "ac", 100).shuffled_batches("hook", 64, 0, None)
    assert stream.n_batches is None
    seen = np.concatenate([next(stream) for _ in range(25)])[:, 0].astype(int)
    assert np.bincount(seen[:1_600]).tolist() == [16] * 100
    assert (stream.batch, stream.epoch, stream.position) == (25, 16, 0)
    stream.close()


KILLED = """
import sys, time
import numpy as np
from mistudio.store import ActivationCacheWriter
out = ActivationCacheWriter(sys.argv[1], {"hook": 2}, "float32", shard_tokens=100)
for place in range(27):
    rows = np.full((16, 2), place, np.float32)
    out.append({"hook": rows}, np.full(16, place), np.arange(16), np.arange(16), state={"next": place + 1})
print("ready", flush=True); time.sleep(60)
"""


def test_a_killed_harvest_goes_on_at_its_last_shard(tmp_path: Path) -> None:
    process = python(KILLED, tmp_path / "ac")
    try:
        kill_when_ready(process)
    finally:
        process.kill()
    with pytest.raises(TornFile, match="is not finished"):
        ActivationCache(tmp_path / "ac")
    out = ActivationCacheWriter.resume(tmp_path / "ac")
    assert out.n_tokens == 3 * 112  # a shard ends with the append that fills it: seven of sixteen tokens
    assert out.state == {"next": 21}
    for place in range(out.state["next"], 30):
        rows = np.full((16, 2), place, np.float32)
        out.append({"hook": rows}, np.full(16, place), np.arange(16), np.arange(16))
    cache = out.finish()
    np.testing.assert_array_equal(cache.read("hook", 0, 480)[:, 0], np.repeat(np.arange(30), 16))
    np.testing.assert_array_equal(cache.tokens(0, 480).sequence, np.repeat(np.arange(30), 16))
    verify(cache.folder, deep=True)


FULL = """
import resource, sys
import numpy as np
from mistudio.store import ActivationCacheWriter, DiskFull
out = ActivationCacheWriter(sys.argv[1], {"hook": 64}, "float32", shard_tokens=256)
rows = np.ones((128, 64), np.float32)
where = np.zeros(128, np.int64), np.arange(128), np.arange(128)
for _ in range(4):
    out.append({"hook": rows}, *where)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    for _ in range(4):
        out.append({"hook": rows}, *where)
except DiskFull as error:
    print(error)
"""


def test_a_full_disk_drops_the_open_shard_and_keeps_the_finished(tmp_path: Path) -> None:
    out, err = python(FULL, tmp_path / "ac").communicate(timeout=60)
    assert "could not be written" in out, err
    assert names(tmp_path / "ac") == ["head.json", "shard-000000", "shard-000001"]
    again = ActivationCacheWriter.resume(tmp_path / "ac")
    assert again.n_tokens == 512
    assert again.finish().n_tokens == 512


@pytest.mark.parametrize("shard", [1, 10_000])
def test_a_writer_does_not_bring_back_a_deleted_folder(tmp_path: Path, shard: int) -> None:
    out = ActivationCacheWriter(tmp_path / "activations" / "ac_1", {"hook": 2}, "float32", shard)
    rows = np.ones((4, 2), np.float32)
    out.append({"hook": rows}, *origins(4))
    thread = delete_folder(tmp_path, out.folder)
    assert thread is not None
    with pytest.raises(FolderDeleted, match="ac_1 was deleted while it was being written"), out:
        out.append({"hook": rows}, *origins(4))
    thread.join(10)
    assert names(tmp_path / "activations") == names(tmp_path / "trash") == []


def test_an_interrupted_append_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    out = ActivationCacheWriter(tmp_path / "ac", {"a": 2, "b": 2}, "float32", 4)
    good = np.ones((4, 2), np.float32)
    bad = np.full((4, 2), np.inf, np.float32)
    with pytest.raises(NotStorable), out:
        out.append({"a": good, "b": good}, *origins(4))
        out.append({"a": good, "b": bad}, *origins(4))
    again = ActivationCacheWriter.resume(tmp_path / "ac")
    assert again.n_tokens == 4


def test_many_shards_do_not_exhaust_open_files(tmp_path: Path) -> None:
    out = ActivationCacheWriter(tmp_path / "ac", {"hook": 1}, "float32", 1)
    for place in range(50):
        out.append({"hook": np.full((1, 1), place, np.float32)}, *origins(1, place))
    cache = out.finish()
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if open_files.exists() else 0
    assert cache.read("hook", 0, 50)[:, 0].tolist() == list(range(50))
    cache.tokens(0, 50)
    if before:  # 50 shards of four columns were read, and each mapping holds a descriptor
        assert len(list(open_files.iterdir())) - before < 150


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-1, 1, width=32)))
@settings(max_examples=5, deadline=None)
def test_a_torn_shard_is_named(rows: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = ActivationCacheWriter(Path(folder, "ac"), {"hook": 4})
        out.append({"hook": rows}, *origins(3))
        path = out.finish().folder / "shard-000000" / "hook-0.values.npy"
        path.unlink()
        with pytest.raises(TornFile, match=r"shard-000000/hook-0\.values\.npy is missing"):
            ActivationCache(Path(folder, "ac"))
