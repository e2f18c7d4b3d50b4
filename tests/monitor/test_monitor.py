"""The machine as the monitor sees it: checked against what the machine is really made to do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mistudio import monitor
from mistudio.app import create_app
from mistudio.db import Base, Database
from mistudio.errors import NotFound
from mistudio.jobs import Job, is_job, states
from mistudio.monitor import sampling, storage
from mistudio.monitor.processes import job_of
from mistudio.monitor.readings import Machine, Rate
from mistudio.monitor.sampling import Sampler, history, reading
from mistudio.monitor.schemas import Cpu, Disk, Gpu, GpuProcess, Memory, Network, Sample
from mistudio.settings import LoadedSettings, Settings
from tests.events.client import FollowingClient
from tests.web.live import live_server, wait_until

CHANNELS = ["system/cpu", "system/memory", "system/disk", "system/network", "system/processes"]


def is_ours(job_id: str) -> bool:
    """The one job of these tests' database."""
    return job_id == "jb_test"


def sample(at: float, *, gpus: int = 0, total: float = 10.0) -> Sample:
    return Sample(
        at=at,
        cpu=Cpu(total=total, cores=[total, total], load=[0, 0, 0]),
        memory=Memory(total=100, used=50, available=50, swap_total=0, swap_used=0),
        disk=Disk(total=100, used=10, free=90, read_rate=None, write_rate=1.0),
        network=Network(received_rate=1.0, sent_rate=2.0),
        gpus=[
            Gpu(
                index=index,
                name="test",
                utilization=50.0,
                memory_total=100,
                memory_used=10,
                temperature=40.0,
                power=None,
                power_limit=None,
                processes=[GpuProcess(pid=1, memory=5)],
            )
            for index in range(gpus)
        ],
        processes=[],
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    loaded = LoadedSettings(Settings(data_dir=tmp_path_factory.mktemp("data")), {})
    app = create_app(loaded, domains=[monitor.domain], migrate=False, dispatcher=lambda *_: None)
    with live_server(app) as url:
        wait_until(lambda: httpx.get(f"{url}/api/v1/system").status_code == 200)
        yield url


def test_counters_become_rates() -> None:
    rate = Rate()
    assert rate.read(1_000, 10.0) is None
    assert rate.read(3_000, 12.0) == 1_000
    assert rate.read(500, 13.0) is None, "a counter that went back is no negative rate"
    assert rate.read(700, 15.0) == 100
    assert rate.read(None, 16.0) is None
    assert rate.read(900, 17.0) is None


def test_a_sample_agrees_with_the_system(tmp_path: Path) -> None:
    machine = Machine(tmp_path, is_ours)
    machine.sample()
    deadline = time.process_time() + 0.4
    while time.process_time() < deadline:
        pass
    measured = machine.sample()
    assert len(measured.cpu.cores) == psutil.cpu_count()
    assert all(0 <= core <= 100 for core in measured.cpu.cores)
    assert measured.cpu.total > 10, "a busy core was not seen"
    memory = psutil.virtual_memory()
    assert measured.memory.total == memory.total
    assert abs(measured.memory.available - memory.available) < 0.1 * memory.total
    assert measured.disk.total == psutil.disk_usage(str(tmp_path)).total
    here = measured.processes[0]
    assert (here.role, here.pid, here.job_id) == ("server", psutil.Process().pid, None)
    assert here.cpu > 10
    assert abs(here.rss - psutil.Process().memory_info().rss) < 50_000_000


def test_job_processes_are_found_with_their_children(tmp_path: Path) -> None:
    """A process with the job runner's command line, which starts a child that eats 60 MB."""
    child = "import time; x = bytearray(60_000_000); x[::4096] = b'1' * len(x[::4096]); time.sleep(30)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", parent, "-m", "mistudio.job_process", "jb_test"]
    process = subprocess.Popen(command)
    try:
        machine = Machine(tmp_path, is_ours)

        def found() -> Any:
            jobs = [work for work in machine.sample().processes if work.job_id == "jb_test"]
            return jobs[0] if jobs and jobs[0].rss > 60_000_000 else None

        work = wait_until(found, what="the job's process")
        assert (work.role, work.pid) == ("job", process.pid)
        assert work.gpu_memory is None or work.gpu_memory >= 0
        assert abs(work.started_at - time.time()) < 60
    finally:
        for member in psutil.Process(process.pid).children(recursive=True):
            member.kill()
        process.kill()
        process.wait()
    assert not [work for work in machine.sample().processes if work.job_id == "jb_test"]


