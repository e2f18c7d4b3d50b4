"""Metric logs: append, torn ends, resumption, and curves that keep their peaks."""

import tempfile
import time
from itertools import pairwise
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.store import MetricLog, TornFile, downsample, metric_curve, read_metrics
from tests.store.test_atomic import kill_when_ready, python

values = st.floats(allow_nan=True, allow_infinity=True)
RECORD = 8 * 6  # step, tokens, time, two values, check


def fill(path: Path, points: int) -> Path:
    with MetricLog(path, ["loss", "l0"]) as log:
        for step in range(points):
            log.append(step, step * 10, {"loss": 1 / (step + 1), "l0": 32.0}, time=1e9 + step)
    return path


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.tuples(values, values), max_size=5), max_size=4))
def test_points_round_trip_through_any_number_of_openings(runs: list[list[tuple[float, float]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.bin")
        step = 0
        for run in runs:
            with MetricLog(path, ["loss", "a b/ü"]) as log:
                for loss, other in run:
                    log.append(step, step * 7, {"loss": loss, "a b/ü": other})
                    step += 1
                assert len(log) == step
        flat = [point for run in runs for point in run]
        if not runs:
            return
        columns = read_metrics(path)
        assert list(columns) == ["step", "tokens", "time", "loss", "a b/ü"]
        assert columns["step"].tolist() == list(range(step))
        assert columns["tokens"].tolist() == [7 * place for place in range(step)]
        np.testing.assert_array_equal(columns["loss"], [loss for loss, _ in flat])
        np.testing.assert_array_equal(columns["a b/ü"], [other for _, other in flat])
        half = step // 2
        np.testing.assert_array_equal(read_metrics(path, half)["loss"], columns["loss"][half:])


@given(cut=st.integers(1, RECORD * 3), zeros=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_torn_end_is_passed_over_and_cut_off(cut: int, zeros: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = fill(Path(folder, "m"), 20)
        content = path.read_bytes()
        path.write_bytes(content[:-cut] + (bytes(cut) if zeros else b""))
        whole = 20 - -(-cut // RECORD)
        assert read_metrics(path)["step"].tolist() == list(range(whole))
        with MetricLog(path, ["loss", "l0"]) as log:
            assert len(log) == whole
            log.append(whole, 0, {"loss": 5.0})
        assert read_metrics(path)["step"].tolist() == list(range(whole + 1))
        assert read_metrics(path)["loss"][-1] == 5.0
        assert np.isnan(read_metrics(path)["l0"][-1])


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = fill(tmp_path / "m", 20)
    content = bytearray(path.read_bytes())
    content[-5 * RECORD + 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(TornFile, match="m has changed since it was written: point 15 is damaged"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "no metric log"), (b"hello, world", "no metric log"), (b"MSMETRIC", "torn")]
)
def test_what_is_no_log_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(TornFile, match=what):
        read_metrics(tmp_path / "m")
    with pytest.raises(TornFile, match="missing"):
        read_metrics(tmp_path / "nothing")


@given(st.integers(-1, 25))
@settings(max_examples=20, deadline=None)
def test_a_resumed_training_forgets_what_came_after_its_checkpoint(step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = fill(Path(folder, "m"), 20)
        with MetricLog(path, ["loss", "l0"]) as log:
            log.truncate_after(step)
            log.append(step + 1, 0, {"loss": -1.0})
        columns = read_metrics(path)
        kept = min(step + 1, 20)
        assert columns["step"].tolist() == [*range(kept), step + 1]
        assert columns["loss"][-1] == -1.0


def test_columns_that_come_later_are_added(tmp_path: Path) -> None:
    path = fill(tmp_path / "m", 70)
    with MetricLog(path, ["loss"]) as log, pytest.raises(ValueError, match="fvu is no column"):
        log.append(70, 0, {"fvu": 1.0})
    with MetricLog(path, ["fvu", "loss"]) as log:
        log.append(70, 0, {"fvu": 1.0})
    columns = read_metrics(path)
    assert list(columns) == ["step", "tokens", "time", "loss", "l0", "fvu"]
    assert columns["loss"][:70].tolist() == [1 / (step + 1) for step in range(70)]
    assert np.isnan(columns["fvu"][:70]).all() and columns["fvu"][70] == 1.0
    assert metric_curve(path, 1000).total == 71
    for names in (["loss", "loss"], ["step"]):
        with pytest.raises(ValueError, match="must be unique"):
            MetricLog(tmp_path / "other", names)
    assert not (tmp_path / "other").exists()


def test_points_reach_readers_at_each_flush(tmp_path: Path) -> None:
    log = MetricLog(tmp_path / "m", ["loss"], flush_seconds=1e9)
    log.append(0, 0, {"loss": 1.0})
    assert len(read_metrics(tmp_path / "m")["step"]) == 0
    log.flush()
    assert len(read_metrics(tmp_path / "m")["step"]) == 1
    log.close()
    log.close()
    with MetricLog(tmp_path / "n", ["loss"], flush_seconds=0) as eager:
        eager.append(0, 0, {"loss": 1.0})
        assert len(read_metrics(tmp_path / "n")["step"]) == 1


KILLED = """
import sys, time
from mistudio.store import MetricLog
log = MetricLog(sys.argv[1], ["loss"], flush_seconds=1e9)
for step in range(1000):
    log.append(step, step, {"loss": float(step)})
    if step == 700: log.flush()
print("ready", flush=True); time.sleep(60)
"""


def test_a_kill_keeps_what_was_flushed(tmp_path: Path) -> None:
    process = python(KILLED, tmp_path / "m")
    try:
        kill_when_ready(process)
    finally:
        process.kill()
    assert read_metrics(tmp_path / "m")["step"].tolist() == list(range(701))


FULL = """
import resource, sys
from mistudio.store import DiskFull, MetricLog
log = MetricLog(sys.argv[1], ["loss"], flush_seconds=1e9)
log.append(0, 0, {"loss": 0.0}); log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for step in range(1, 100):
    log.append(step, 0, {"loss": 0.0})
try:
    log.flush()
except DiskFull as error:
    print(error)
"""


def test_a_full_disk_leaves_whole_points(tmp_path: Path) -> None:
    out, err = python(FULL, tmp_path / "m").communicate(timeout=60)
    assert "could not be written" in out, err
    assert read_metrics(tmp_path / "m")["step"].tolist() == [0]
    with MetricLog(tmp_path / "m", ["loss"]) as log:
        log.append(1, 0, {"loss": 0.0})
    assert read_metrics(tmp_path / "m")["step"].tolist() == [0, 1]


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(1, 300), elements=st.floats(-1e6, 1e6) | st.just(float("nan"))),
    st.integers(4, 60),
)
def test_a_curve_keeps_its_extremes(curve: np.ndarray, n: int) -> None:
    columns = {"step": np.arange(len(curve)) * 3, "loss": curve}
    thin = downsample(columns, n)
    assert len(thin["step"]) == len(thin["loss"]) == (len(curve) if len(curve) <= n else n // 2 * 2)
    assert (np.diff(thin["step"]) >= 0).all()
    assert thin["step"][0] == 0
    assert thin["step"][-1] == columns["step"][-1]
    if len(curve) <= n:
        np.testing.assert_array_equal(thin["loss"], curve)
        return
    edges = np.linspace(0, len(curve), n // 2 + 1).astype(int)
    for bucket, (start, stop) in enumerate(pairwise(edges)):
        real = curve[start:stop][~np.isnan(curve[start:stop])]
        pair = thin["loss"][2 * bucket : 2 * bucket + 2]
        if len(real) == 0:
            assert np.isnan(pair).all()
        else:
            falling = np.argmax(real) < np.argmin(real)
            expected = (real.max(), real.min()) if falling else (real.min(), real.max())
            assert tuple(pair) == expected


def test_a_million_points_thin_out_fast() -> None:
    columns = {"step": np.arange(1_000_000), "loss": np.random.default_rng(0).random(1_000_000)}
    columns["loss"][777_777] = 9.0
    best = min(timed(columns) for _ in range(5))
    assert best < 0.1
    assert downsample(columns, 2_000)["loss"].max() == 9.0
    with pytest.raises(ValueError, match="at least 4 points"):
        downsample(columns, 3)


def timed(columns: dict[str, np.ndarray]) -> float:
    """Seconds of computing: a busy machine adds none."""
    start = time.process_time()
    downsample(columns, 2_000)
    return time.process_time() - start
