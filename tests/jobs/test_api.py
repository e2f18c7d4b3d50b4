"""Jobs over HTTP and on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from mistudio import jobs
from mistudio.console import console_options
from mistudio.errors import StudioError
from mistudio.jobs import queue, states
from mistudio.jobs.commands import app as commands
from mistudio.jobs.joblog import JobLog, log_path
from mistudio.jobs.routes import router
from mistudio.settings import LoadedSettings, Settings
from mistudio.web import Studio
from mistudio.web.problems import problem_for, problem_response
from tests.jobs.conftest import Desk, Recorder
from tests.jobs.plugin import NoParams


@pytest.fixture
def http(desk: Desk, settings: Settings, recorder: Recorder) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(router, prefix="/api/v1")
    app.state.studio = Studio(LoadedSettings(settings, {}), desk.database, recorder)

    def refused(_request: Request, error: Exception) -> object:
        found = problem_for(error, settings)
        assert found is not None
        return problem_response(found, None)

    app.add_exception_handler(StudioError, refused)  # type: ignore[arg-type]
    with TestClient(app) as client:
        yield client


def test_list_filter_page_and_show(http: TestClient, desk: Desk) -> None:
    ids = [desk.submit("test.echo", NoParams(), subject=f"things/th_{n % 2}") for n in range(5)]
    desk.do(jobs.cancel, ids[0])
    listed = http.get("/api/v1/jobs").json()
    assert [job["id"] for job in listed["items"]] == ids[::-1] and listed["total"] == 5
    assert http.get("/api/v1/jobs", params={"state": "cancelled"}).json()["items"][0]["id"] == ids[0]
    assert http.get("/api/v1/jobs", params={"state": ["queued", "cancelled"]}).json()["total"] == 5
    assert http.get("/api/v1/jobs", params={"subject": "things/th_1"}).json()["total"] == 2
    assert http.get("/api/v1/jobs", params={"state": "sleeping"}).status_code == 422
    page = http.get("/api/v1/jobs", params={"limit": 2}).json()
    rest = http.get("/api/v1/jobs", params={"limit": 9, "cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in page["items"] + rest["items"]] == ids[::-1]
    shown = http.get(f"/api/v1/jobs/{ids[1]}").json()
    assert shown["state"] == "queued" and shown["attempt"] == 1 and shown["error"] is None
    missing = http.get("/api/v1/jobs/jb_no")
    assert missing.status_code == 404 and "jb_no" in missing.json()["detail"]


def test_actions_and_their_refusals(http: TestClient, desk: Desk) -> None:
    job_id = desk.submit("test.keep", NoParams())
    assert http.post(f"/api/v1/jobs/{job_id}/pause").json()["state"] == "paused"
    assert http.post(f"/api/v1/jobs/{job_id}/retry").status_code == 409
    resumed = http.post(f"/api/v1/jobs/{job_id}/resume")
    assert resumed.status_code == 202 and resumed.json()["state"] == "queued"
    assert http.post(f"/api/v1/jobs/{job_id}/stop").json()["state"] == "cancelled"
    assert http.post(f"/api/v1/jobs/{job_id}/retry").json()["attempt"] == 3
    assert http.post(f"/api/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    refused = http.post(f"/api/v1/jobs/{job_id}/resume").json()
    assert refused["code"] == "job_cancelled" and "cannot be resumed" in refused["detail"]
    echo = desk.submit("test.echo", NoParams())
    assert http.post(f"/api/v1/jobs/{echo}/pause").json()["code"] == "job_not_pausable"


def test_a_waiting_job_can_be_moved_in_the_queue(http: TestClient, desk: Desk) -> None:
    first, second = (desk.submit("test.keep", NoParams()) for _ in range(2))
    moved = http.patch(f"/api/v1/jobs/{second}", json={"priority": 5})
    assert moved.json()["priority"] == 5
    with desk.database.session() as session:
        claimed = states.claim_next(session, ["cpu"], owner="me", lease_seconds=10)
    assert claimed is not None and claimed.id == second
    refused = http.patch(f"/api/v1/jobs/{second}", json={"priority": 1})
    assert refused.status_code == 409 and "cannot be moved in the queue" in refused.json()["detail"]
    assert http.patch(f"/api/v1/jobs/{first}", json={"priority": 101}).status_code == 422


def test_the_log_can_be_read_tailed_and_saved(http: TestClient, desk: Desk, settings: Settings) -> None:
    job_id = desk.submit("test.echo", NoParams())
    assert http.get(f"/api/v1/jobs/{job_id}/log").text == ""
    log = JobLog(log_path(settings, job_id))
    for number in range(10):
        log.write(f"line {number} é")
    log.close()
    whole = http.get(f"/api/v1/jobs/{job_id}/log")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8" and "line 0 é" in whole.text
    tail = http.get(f"/api/v1/jobs/{job_id}/log", params={"tail": 2}).text.splitlines()
    assert [line.split(" ", 1)[1] for line in tail] == ["line 8 é", "line 9 é"]
    saved = http.get(f"/api/v1/jobs/{job_id}/log", params={"download": True})
    assert saved.headers["content-disposition"] == f'attachment; filename="{job_id}.log"'
    assert http.get("/api/v1/jobs/..%2Fmistudio.db/log").status_code == 404


def test_the_log_can_be_filtered_searched_and_followed(
    http: TestClient, desk: Desk, settings: Settings
) -> None:
    job_id = desk.submit("test.echo", NoParams())
    path = f"/api/v1/jobs/{job_id}/log/lines"
    assert http.get(path).json()["lines"] == []
    writer = JobLog(log_path(settings, job_id))
    writer.write("WARNING job: the loss is nan")
    writer.write("INFO job: going on")
    found = http.get(path, params={"level": "warning", "q": "nan"}).json()
    assert [line["number"] for line in found["lines"]] == [1]
    writer.write("INFO job: later")
    writer.close()
    later = http.get(path, params={"cursor": found["cursor"]}).json()
    assert [line["text"] for line in later["lines"]] == ["later"]
    assert http.get(path, params={"level": "loud"}).status_code == 422
    assert http.get(path, params={"cursor": "a.b.c"}).json()["fields"] == {"cursor": "unknown"}


def test_snapshots(desk: Desk) -> None:
    job_id = desk.submit("test.echo", NoParams())
    with desk.database.reading() as session:
        assert [job["id"] for job in queue.snapshot(session, "jobs")["jobs"]] == [job_id]
        assert queue.snapshot(session, f"jobs/{job_id}")["job"]["state"] == "queued"


def test_commands(desk: Desk, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_options, "flags", {"data_dir": settings.data_dir})
    monkeypatch.setattr(console_options, "as_json", True)
    monkeypatch.setattr(
        console_options, "prepare", []
    )  # what the whole command line prepares needs all tables
    monkeypatch.setattr("mistudio.db.migrate.upgrade", lambda *_: None)  # the tables are there already
    job_id = desk.submit("test.keep", NoParams())
    run = CliRunner().invoke

    def said(*arguments: str) -> object:
        result = run(commands, list(arguments))
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    listed = said("list", "--state", "queued")
    assert isinstance(listed, list) and listed[0]["id"] == job_id
    for command, state in [
        ("pause", "paused"),
        ("resume", "queued"),
        ("cancel", "cancelled"),
        ("retry", "queued"),
    ]:
        job = said(command, job_id)
        assert isinstance(job, dict) and job["state"] == state
    shown = said("show", job_id)
    assert isinstance(shown, dict) and shown["attempt"] == 3
    log = JobLog(log_path(settings, job_id))
    log.write("WARNING job: beware")
    log.write("INFO job: hello")
    log.close()

    def lines(*options: str) -> list[str]:
        logs = said("logs", job_id, *options)
        assert isinstance(logs, dict)
        return [line["text"] for line in logs["lines"]]

    assert lines("--tail", "1") == ["hello"]
    assert lines("--level", "warning") == ["beware"]
    assert lines("--search", "HELL") == ["hello"]
    monkeypatch.setattr(console_options, "as_json", False)
    assert run(commands, ["logs", job_id]).stdout.endswith(
        "Z WARNING job: beware\n" + run(commands, ["logs", job_id, "--tail", "1"]).stdout
    )
    assert isinstance(run(commands, ["logs", job_id, "--search", "nowhere"]).exception, StudioError)
    assert run(commands, ["logs", job_id, "--level", "loud"]).exit_code == 2
    assert isinstance(run(commands, ["show", "jb_no"]).exception, StudioError)