def test_a_child_that_has_its_parents_command_line_is_no_job_of_its_own(tmp_path: Path) -> None:
    """As every child has it between fork and exec; here one that never execs, and dies unburied."""
    parent = "import os, time; child = os.fork(); time.sleep(30 if child else 0.5)"
    command = [sys.executable, "-c", parent, "-m", "mistudio.job_process", "jb_test"]
    process = subprocess.Popen(command)
    machine = Machine(tmp_path, is_ours)

    def jobs() -> list[int]:
        return [work.pid for work in machine.sample().processes if work.job_id == "jb_test"]

    try:
        (child,) = wait_until(lambda: psutil.Process(process.pid).children(), what="the child")
        assert jobs() == [process.pid]
        wait_until(lambda: child.status() == psutil.STATUS_ZOMBIE, what="the child's end")
        assert jobs() == [process.pid]
    finally:
        process.kill()
        process.wait()
    assert jobs() == []


def test_jobs_of_other_servers_are_not_shown(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'mistudio.db'}")
    asked: list[str] = []

    def in_our_database(job_id: str) -> bool:
        asked.append(job_id)
        return is_job(database, job_id)

    sleeping = [sys.executable, "-c", "import time; time.sleep(30)", "-m", "mistudio.job_process"]
    ours, theirs = (subprocess.Popen([*sleeping, job]) for job in ("jb_ours", "jb_theirs"))
    try:
        machine = Machine(tmp_path, in_our_database)
        wait_until(lambda: machine.sample() and {"jb_ours", "jb_theirs"} <= set(asked), what="both jobs")
        assert [work.role for work in machine.sample().processes] == ["server"], "there is no table yet"

        Base.metadata.create_all(database.engine, tables=[Base.metadata.tables["jobs"]])
        with database.session() as session:
            job = Job(
                id="jb_ours", kind="t", subject="t/1", title="t", params={}, resource="cpu", resumable=False
            )
            states.add(session, job)
        assert [work.job_id for work in machine.sample().processes] == [None, "jb_ours"]
        asked.clear()
        assert [work.job_id for work in machine.sample().processes] == [None, "jb_ours"]
        assert not {"jb_ours", "jb_theirs"} & set(asked), "a process is asked about once"
    finally:
        for process in (ours, theirs):
            process.kill()
            process.wait()
        database.dispose()


@pytest.mark.parametrize(
    ("command", "job"),
    [
        (["python", "-m", "mistudio.job_process", "jb_1"], "jb_1"),
        (["python", "-m", "mistudio.job_process"], None),
        (["vim", "mistudio.job_process"], None),
        ([], None),
    ],
)
def test_a_job_is_told_by_the_command_line(command: list[str], job: str | None) -> None:
    assert job_of(command) == job


def test_history_as_columns_with_a_gpu_that_came_later() -> None:
    columns = history([sample(1.0), sample(2.0, gpus=1), sample(3.0, gpus=2)])
    assert columns.at == [1.0, 2.0, 3.0]
    assert columns.cores == [[10.0] * 3] * 2
    assert columns.read_rate == [None] * 3
    assert [gpu.utilization for gpu in columns.gpus] == [[None, 50.0, 50.0], [None, None, 50.0]]
    assert history([]).at == []


def test_readings_of_a_gpu() -> None:
    told = reading(sample(1.0, gpus=2), "system/gpu/1")
    assert (told["index"], told["memory_used"], told["power"]) == (1, 10, None)
    for channel in ("system/gpu/2", "system/gpu/x", "system/nothing"):
        with pytest.raises(NotFound):
            reading(sample(1.0, gpus=2), channel)


