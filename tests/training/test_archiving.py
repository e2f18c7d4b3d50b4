"""The curves of trainings whose job was killed: compressed by whoever brings the job to its end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sqlalchemy import select

from mistudio import jobs
from mistudio.engine.checkpoints import METRICS_FILE
from mistudio.jobs import Job
from mistudio.jobs.identity import machine
from mistudio.jobs.recovery import recover
from mistudio.sae.config import TrainerConfig
from mistudio.store import MetricLog, read_metrics
from mistudio.store.metric_archive import is_archive
from mistudio.training.archiving import archive_when_ended
from mistudio.training.views import job_subject, training_folder
from tests.training.runs_made import add_run, add_tokens


def a_run(settings: Any, database: Any, state: str, owner: str | None = None) -> tuple[Path, str]:
    """The curves of a run in this state, and the id of its job."""
    with database.session() as session:
        made = add_run(
            session,
            add_tokens(session, f"model {state}", f"data {state}"),
            state,
            TrainerConfig(d_sae=64),
            layer=0,
            at=datetime.now(UTC),
            state=state,
        )
        job = session.scalars(select(Job).where(Job.subject == job_subject(made.sweep_id))).one()
        job.lease_owner = owner
        path, job_id = training_folder(settings, made.id) / METRICS_FILE, job.id
    path.parent.mkdir(parents=True)
    with MetricLog(path, ["fvu"]) as log:
        for step in range(1, 101):
            log.append(step, 10 * step, {"fvu": 1 / step}, time=float(step))
    return path, job_id


def gone() -> str:
    """A process of this machine that is gone, as the owner of a job."""
    child = subprocess.Popen(["true"])
    began = psutil.Process(child.pid).create_time()
    child.wait()
    return f"{machine()}|{child.pid}|{began:.2f}|0"


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_killed_training_is_archived_when_its_job_is_taken_over(settings: Any, database: Any) -> None:
    before, _ = a_run(settings, database, "failed")
    killed, _ = a_run(settings, database, "cancelling", gone())
    waiting, job_id = a_run(settings, database, "queued")
    points = read_metrics(killed)
    stop = archive_when_ended(database, settings)
    try:
        wait_for(lambda: is_archive(before))
        assert not is_archive(killed), "its job has not ended yet"
        assert [job.state for job in recover(database, settings)] == ["cancelled"]
        wait_for(lambda: is_archive(killed))
        assert not is_archive(waiting), "it may be on its way at any moment"
        with database.session() as session:
            jobs.cancel(session, job_id)
        wait_for(lambda: is_archive(waiting))
    finally:
        stop()
    archived = read_metrics(killed)
    assert archived.keys() == points.keys()
    assert all(np.array_equal(archived[name], points[name]) for name in points)
