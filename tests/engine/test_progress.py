"""Reports of progress, and who is shown them."""

from __future__ import annotations

import pytest

from mistudio.engine.progress import FIRST_ROWS, AlongsidePace, Pace, Progress


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


def test_the_time_left_counts_what_is_still_to_be_read_and_to_be_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("mistudio.engine.progress.time.monotonic", lambda: clock[0])
    seen: list[tuple[float, Progress]] = []
    total, pool = 30_000, 4_000
    pace = AlongsidePace(lambda said: seen.append((clock[0], said)), "Train", total, 0)
    done = 0
    while done < total:
        for rows in range(0, pool + 1, 250):  # 28 s of the model, then 3 s of steps
            clock[0] += 28 / 16 if rows else 0
            pace.rows(rows, pool)
        for _ in range(4 if done < 28_000 else 2):
            clock[0] += 0.75
            done += 1_000
            pace.at(done, "FVU 0.1")
    ended = clock[0]
    first = [said for _, said in seen if said.stage == FIRST_ROWS]
    assert {(said.total, said.unit) for said in first} == {(pool, "activations")}
    assert first[8].rate == pytest.approx(pool / 28) and first[8].seconds_left == pytest.approx(14)
    train = [(at, said) for at, said in seen if said.stage == "Train"]
    assert train[0][1].done == 0 and train[-1][1].seconds_left == 0
    for at, said in train[1:-1]:
        assert said.seconds_left == pytest.approx(ended - at, abs=0.01)
        assert said.rate == pytest.approx((total - said.done) / said.seconds_left)
    doing = [said.doing for _, said in train if said.done == 4_000]
    assert doing[:2] == ["", "reading 250 of 4,000 activations"] and doing[-1].startswith("reading 4,000")
