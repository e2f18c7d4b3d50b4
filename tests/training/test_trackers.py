"""Trackers: what they were sent is read back with their own readers; one that fails or is missing harms nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mistudio.store import read_metrics
from mistudio.training import sweeps, trackers, views
from mistudio.training.tables import Training
from mistudio.training.trackers import TrackedRun, Trackers, check_trackers
from tests.models.job_runs import run_here
from tests.training.test_sweeps import start, wanted


def run_of(tmp_path: Path, id: str = "tr_1") -> TrackedRun:
    return TrackedRun(id, f"run {id}", "sweep", {"d_sae": 64}, tmp_path / id)


def log_records(content: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, which W&B writes after 7 bytes of its own."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        left = 32_768 - at % 32_768
        if left < 7:  # no header fits into the rest of a block
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def wandb_records(path: Path) -> list[Any]:
    from wandb.proto import wandb_internal_pb2

    found: list[Any] = []
    for data in log_records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        found.append(record)
    return found


def point(step: int, **values: float) -> dict[str, float]:
    return {"step": step, "time": 1_700_000_000.0 + step, "tokens": step * 10, **values}


def test_tensorboard_reads_back_what_was_trained(settings: Any, database: Any, tokens: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    request = wanted(tokens, grid={"k": [2, 4]}, trackers=["tensorboard"])
    _, trainings, job_id = start(database, request)
    run_here(settings, database, job_id)
    for one in trainings:
        folder = views.training_folder(settings, one.id)
        events = EventAccumulator(str(folder / "tensorboard"))
        events.Reload()
        recorded = read_metrics(folder / "metrics.bin")
        scalars = events.Scalars("fvu")
        assert [event.step for event in scalars] == recorded["step"].tolist()
        assert [event.value for event in scalars] == pytest.approx(recorded["fvu"].tolist(), rel=1e-6)
        assert [event.wall_time for event in scalars] == pytest.approx(recorded["time"].tolist(), abs=1e-3)
    with database.session() as session:
        sweeps.delete_trainings(session, settings, [one.id for one in trainings])
        assert session.query(Training).count() == 0


def test_a_later_attempt_replaces_what_it_does_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in ((1, 2, 3, 4), (3, 4, 5)):
        tracking = Trackers(
            ["tensorboard"], [run_of(tmp_path)], project="p", data_dir=tmp_path, say=lambda text, level: None
        )
        tracking.points("tr_1", [point(step, loss=float(step + len(steps))) for step in steps])
        tracking.close()
    events = EventAccumulator(str(tmp_path / "tr_1" / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, 5.0),
        (2, 6.0),
        (3, 6.0),
        (4, 7.0),
        (5, 8.0),
    ]


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    said: list[str] = []
    runs = [run_of(tmp_path, "tr_1"), run_of(tmp_path, "tr_2")]
    tracking = Trackers(
        ["wandb"], runs, project="p", data_dir=tmp_path, say=lambda text, level: said.append(text)
    )
    for run in runs:
        tracking.points(run.id, [point(5, fvu=0.5, dead=float("nan")), point(10, fvu=0.25)])
    tracking.close()
    assert [text for text in said if "offline" not in text] == [] and len(said) == 2
    for run in runs:
        (path,) = (run.folder / "wandb").glob("offline-run-*/*.wandb")
        records = wandb_records(path)
        # Its own process writes behind us.
        deadline = time.monotonic() + 120
        while not any(record.HasField("exit") for record in records) and time.monotonic() < deadline:
            time.sleep(0.2)
            records = wandb_records(path)
        histories = [
            {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            for record in records
            if record.HasField("history")
        ]
        assert [(int(one["_step"]), float(one["fvu"])) for one in histories] == [(5, 0.5), (10, 0.25)]
        assert all("dead" not in one for one in histories)


@pytest.mark.slow
def test_trackio_keeps_several_runs_in_the_data_folder(tmp_path: Path) -> None:
    # The package reads its folder once, when it is imported.
    script = """
import sys
import time
from pathlib import Path
from mistudio.training.trackers import TrackedRun, Trackers
folder = Path(sys.argv[1])
runs = [TrackedRun(id, f"run {id}", "sweep", {"d_sae": 64}, folder / id) for id in ("tr_1", "tr_2")]
tracking = Trackers(["trackio"], runs, project="p", data_dir=folder, say=lambda text, level: print("SAID", text))
for place, run in enumerate(runs):
    for step in (5, 10):
        tracking.points(run.id, [{"step": step, "time": 1.7e9 + step, "tokens": step, "fvu": step + place}])
tracking.close()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKIO")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
        check=True,
    )
    assert "SAID" not in done.stdout, done.stdout
    (path,) = (tmp_path / "trackio").glob("p*.db")
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT run_name, step, metrics FROM metrics ORDER BY run_name, step"
        ).fetchall()
    assert [(name, step) for name, step, _ in rows] == [
        (f"run {id} ({id})", step) for id in ("tr_1", "tr_2") for step in (5, 10)
    ]
    assert json.loads(rows[3][2])["fvu"] == 11


def test_one_that_fails_is_said_once(tmp_path: Path) -> None:
    blocked = tmp_path / "tr_1"
    blocked.write_text("a file where TensorBoard wants a folder")
    said: list[tuple[str, str]] = []
    tracking = Trackers(
        ["tensorboard"],
        [run_of(tmp_path)],
        project="p",
        data_dir=tmp_path,
        say=lambda text, level: said.append((level, text)),
    )
    for step in range(5):
        tracking.points("tr_1", [point(step, fvu=0.5)])
    tracking.close()
    assert [level for level, _ in said] == ["warning"]
    assert "TensorBoard gets no further points" in said[0][1]


def test_a_missing_package_is_refused(tmp_path: Path) -> None:
    check_trackers(["tensorboard", "wandb", "trackio"])
    script = """
import sys
import time
sys.path.insert(0, sys.argv[1])
from mistudio.errors import StudioError
from mistudio.training.trackers import check_trackers
try:
    check_trackers(["wandb"])
except StudioError as refused:
    print(refused.fields["trackers"], refused)
"""
    source = str(Path(trackers.__file__).parents[2])
    # -S: an interpreter without any installed package
    command = [sys.executable, "-S", "-c", script, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "wandb is not installed" in done.stdout and "pip install 'mistudio[wandb]'" in done.stdout
