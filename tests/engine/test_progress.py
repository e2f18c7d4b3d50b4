"""Reports of progress, and who is shown them."""

from __future__ import annotations

import pytest

from mistudio.engine.progress import Pace, Progress


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
    clock[0] += 30  # an old pace is forgotten
    pace.at(900)
    pace.at(1_000)
    assert seen[-1].rate == pytest.approx(700 / 30)
    assert seen[-1].seconds_left == 0
    Pace(None, "Train", None).at(5)
