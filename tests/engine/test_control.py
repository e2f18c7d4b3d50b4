"""A run under control: settings changed while it runs, longer than planned, back to a checkpoint, checkpoints kept."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.engine import Progress, Run, RunRefused, TrainedSAE, settings, train_runs
from mistudio.engine.changes import Wanted, read_changes
from mistudio.engine.checkpoints import (
    RESULT_FILE,
    CheckpointMissing,
    best_of,
    find_checkpoint,
    list_checkpoints,
    rewind,
)
from mistudio.sae.config.live import changed, live_settings
from mistudio.store import read_metrics
from tests.engine.test_training import RESIDUAL, Rows, same, weights

CONFIG = settings(
    architecture="topk",
    d_sae=32,
    k=4,
    total_tokens=64 * 40,
    batch_size=64,
    learning_rate=3e-3,
    warmup_steps=3,
    log_every=2,
    checkpoint_every=5,
)


@pytest.fixture
def rows() -> Rows:
    return Rows(torch.randn(1_024, 16, generator=torch.Generator().manual_seed(0)))


class Killed(BaseException):
    pass


def asked(*wanted: tuple[int, str, float], run: str = "") -> dict[str, Any]:
    """Arguments of `train_runs` that change settings once so many batches have been taken."""
    taken = [-1]

    def progress(report: Progress) -> None:
        if report.stage == "Train":
            taken[0] = int(report.done) // 64

    def changes() -> Sequence[Wanted]:
        return [Wanted(name, value, run) for step, name, value in wanted if step == taken[0]]

    return {"progress": progress, "changes": changes}


def until(batches: int, error: type[BaseException]) -> Callable[[Progress], None]:
    def progress(report: Progress) -> None:
        if report.stage == "Train" and report.done >= 64 * batches:
            raise error

    return progress


def test_settings_change_from_the_next_step_on(rows: Rows, tmp_path: Path) -> None:
    run = Run(RESIDUAL, config=settings(CONFIG, log_every=1), name="one")
    told: list[Any] = []
    (trained,) = train_runs(
        rows,
        [run],
        folders=[tmp_path],
        on_change=lambda _, change: told.append(change),
        **asked((10, "k", 6), (10, "learning_rate", 1e-3), (20, "architecture.k", 6), (21, "k", 2)),
    )
    steps, l0, rate = (trained.history[name] for name in ("step", "l0", "learning_rate"))
    assert steps == list(range(1, 41))
    assert [round(value) for value in l0] == [4] * 10 + [6] * 11 + [2] * 19
    assert rate[9] == pytest.approx(3e-3)
    assert rate[10] == pytest.approx(1e-3)
    made = [(one.step, one.name, one.before, one.after) for one in trained.changes]
    assert made == [
        (10, "architecture.k", 4, 6),
        (10, "learning_rate", 3e-3, 1e-3),
        (21, "architecture.k", 6, 2),
    ]
    assert told == list(trained.changes) == read_changes(tmp_path)
    assert trained.sae is not None
    assert trained.sae.architecture.k == 2  # pyright: ignore[reportAttributeAccessIssue]
    again = train_runs(rows, [run], folders=[tmp_path])[0]
    assert same(again, trained)
    assert again.changes == trained.changes


@pytest.mark.parametrize(
    ("architecture", "name", "value", "term"),
    [
        ({"kind": "standard"}, "l1_coefficient", 50.0, "l1_loss"),
        ({"kind": "gated"}, "l1_coefficient", 50.0, "l1_loss"),
        ({"kind": "jump_relu", "target_l0": None}, "sparsity_coefficient", 10.0, "l0_loss"),
        ({"kind": "jump_relu", "target_l0": 8}, "target_l0", 2.0, "l0"),
        ({"kind": "batch_topk", "k": 8}, "k", 2, "l0"),
        ({"kind": "matryoshka", "k": 8}, "k", 2, "l0"),
    ],
)
def test_each_architectures_sparsity_can_be_changed(
    rows: Rows, architecture: dict[str, Any], name: str, value: float, term: str
) -> None:
    config = settings(
        d_sae=32,
        total_tokens=64 * 30,
        batch_size=64,
        learning_rate=1e-3,
        log_every=1,
        architecture=architecture,
    )
    run = Run(RESIDUAL, config=config)
    (plain,) = train_runs(rows, [run])
    (sparser,) = train_runs(rows, [run], **asked((5, name, value)))
    (change,) = sparser.changes
    assert change.name == f"architecture.{name}"
    assert sparser.history[term][:5] == plain.history[term][:5]
    if term == "l0":
        assert sparser.history[term][-1] < plain.history[term][-1] / (1 if name == "target_l0" else 2)
    else:
        ratio = sparser.history[term][5] / plain.history[term][5]
        assert ratio == pytest.approx(change.after / change.before, rel=1e-5)


def test_what_cannot_change_is_said_and_left(
    rows: Rows, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run = Run(RESIDUAL, config=CONFIG, name="one")
    with caplog.at_level(logging.WARNING):
        (trained,) = train_runs(
            rows,
            [run],
            folders=[tmp_path],
            **asked((3, "d_sae", 64), (4, "k", 99), (5, "learning_rate", -1.0)),
        )
    assert trained.changes == ()
    assert same(trained, train_runs(rows, [run])[0])
    said = "\n".join(caplog.messages)
    assert "d_sae cannot change while a training runs; learning_rate and architecture.k can" in said
    assert "k is 99, but the dictionary has only 32 latents" in said
    assert "learning_rate" in said
    steered = settings(CONFIG, architecture="jump_relu", target_l0=4)
    assert set(live_settings(steered)) == {"learning_rate", "architecture.target_l0"}
    with pytest.raises(ValueError, match="sparsity_coefficient cannot change"):
        changed(steered, "sparsity_coefficient", 2.0)


def test_a_change_is_made_again_by_whoever_goes_on(rows: Rows, tmp_path: Path) -> None:
    """Killed after the change and before the next checkpoint; and nobody asks for it a second time."""
    run = Run(RESIDUAL, config=CONFIG, name="one")
    wanted = [(7, "k", 6.0), (8, "learning_rate", 1e-3), (8, "learning_rate", 2e-3), (22, "k", 3.0)]
    (unbroken,) = train_runs(rows, [run], folders=[tmp_path / "unbroken"], **asked(*wanted))
    folder = tmp_path / "broken"
    for batches in (9, 23):
        arguments = asked(*(one for one in wanted if one[0] >= batches - 5))
        until_then, note = until(batches, Killed), arguments["progress"]

        def progress(report: Progress, note: Any = note, until_then: Any = until_then) -> None:
            note(report)
            until_then(report)

        with pytest.raises(Killed):
            train_runs(rows, [run], folders=[folder], progress=progress, changes=arguments["changes"])
    assert [one.step for one in list_checkpoints(folder)] == [15, 20]
    (resumed,) = train_runs(rows, [run], folders=[folder])
    assert same(resumed, unbroken)
    assert resumed.history["loss"] == unbroken.history["loss"]
    made = [[(c.step, c.name, c.before, c.after) for c in one.changes] for one in (resumed, unbroken)]
    assert made[0] == made[1]


def test_a_run_made_longer_is_the_longer_run(rows: Rows, tmp_path: Path) -> None:
    """Stopped before its learning rate decays, a run can be continued to any length as if it had been meant to be."""
    long = settings(CONFIG, total_tokens=64 * 60, decay_fraction=0.2)
    short = settings(CONFIG, total_tokens=64 * 30, decay_fraction=0.2)
    (unbroken,) = train_runs(rows, [Run(RESIDUAL, config=long, name="one")])
    taken: list[float] = []
    (stopped,) = train_runs(
        rows,
        [Run(RESIDUAL, config=short, name="one")],
        folders=[tmp_path],
        progress=lambda report: taken.append(report.done),
        stop=lambda: taken[-1] >= 64 * 20,
    )
    assert stopped.stopped
    (continued,) = train_runs(rows, [Run(RESIDUAL, config=long, name="one")], folders=[tmp_path])
    assert same(continued, unbroken)
    assert [(c.step, c.name, c.after) for c in continued.changes] == [(20, "total_tokens", 64 * 60)]
    assert continued.history["learning_rate"] == unbroken.history["learning_rate"]
    with pytest.raises(RunRefused, match=r"total_tokens \(1,920, and it has 3,840\)"):
        train_runs(rows, [Run(RESIDUAL, config=short, name="one")], folders=[tmp_path])


def test_a_finished_run_goes_on_with_its_learning_rate_back(rows: Rows, tmp_path: Path) -> None:
    run = Run(RESIDUAL, config=CONFIG, name="one")
    (first,) = train_runs(rows, [run], folders=[tmp_path])
    longer = Run(RESIDUAL, config=settings(CONFIG, total_tokens=64 * 80), name="one")
    (second,) = train_runs(rows, [longer], folders=[tmp_path])
    assert second.steps == 80
    assert second.history["loss"][: len(first.history["loss"])] == first.history["loss"]
    rate = dict(zip(second.history["step"], second.history["learning_rate"], strict=True))
    assert rate[40] < CONFIG.learning_rate / 5
    assert rate[42] == CONFIG.learning_rate
    assert second.history["fvu"][-1] < first.history["fvu"][-1]
    assert same(train_runs(rows, [longer], folders=[tmp_path])[0], second)


def test_the_newest_and_the_best_checkpoints_are_kept(rows: Rows, tmp_path: Path) -> None:
    run = Run(RESIDUAL, config=settings(CONFIG, keep_checkpoints=3), name="one")
    train_runs(rows, [run], folders=[tmp_path / "a"], **asked((20, "k", 1)))
    found = list_checkpoints(tmp_path / "a")
    assert [one.step for one in found] == [20, 30, 35, 40]
    assert best_of(found, "fvu") is found[0]
    assert [one.tokens for one in found] == [64 * one.step for one in found]
    points = read_metrics(tmp_path / "a" / "metrics.bin")
    chosen = (points["step"] > 15) & (points["step"] <= 20)
    assert found[0].metrics["fvu"] == pytest.approx(points["fvu"][chosen].mean(), rel=1e-12)
    assert found[0].config.architecture.k == 4  # pyright: ignore[reportAttributeAccessIssue]
    assert found[1].config.architecture.k == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert all(one.bytes > 3 * 4 * 2 * 32 * 16 for one in found)

    none = Run(RESIDUAL, config=settings(CONFIG, keep_checkpoints=1, best_checkpoint="none"), name="one")
    train_runs(rows, [none], folders=[tmp_path / "b"], **asked((20, "k", 1)))
    (newest,) = list_checkpoints(tmp_path / "b")
    assert newest.step == 40

    # A kill between the writing of the last one and the deleting of what it takes the place of.
    shutil.copytree(newest.path, newest.path.with_name(newest.path.name.replace("40", "35")))
    (tmp_path / "b" / RESULT_FILE).unlink()
    train_runs(rows, [none], folders=[tmp_path / "b"])
    assert [one.step for one in list_checkpoints(tmp_path / "b")] == [40]


def test_going_back_to_a_checkpoint_forgets_what_came_later(rows: Rows, tmp_path: Path) -> None:
    run = Run(RESIDUAL, config=settings(CONFIG, keep_checkpoints=10), name="one")
    (plain,) = train_runs(rows, [run])
    train_runs(rows, [run], folders=[tmp_path], **asked((8, "k", 6), (8, "learning_rate", 1e-2)))
    with pytest.raises(CheckpointMissing, match=r"no checkpoint of step 7\. There are: 5, 10"):
        rewind(tmp_path, 7)
    rewind(tmp_path, 5)
    assert [one.step for one in list_checkpoints(tmp_path)] == [5]
    assert read_changes(tmp_path) == []
    assert read_metrics(tmp_path / "metrics.bin")["step"].tolist() == [1, 2, 4]
    (again,) = train_runs(rows, [run], folders=[tmp_path])
    assert same(again, plain)
    assert find_checkpoint(tmp_path, 10).changes == 0


def test_changes_of_one_run_leave_its_neighbours(rows: Rows) -> None:
    runs = [Run(RESIDUAL, config=CONFIG, name=name) for name in ("a", "b")]
    a, b = train_runs(rows, runs, **asked((5, "k", 2), run="a"))
    assert same(b, train_runs(rows, runs[1:])[0])
    assert not same(a, b)
    assert isinstance(b, TrainedSAE)
    assert weights(a)["W_dec"].shape == weights(b)["W_dec"].shape


@pytest.mark.slow
def test_fifty_kills_change_nothing(tmp_path: Path) -> None:
    """Two runs whose settings change on the way, killed fifty times at random points, come to the same bits."""
    command = [sys.executable, "-m", "tests.engine.killing", str(tmp_path), "50"]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, cwd=Path(__file__).parents[2]
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    unbroken, *broken = said["held"]
    assert said["by_line"] + said["by_clock"] == 50
    assert unbroken["first"]["points"] == 60
    assert [len(unbroken[name]["changes"]) for name in ("first", "second")] == [2, 2]
    for one in broken:
        assert one == unbroken
