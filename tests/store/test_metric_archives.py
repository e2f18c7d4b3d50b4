"""Metric logs at their end and in bulk: archives to the bit, crashes while archiving, curves from overviews."""

import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.store import MetricLog, TornFile, archive_metrics, downsample, metric_curve, read_metrics
from mistudio.store.metric_archive import is_archive
from mistudio.store.metric_records import FIXED, header_bytes, record_dtype, seal
from tests.store.test_atomic import kill_when_ready, python

words = hnp.arrays(np.uint64, st.tuples(st.integers(0, 300), st.just(5)), elements=st.integers(0, 2**64 - 1))


def write_log(path: Path, bits: np.ndarray) -> None:
    """A log whose step, tokens, time, loss and l0 are these bits."""
    records = np.zeros(len(bits), record_dtype(["loss", "l0"]))
    for place, name in enumerate([*FIXED, "loss", "l0"]):
        records[name] = np.ascontiguousarray(bits[:, place]).view(records[name].dtype)
    path.write_bytes(header_bytes(["loss", "l0"]) + seal(records).tobytes())


def bits_of(columns: dict[str, np.ndarray]) -> list[list[int]]:
    return [values.view(np.uint64).tolist() for values in columns.values()]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(words, st.integers(0, 320))
def test_an_archive_is_the_log_to_the_bit(bits: np.ndarray, start: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.bin")
        write_log(path, bits)
        before, part = read_metrics(path), read_metrics(path, min(start, len(bits)))
        archive_metrics(path)
        archive_metrics(path)
        assert path.read_bytes().startswith(b"MSMETARC")
        after = read_metrics(path)
        assert list(after) == list(before)
        assert bits_of(after) == bits_of(before) == np.ascontiguousarray(bits.T).tolist()
        assert bits_of(read_metrics(path, min(start, len(bits)))) == bits_of(part)
        with MetricLog(path, ["loss", "l0"]) as log:
            assert len(log) == len(bits)
        assert bits_of(read_metrics(path)) == bits_of(before)


def test_a_log_that_is_open_is_not_archived(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with MetricLog(path, ["loss"]) as log:
        log.append(1, 10, {"loss": 2.0})
        archive_metrics(path)
        log.append(2, 20, {"loss": 1.0})
    assert read_metrics(path)["loss"].tolist() == [2.0, 1.0]
    assert not is_archive(path)
    archive_metrics(path)
    assert is_archive(path)


def test_archives_of_several_chunks_are_small_and_exact(tmp_path: Path) -> None:
    path, rng = tmp_path / "m", np.random.default_rng(0)
    n = 150_000
    bits = np.zeros((n, 5), np.uint64)
    bits[:, 0], bits[:, 1] = np.arange(n), np.arange(n) * 4096
    bits[:, 2] = (1.7e9 + np.cumsum(rng.random(n))).view(np.uint64)
    bits[:, 3] = np.float64(np.float32(rng.random(n))).view(np.uint64)
    bits[:, 4] = np.full(n, 32.0).view(np.uint64)
    write_log(path, bits)
    before, size, curve = read_metrics(path), path.stat().st_size, metric_curve(path, 1000)
    archive_metrics(path)
    assert bits_of(read_metrics(path)) == bits_of(before)
    assert bits_of(read_metrics(path, 70_000)) == [column[70_000:] for column in bits_of(before)]
    assert path.stat().st_size < size / 3
    assert bits_of(metric_curve(path, 1000).columns) == bits_of(curve.columns)
    window = metric_curve(path, 50, ["loss"], after_step=100_000, up_to_step=100_030)
    assert window.columns["step"].tolist() == list(range(100_001, 100_031))
    assert window.columns["loss"].tolist() == before["loss"][100_001:100_031].tolist()


def test_damage_to_an_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m"
    write_log(path, np.arange(500, dtype=np.uint64).reshape(100, 5))
    archive_metrics(path)
    content = path.read_bytes()
    for broken, what in (
        (content[:20] + b"\x00\xff" + content[22:], "part of it is damaged"),
        (content[:-1], "its end is missing"),
        (content[:8], "its end is missing"),
    ):
        path.write_bytes(broken)
        with pytest.raises(TornFile, match=what):
            read_metrics(path)


KILLED = """
import sys, time
import mistudio.store.metrics as metrics
real = metrics.archive_bytes
def slowly(*arguments):
    for number, piece in enumerate(real(*arguments)):
        if number == int(sys.argv[2]):
            print("ready", flush=True); time.sleep(60)
        yield piece
metrics.archive_bytes = slowly
metrics.archive_metrics(sys.argv[1])
print("ready", flush=True); time.sleep(60)
"""


@pytest.mark.parametrize("piece", [0, 3, 99])
def test_a_kill_while_archiving_leaves_the_run_readable(tmp_path: Path, piece: int) -> None:
    path = tmp_path / "m"
    with MetricLog(path, ["loss", "l0"]) as log:
        for step in range(200):
            log.append(step, step, {"loss": step / 3, "l0": 32.0}, time=1e9 + step)
    before = bits_of(read_metrics(path))
    process = python(KILLED, path, str(piece))
    try:
        kill_when_ready(process)
    finally:
        process.kill()
    assert bits_of(read_metrics(path)) == before
    with MetricLog(path, ["loss", "l0"]) as log:
        log.append(200, 0, {"loss": 1.0, "l0": 1.0}, time=2e9)
    assert [column[:200] for column in bits_of(read_metrics(path))] == before


curves = hnp.arrays(np.float64, st.integers(1, 700), elements=st.floats(-1e6, 1e6) | st.just(float("nan")))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(curves, st.integers(1, 9), st.integers(4, 40), st.booleans(), st.data())
def test_a_curve_from_the_overview_keeps_the_extremes_of_its_part(
    curve: np.ndarray, flushes: int, n: int, archived: bool, data: st.DataObject
) -> None:
    low = data.draw(st.integers(-1, 2 * len(curve)))
    high = data.draw(st.integers(low, 2 * len(curve) + 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m")
        with MetricLog(path, ["other", "loss"], flush_seconds=1e9) as log:
            for place, value in enumerate(curve):
                log.append(2 * place, place, {"loss": value}, time=float(place))
                if place % flushes == 0:
                    log.flush()
        if archived:
            archive_metrics(path)
        found = metric_curve(path, n, ["loss"], after_step=low, up_to_step=high)
    assert found.total == len(curve) and found.last_step == 2 * (len(curve) - 1)
    steps = 2 * np.arange(len(curve))
    inside = (steps > low) & (steps <= high)
    assert list(found.columns) == ["step", "tokens", "time", "loss"]
    assert (np.diff(found.columns["step"]) >= 0).all()
    assert len(found.columns["step"]) <= max(n, 4) + 2
    if inside.any():
        assert found.columns["step"][[0, -1]].tolist() == steps[inside][[0, -1]].tolist()
        real = curve[inside][~np.isnan(curve[inside])]
        shown = found.columns["loss"][~np.isnan(found.columns["loss"])]
        assert set(shown) <= set(real)
        if len(real):
            assert (shown.min(), shown.max()) == (real.min(), real.max())
    else:
        assert len(found.columns["step"]) == 0


def test_an_overview_that_is_lost_torn_or_stale_changes_nothing(tmp_path: Path) -> None:
    path, overview = tmp_path / "m", tmp_path / "m.overview"
    with MetricLog(path, ["loss"]) as log:
        for step in range(1000):
            log.append(step, step, {"loss": float(step % 97)}, time=float(step))
    whole = bits_of(metric_curve(path, 8).columns)
    content = overview.read_bytes()
    assert len(content) > 0
    for broken in (b"", content[:-5], content[:100] + b"\x01" + content[101:]):
        overview.write_bytes(broken)
        assert bits_of(metric_curve(path, 8).columns) == whole
    with MetricLog(path, ["loss"]):
        assert overview.read_bytes() == content, "what was damaged is made again"
    with MetricLog(path, ["loss"]) as log:
        log.truncate_after(99)
        for step in range(100, 300):
            log.append(step, step, {"loss": 5000.0}, time=float(step))
    curve = metric_curve(path, 4).columns["loss"]
    assert curve.tolist() == [0.0, 5000.0, 5000.0, 5000.0]
    path.unlink()
    with MetricLog(path, ["loss"]) as log:
        log.append(0, 0, {"loss": 1.0})
    assert metric_curve(path, 8).total == 1


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with MetricLog(tmp_path / "m", ["loss"]) as log:
        log.append(0, 0, {"loss": 1.0})
    with pytest.raises(KeyError, match="fvu"):
        metric_curve(tmp_path / "m", 10, ["fvu"])
    assert len(downsample(read_metrics(tmp_path / "m"), 10)["step"]) == 1
