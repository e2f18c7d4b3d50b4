"""Jobs in real processes of their own: how they succeed, fail, are cancelled, stopped, paused and retried."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mistudio import jobs
from mistudio.db import utc_now
from mistudio.errors import Conflict, NotFound
from mistudio.jobs.joblog import log_path, read_log
from mistudio.jobs.local import LocalDispatcher
from mistudio.settings import Settings
from tests.jobs.conftest import Desk, Recorder
from tests.jobs.plugin import CountParams, FailParams, NoParams, PathParams

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("dispatcher")]


def counting(folder: Path, name: str = "a", **options: Any) -> CountParams:
    return CountParams(file=folder / f"{name}.count", trace=folder / f"{name}.trace", **options)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_job_runs_to_its_end_and_everybody_hears_of_it(desk: Desk, recorder: Recorder) -> None:
    job_id = desk.submit("test.count", counting(desk.folder, steps=30))
    job = desk.end(job_id)
    assert job.state == "succeeded", job.error
    assert job.result == {"from": 0, "to": 30, "device": "cpu", "cuda": ""}
    assert (job.done, job.total, job.unit, job.stage) == (30, 30, "steps", "Count")
    assert job.rate is not None and 0 < job.rate < 50  # a step takes 20 ms at least
    assert job.lease_owner is None and job.error is None and job.seconds_left is None
    for channel in (f"jobs/{job_id}", "jobs", "things/th_1"):
        desk.until(lambda channel=channel: recorder.finals(channel))
        assert recorder.states(channel) == ["queued", "running", "succeeded"]
        assert recorder.finals(channel) == ["succeeded"]
    shown = [data for channel, _, data in recorder.events if channel == f"jobs/{job_id}" and data["done"]]
    assert any(data["seconds_left"] and data["rate"] for data in shown)


def test_an_error_for_the_user_arrives_as_it_stands(desk: Desk) -> None:
    job = desk.end(desk.submit("test.fail", FailParams(how="public")))
    assert job.state == "failed"
    assert job.error == {
        "code": "too_blue",
        "message": "The sky is too blue.",
        "hint": "Wait for the evening.",
    }


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("internal", "internal"),
        ("exit", "crashed"),
        ("sysexit", "internal"),
        ("segfault", "crashed"),
        ("disk", "disk_full"),
        ("memory", "out_of_memory"),
        ("limit", "out_of_memory"),
    ],
)
def test_every_way_to_fail_gives_one_clear_sentence(
    desk: Desk, settings: Settings, recorder: Recorder, how: str, code: str
) -> None:
    job = desk.end(desk.submit("test.fail", FailParams(how=how)))
    assert job.state == "failed" and job.error is not None
    assert job.error["code"] == code
    assert job.error["message"].endswith(".") and "secret" not in str(job.error)
    desk.until(lambda: recorder.finals("jobs") == ["failed"])
    log = read_log(log_path(settings, job.id))
    assert "about to fail" in log and "over" in log and "10%" not in log
    if how == "internal":
        assert "ZeroDivisionError: a secret detail" in log and job.id in job.error["message"]
        assert 'File "mistudio/jobs/runner.py"' in log and "/" not in re.findall(r'File "(.)', log), log
    if how == "limit":  # a real limit of the system, met by PyTorch's own allocator
        assert job.error["message"] == "The machine ran out of memory: 4.0 GB more could not be had."
        assert "batch_size" in job.error["hint"] and "d_sae" in job.error["hint"]
    if how == "exit":
        assert "status 3" in job.error["message"]
    for line in log.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line), line


def test_results_that_json_does_not_know_are_written_in_a_form_it_does(desk: Desk) -> None:
    job = desk.end(desk.submit("test.fail", FailParams(how="result")))
    assert (job.state, job.result) == ("succeeded", {"nan": None, "path": "x"})


def test_invalid_parameters_fail_with_the_field(desk: Desk) -> None:
    job = desk.end(desk.submit("test.count", NoParams()))
    assert job.error is not None and job.error["code"] == "params_invalid" and "file" in job.error["message"]


def test_a_killed_job_of_a_resumable_kind_continues_where_it_was(desk: Desk, recorder: Recorder) -> None:
    params = counting(desk.folder, steps=40)
    job_id = desk.submit("test.count", params)
    desk.until(lambda: params.file.exists() and int(params.file.read_text()) >= 5)
    os.kill(int(params.trace.read_text().split()[1]), signal.SIGKILL)
    job = desk.end(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert job.result is not None and job.result["from"] >= 5
    numbers = [int(line.split()[2]) for line in params.trace.read_text().splitlines()]
    assert sorted(set(numbers)) == list(range(1, 41))
    desk.until(lambda: recorder.finals("jobs"))
    assert recorder.states(f"jobs/{job_id}") == ["queued", "running", "queued", "running", "succeeded"]


def test_a_job_that_is_killed_again_and_again_fails(desk: Desk) -> None:
    params = counting(desk.folder, steps=10_000)
    job_id = desk.submit("test.count", params)
    for attempt in (1, 2, 3):
        pid = desk.until(
            lambda attempt=attempt: [
                line.split()[1]
                for line in (params.trace.read_text().splitlines() if params.trace.exists() else [])
                if line.split()[0] == str(attempt)
            ]
        )[0]
        os.kill(int(pid), signal.SIGKILL)
    job = desk.end(job_id)
    assert job.state == "failed" and job.error is not None
    assert "probably because memory ran out" in job.error["message"]


def test_a_killed_job_that_cannot_be_resumed_fails_and_can_be_retried(desk: Desk) -> None:
    params = counting(desk.folder, steps=30)
    job_id = desk.submit("test.count_once", params)
    desk.until(params.trace.exists)
    os.kill(int(params.trace.read_text().split()[1]), signal.SIGKILL)
    job = desk.end(job_id)
    assert job.state == "failed" and job.error is not None and job.error["code"] == "killed"
    desk.do(jobs.retry, job_id)
    job = desk.end(job_id)
    assert (job.state, job.attempt, job.error) == ("succeeded", 2, None)


def test_cancel_a_running_job(desk: Desk, recorder: Recorder) -> None:
    params = counting(desk.folder, steps=10_000)
    job_id = desk.submit("test.count", params)
    desk.until(params.trace.exists)
    started = time.monotonic()
    assert desk.do(jobs.cancel, job_id).state == "cancelling"
    job = desk.end(job_id)
    assert job.state == "cancelled" and time.monotonic() - started < 5
    desk.until(lambda: recorder.finals("jobs"))
    assert recorder.states(f"jobs/{job_id}") == ["queued", "running", "cancelling", "cancelled"]
    assert recorder.finals(f"jobs/{job_id}") == ["cancelled"]
    with pytest.raises(Conflict):
        desk.do(jobs.resume, job_id)
    assert desk.do(jobs.cancel, job_id).state == "cancelled"
    desk.do(jobs.retry, job_id)
    desk.until_state(job_id, "running")
    assert [job.id for job in desk.do(jobs.cancel_subject, "things/th_1")] == [job_id]
    assert desk.end(job_id).state == "cancelled"


@pytest.mark.parametrize("suffix", [".ear", ".deaf"])
def test_a_job_that_ignores_cancel_is_terminated_then_killed(desk: Desk, suffix: str) -> None:
    file = desk.folder / f"stubborn{suffix}"
    job_id = desk.submit("test.stubborn", PathParams(file=file))
    desk.until(lambda: file.exists() and file.read_text())
    desk.do(jobs.cancel, job_id)
    assert desk.end(job_id).state == "cancelled"
    assert gone(int(file.read_text()))
    assert file.with_suffix(".tidied").exists() == (suffix == ".ear")


def test_the_children_of_a_job_end_with_it(desk: Desk) -> None:
    file = desk.folder / "pids"
    job_id = desk.submit("test.parent", PathParams(file=file))
    pids = desk.until(lambda: file.exists() and [int(pid) for pid in file.read_text().split()])
    assert len(pids) == 2
    job = psutil.Process(pids[0])
    # The watching shell, the child, and the child's child.
    descendants = desk.until(lambda: len(f := job.children(recursive=True)) >= 3 and [c.pid for c in f])
    desk.do(jobs.cancel, job_id)
    desk.end(job_id)
    desk.until(lambda: all(gone(pid) for pid in [*pids, *descendants]))


def test_messages_reach_the_job_in_order_and_are_consumed(desk: Desk, recorder: Recorder) -> None:
    job_id = desk.submit("test.echo", NoParams())
    for number in range(5):
        desk.do(jobs.send, job_id, {"number": number})
    desk.until(lambda: len([e for e in recorder.events if e[0] == "echo/room"]) == 5)
    started = time.monotonic()
    desk.do(jobs.send, job_id, {"number": 5})
    desk.until(lambda: len([e for e in recorder.events if e[0] == "echo/room"]) == 6)
    assert time.monotonic() - started < 1
    desk.do(jobs.send, job_id, {"end": True})
    job = desk.end(job_id)
    assert job.result == {"heard": 6}
    assert [data["number"] for channel, _, data in recorder.events if channel == "echo/room"] == list(
        range(6)
    )
    with pytest.raises(Conflict):
        desk.do(jobs.send, job_id, {"late": True})


def test_stop_keeps_and_pause_leaves_with_a_checkpoint(desk: Desk) -> None:
    params = PathParams(file=desk.folder / "kept")
    job_id = desk.submit("test.keep", params)
    desk.until(lambda: desk.job(job_id).done)
    assert desk.do(jobs.pause, job_id).asked == "pause"
    paused = desk.until_state(job_id, "paused")
    assert paused.asked is None and paused.lease_owner is None
    saved = int(params.file.read_text())
    assert saved > 0
    assert desk.do(jobs.resume, job_id).attempt == 2
    desk.until(lambda: (desk.job(job_id).done or 0) > saved)
    desk.do(jobs.request_stop, job_id)
    job = desk.end(job_id)
    assert job.state == "succeeded" and job.result is not None and job.result["kept"] > saved


def test_a_job_may_submit_another(desk: Desk, recorder: Recorder) -> None:
    desk.end(desk.submit("test.chain", counting(desk.folder, steps=1)))
    with desk.database.reading() as session:
        newest = jobs.latest_jobs(session, ["things/th_1", "things/none"])["things/th_1"]
    assert newest.title == "The next"
    assert desk.end(newest.id).state == "succeeded"
    desk.until(lambda: recorder.finals(f"jobs/{newest.id}"))
    assert recorder.finals(f"jobs/{newest.id}") == ["succeeded"]


def test_progress_is_thinned_and_its_last_word_arrives(desk: Desk, recorder: Recorder) -> None:
    started = time.monotonic()
    job = desk.end(desk.submit("test.noisy", NoParams()))
    seconds = time.monotonic() - started
    assert job.done == 50_000
    noise = [(kind, data) for channel, kind, data in recorder.events if channel == "noise/1"]
    assert noise[-1] == ("over", {}) and noise[-2] == ("level", {"done": 50_000})
    assert len(noise) <= 10 * seconds + 3


def test_unknown_jobs_are_named(desk: Desk) -> None:
    for action in (jobs.cancel, jobs.retry, jobs.pause, jobs.resume, jobs.request_stop):
        with pytest.raises(NotFound, match="jb_nothing"):
            desk.do(action, "jb_nothing")


def test_the_dispatcher_tells_what_other_processes_changed(
    desk: Desk, recorder: Recorder, dispatcher: LocalDispatcher
) -> None:
    from sqlalchemy import update

    job_id = desk.submit("test.keep", PathParams(file=desk.folder / "kept"))
    desk.until_state(job_id, "running")
    other = desk.submit("test.count", counting(desk.folder, steps=10_000), subject="things/th_2")
    with desk.database.session() as session:  # as another process would
        job = jobs.get_job(session, other)
        session.execute(
            update(jobs.Job)
            .where(jobs.Job.id == job.id)
            .values(title="Renamed elsewhere", updated_by="elsewhere", updated_at=utc_now())
        )
    desk.until(lambda: any(data.get("title") == "Renamed elsewhere" for _, _, data in recorder.events))
