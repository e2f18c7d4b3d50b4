"""Reports of progress, and who is shown them."""

from __future__ import annotations

import pytest

from mistudio.engine.progress import FIRST_ROWS, Pace, Progress, ReadingPace


def test_rate_and_time_left_come_from_what_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("mistudio.engine.progress.time.monotonic", lambda: clock[0])
    seen: list[Progress] = []
    pace = Pace(seen.append, "Train", 1_000)
    pace.at(200)  # where an earlier run had stopped
    assert (seen[-1].rate, seen[-1].seconds_left) == (None, None)
    clock[0] += 10
    pace.at(300, "FVU 0.1")
    assert (seen[-1].rate, seen[-1].seconds_left, seen[-1].note) == (10, 70, "FVU 0.1")
    for done in range(332, 1_001, 2):  # an old pace is forgotten
        clock[0] += 0.25
        pace.at(done)
    assert seen[-1].rate == pytest.approx(8)
    assert seen[-1].seconds_left == 0
    Pace(None, "Train", None).at(5)


def test_work_in_bursts_keeps_a_steady_rate_and_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("mistudio.engine.progress.time.monotonic", lambda: clock[0])
    seen: list[Progress] = []
    pace = Pace(seen.append, "Train", 100_000)
    reading = ReadingPace(seen.append, FIRST_ROWS, pace)
    for burst in range(8):
        for rows in range(0, 4_001, 250):  # 28 s of the model, then 3 s of steps
            clock[0] += 28 / 16 if rows else 0
            reading.at(rows, 4_000)
        if burst == 0:
            first = list(seen)
            pace.at(0)
        elif burst > 2:
            assert seen[-1].doing == "reading 4,000 of 4,000 activations"
            assert seen[-1].rate == pytest.approx(4_000 / 31, rel=0.25)
        for step in range(1, 5):
            clock[0] += 0.75
            reading.done = 4_000 * burst + 1_000 * step
            pace.at(reading.done)
        assert seen[-1].doing == ""
        assert burst < 6 or seen[-1].rate == pytest.approx(4_000 / 31, rel=0.25)
    assert {(one.stage, one.total, one.unit) for one in first} == {(FIRST_ROWS, 4_000, "activations")}
    assert first[-1].rate == pytest.approx(4_000 / 28) and first[-1].seconds_left == 0