@pytest.mark.slow
def test_one_hour_is_remembered_and_no_more(tmp_path: Path) -> None:
    class Nowhere:
        def publish(self, *_: Any, **__: Any) -> None: ...

    sampler = Sampler(tmp_path, Nowhere(), is_ours)
    now = time.time()
    for number in range(2_000):
        sampler._samples.append(sample(now - 2.0 * (2_000 - number)))
    assert len(sampler._samples) == 1_800
    found = len(sampler.samples(60))
    passed = time.time() - now  # samples grow old while a busy machine fills the list
    assert (60 - passed) // 2 - 1 <= found <= 30
    assert len(sampler.samples()) >= 1_799


@pytest.mark.slow
def test_polling_gives_now_and_history(server: str) -> None:
    first = httpx.get(f"{server}/api/v1/system").json()
    assert first["interval_seconds"] == 2.0
    assert first["history"]["at"] == []
    wait_until(lambda: httpx.get(f"{server}/api/v1/system").json()["now"]["at"] > first["now"]["at"])
    later = httpx.get(f"{server}/api/v1/system", params={"history_seconds": 3600}).json()
    ats = later["history"]["at"]
    assert ats[-1] == later["now"]["at"]
    assert 1.5 < ats[-1] - ats[-2] < 4
    assert len(later["history"]["cores"][0]) == len(ats)
    assert httpx.get(f"{server}/api/v1/system", params={"history_seconds": 3601}).status_code == 422


def test_every_channel_is_pushed_with_the_past_in_its_snapshot(server: str) -> None:
    past = {"history_seconds": 3600}
    wait_until(lambda: len(httpx.get(f"{server}/api/v1/system", params=past).json()["history"]["at"]) > 1)
    with FollowingClient(server) as client:
        for channel in CHANNELS:
            answer = client.follow(channel)
            snapshot = answer["snapshot"]
            assert snapshot["interval"] == 2.0
            if channel != "system/processes":
                history = snapshot["history"]
                assert history["at"][-1] == snapshot["now"]["at"]
                assert all(len(column) == len(history["at"]) for column in history.values())
                assert len(history) > 2
        for channel in CHANNELS:
            wait_until(lambda: client.events[channel], what=channel)  # noqa: B023
            event = client.events[channel][0]
            snapshot = client.snapshots[channel][0]
            assert event["type"] == "sample"
            assert set(event["data"]) == set(snapshot["now"])
            assert event["data"]["at"] > snapshot["now"]["at"]
        overview = client.follow("system")["snapshot"]
        assert overview["channels"][: len(CHANNELS)] == CHANNELS
        assert client.io.call("subscribe", {"channel": "system/gpu/99"})["error"]["code"] == "gpu_not_found"


def test_polling_a_channel_while_the_socket_is_down(server: str) -> None:
    state = httpx.get(f"{server}/api/v1/state/system/memory").json()
    assert state["snapshot"]["now"]["total"] == psutil.virtual_memory().total


def test_storage_by_kind(tmp_path: Path) -> None:
    (tmp_path / "datasets" / "ds_1").mkdir(parents=True)
    (tmp_path / "datasets" / "ds_1" / "text.arrow").write_bytes(b"x" * 50_000)
    (tmp_path / "models").mkdir()
    (tmp_path / "mistudio.db").write_bytes(b"x" * 9_000)
    (tmp_path / "mistudio.db-wal").write_bytes(b"x" * 1_000)
    measured = storage.measure(tmp_path)
    assert {item.kind: item.bytes for item in measured.kinds} == {"datasets": 50_000, "database": 10_000}
    assert measured.total == 60_000
    assert storage.measure(tmp_path / "nothing").kinds == []


def test_without_a_sampler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_current", None)
    with pytest.raises(Exception, match="does not watch"):
        sampling.current()
