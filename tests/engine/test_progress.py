"""Reports of progress, and who is shown them."""

from __future__ import annotations

import pytest

from mistudio.engine.progress import Pace, Progress, progress_bar


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


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (None, False):
        with progress_bar(shown) as receive:
            assert receive is None
    assert capsys.readouterr() == ("", "")


def test_a_bar_names_stage_amount_rate_and_note(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(True) as receive:
        assert receive is not None
        receive(Progress("Train", 5_000, 10_000, rate=2_500, note="FVU 0.123"))
        receive(Progress("Measure", 1, 2, "dictionaries"))
    out, drawn = capsys.readouterr()
    assert out == ""
    for part in ("Train", "5,000 tokens · 2,500/s", "Measure", "1 dictionaries"):
        assert part in drawn


def test_a_function_of_ones_own_is_given_the_reports() -> None:
    seen: list[Progress] = []
    with progress_bar(seen.append) as receive:
        assert receive is not None
        receive(Progress("Train", 1, 2))
    assert seen == [Progress("Train", 1, 2)]
