"""Servers that die, several servers on one database, and what is found at the next start."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from mistudio import jobs
from mistudio.jobs import Job, states
from mistudio.jobs.identity import is_dead, machine, this_process
from mistudio.jobs.local import LocalDispatcher
from mistudio.jobs.recovery import recover
from mistudio.settings import Settings
from tests.jobs.conftest import Desk, Recorder
from tests.jobs.plugin import CountParams, PathParams

pytestmark = pytest.mark.slow
Server = Callable[[Settings], "subprocess.Popen[str]"]


def counting(folder: Path, name: str = "a", **options: object) -> CountParams:
    return CountParams.model_validate(
        {"file": folder / f"{name}.count", "trace": folder / f"{name}.trace"} | options
    )


def pid_of(params: CountParams) -> int:
    return int(params.trace.read_text().split()[1])


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("both", [False, True], ids=["server", "server and job"])
def test_work_goes_on_after_kill_9(desk: Desk, settings: Settings, server: Server, both: bool) -> None:
    first = server(settings)
    params = counting(desk.folder, steps=50)
    once = counting(desk.folder, "once", steps=10_000)
    job_id, once_id = desk.submit("test.count", params), desk.submit("test.count_once", once)
    desk.until(lambda: params.trace.exists() and once.trace.exists() and int(params.file.read_text()) > 5)
    pids = [pid_of(params), pid_of(once)]
    family = [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    if both:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    first.kill()
    first.wait()
    desk.until(lambda: all(gone(pid) for pid in [*pids, *family]), timeout=5)
    server(settings)
    job = desk.end(job_id)
    assert job.state == "succeeded" and job.attempt == 2
    assert job.result is not None and job.result["from"] > 5
    lost = desk.end(once_id)
    assert lost.state == "failed" and lost.error is not None
    assert lost.error["code"] in (("interrupted", "killed") if both else ("interrupted",))


def test_a_server_that_is_stopped_leaves_everything_in_order(
    desk: Desk, settings: Settings, server: Server
) -> None:
    first = server(settings)
    kept = PathParams(file=desk.folder / "kept")
    once = counting(desk.folder, "once", steps=10_000)
    kept_id, once_id = desk.submit("test.keep", kept), desk.submit("test.count_once", once)
    waiting_id = desk.submit("test.count", counting(desk.folder, "late", steps=1))
    desk.until(lambda: desk.job(kept_id).done and once.trace.exists())
    first.terminate()
    assert first.wait(timeout=15) == 0
    kept_job = desk.job(kept_id)
    assert (kept_job.state, kept_job.attempt) == ("queued", 2)
    assert int(kept.file.read_text()) > 0, "it was asked in time to write its checkpoint"
    once_job = desk.job(once_id)
    assert once_job.state == "failed" and once_job.error is not None
    assert once_job.error["code"] == "interrupted"
    assert desk.job(waiting_id).state == "queued"
    assert gone(pid_of(once))


def test_two_servers_share_one_queue_and_run_nothing_twice(
    desk: Desk, settings: Settings, server: Server
) -> None:
    for _ in range(2):
        server(settings)
    work = [counting(desk.folder, str(number), steps=3) for number in range(8)]
    ids = [desk.submit("test.count_io", params) for params in work]
    for job_id in ids:
        job = desk.end(job_id, timeout=60)
        assert (job.state, job.attempt) == ("succeeded", 1)
    for params in work:
        assert [line.split()[2] for line in params.trace.read_text().splitlines()] == ["1", "2", "3"]


def claimed(desk: Desk, kind: str, owner: str, lease_seconds: float = 60) -> str:
    params = counting(desk.folder, steps=2)
    job_id = desk.submit(kind, params)
    with desk.database.session() as session:
        job = states.claim_next(session, ["cpu"], owner=owner, lease_seconds=lease_seconds, only=[job_id])
        assert job is not None
    return job_id


def dead_owner() -> str:
    ended = subprocess.Popen(["true"])
    ended.wait()
    return f"{machine()}|{ended.pid}|1.00|0"


def test_orphans_are_found_at_start(desk: Desk, settings: Settings, recorder: Recorder) -> None:
    resumable = claimed(desk, "test.count", dead_owner())
    once = claimed(desk, "test.count_once", dead_owner())
    cancelling = claimed(desk, "test.count", dead_owner())
    desk.do(jobs.cancel, cancelling)
    alive = claimed(desk, "test.count", f"{this_process()}|0")
    elsewhere = claimed(desk, "test.count", "another-machine|1|1.00|0")
    expired = claimed(desk, "test.count", "another-machine|1|1.00|0", lease_seconds=-1)
    dispatcher = LocalDispatcher(desk.database, settings, recorder)
    dispatcher.start()
    try:
        assert desk.end(resumable).state == "succeeded"
        lost = desk.end(once)
        assert lost.state == "failed" and lost.error is not None and lost.error["code"] == "interrupted"
        assert desk.end(cancelling).state == "cancelled"
        assert desk.end(expired).state == "succeeded"
        assert desk.job(alive).state == desk.job(elsewhere).state == "running"
    finally:
        dispatcher.stop()
    for job_id, state in ((resumable, "succeeded"), (once, "failed"), (cancelling, "cancelled")):
        assert recorder.finals(f"jobs/{job_id}") == [state]


def test_a_log_that_cannot_be_written_fails_the_job_at_once(
    desk: Desk, settings: Settings, recorder: Recorder
) -> None:
    (settings.data_dir / "jobs").write_text("a file where the folder of logs should be")
    dispatcher = LocalDispatcher(desk.database, settings, recorder)
    dispatcher.start()
    try:
        job = desk.end(desk.submit("test.count", counting(desk.folder)), timeout=5)
        assert job.state == "failed" and job.error is not None
        assert job.error["code"] == "process_not_started" and "exists" in job.error["message"].lower()
    finally:
        dispatcher.stop()


def test_of_many_who_find_an_orphan_one_takes_it(desk: Desk, settings: Settings) -> None:
    job_id = claimed(desk, "test.count", dead_owner())
    assert [job.id for job in recover(desk.database, settings)] == [job_id]
    assert recover(desk.database, settings) == []
    assert desk.job(job_id).attempt == 2


def test_a_supervisor_that_lost_its_lease_ends_its_process_and_says_nothing(
    desk: Desk, settings: Settings, recorder: Recorder
) -> None:
    from sqlalchemy import update

    dispatcher = LocalDispatcher(desk.database, settings, recorder)
    dispatcher.start()
    try:
        params = counting(desk.folder, steps=10_000)
        job_id = desk.submit("test.count", params)
        desk.until(params.trace.exists)
        with desk.database.session() as session:  # somebody else took it over
            session.execute(update(Job).where(Job.id == job_id).values(attempt=2, lease_owner="other|1|1"))
        desk.until(lambda: gone(pid_of(params)))
        desk.until(lambda: not dispatcher.running())
        job = desk.job(job_id)
        assert (job.state, job.attempt, job.lease_owner) == ("running", 2, "other|1|1")
        assert recorder.finals(f"jobs/{job_id}") == []
    finally:
        dispatcher.stop()


def test_a_dispatcher_for_one_job_leaves_the_others_alone(
    desk: Desk, settings: Settings, recorder: Recorder
) -> None:
    other = desk.submit("test.count", counting(desk.folder, "other", steps=1), priority=9)
    mine = desk.submit("test.count", counting(desk.folder, "mine", steps=1))
    dispatcher = LocalDispatcher(desk.database, settings, recorder, only={mine})
    dispatcher.start()
    try:
        assert desk.end(mine).state == "succeeded"
        assert desk.job(other).state == "queued"
    finally:
        dispatcher.stop()


def test_who_is_dead_is_known_only_on_the_same_machine() -> None:
    assert not is_dead(this_process())
    assert is_dead(dead_owner())
    assert not is_dead(dead_owner().replace(machine(), "another"))
    pid = os.getpid()
    assert is_dead(f"{machine()}|{pid}|12.00|0"), "the process id was used again by another process"
