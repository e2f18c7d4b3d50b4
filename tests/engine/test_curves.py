"""Curves of a run on their way to who watches: told by the quarter second, and before the run pauses."""

from pathlib import Path

from mistudio.engine.run_folder import Curves
from mistudio.store import read_metrics


def test_points_are_told_before_a_pause_and_can_be_read_by_then(tmp_path: Path) -> None:
    told: list[float] = []
    path = tmp_path / "metrics.bin"

    def hear(points: list[dict[str, float]]) -> None:
        told.extend(point["step"] for point in points)
        assert read_metrics(path)["step"].tolist() == told

    curves = Curves(path, 0, hear)
    for step in (1, 2, 3):
        curves.add({"step": step, "tokens": 10 * step, "loss": 1.0})
    curves.tell()
    assert told == [1, 2, 3]
    curves.add({"step": 4, "tokens": 40, "loss": 1.0})
    curves.sync()
    assert told == [1, 2, 3, 4]
    curves.tell()
    curves.close()
    assert told == [1, 2, 3, 4], "nothing is told twice"
