"""Memory: who may start beside whom, what is refused, and how a job that was ended for want of it is told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistudio.errors import StudioError
from mistudio.jobs import states
from mistudio.jobs.failures import out_of_memory
from mistudio.jobs.local import LocalDispatcher
from mistudio.jobs.memory import (
    head_waits,
    job_memory,
    kernel_kills,
    machine_memory,
    refuse_what_never_fits,
    starved,
)
from mistudio.settings import Settings
from tests.jobs.conftest import Desk, Recorder
from tests.jobs.plugin import CountParams, PathParams

GB = 10**9


@pytest.mark.slow
def test_a_job_waits_for_memory_while_others_that_need_none_go_on(
    desk: Desk, settings: Settings, recorder: Recorder, tmp_path: Path
) -> None:
    """Two slots and 3 GB: the second of two jobs of 2 GB waits, says why, and is not overtaken by a smaller one."""
    limited = settings.model_copy(update={"job_memory_bytes": 3 * GB})
    first = desk.submit("test.keep", PathParams(file=tmp_path / "a"), memory_bytes=2 * GB)
    second = desk.submit("test.keep", PathParams(file=tmp_path / "b"), memory_bytes=2 * GB)
    small = desk.submit("test.keep", PathParams(file=tmp_path / "c"), memory_bytes=GB // 2)
    count = CountParams(file=tmp_path / "n", trace=tmp_path / "t", steps=2)
    unknown = desk.submit("test.count", count)
    dispatcher = LocalDispatcher(desk.database, limited, recorder)
    dispatcher.start()
    try:
        assert desk.end(unknown).state == "succeeded"
        assert desk.job(first).state == "running"
        waiting = desk.job(second)
        assert waiting.state == "queued"
        assert waiting.stage == "Waits for memory: needs 2.0 GB, 1.0 GB of 3.0 GB are free"
        assert desk.job(small).state == "queued"
        desk.do(stop, first)
        desk.until(lambda: desk.job(second).state == "running" and desk.job(small).state == "running")
        for job_id in (second, small):
            desk.do(stop, job_id)
            assert desk.end(job_id).state == "succeeded"
    finally:
        dispatcher.stop()


def stop(session: object, job_id: str) -> None:
    from mistudio.jobs.queue import request_stop

    request_stop(session, job_id)  # pyright: ignore[reportArgumentType]


def test_with_nothing_running_the_first_starts_whatever_it_needs(desk: Desk, tmp_path: Path) -> None:
    desk.submit("test.keep", PathParams(file=tmp_path / "a"), memory_bytes=9 * GB)
    with desk.database.session() as session:
        assert not head_waits(session, ["cpu"], allowed=GB, taken=0, only=None)
        assert head_waits(session, ["cpu"], allowed=GB, taken=1, only=None)
        assert states.claim_next(session, ["cpu"], owner="me", lease_seconds=9, without_memory=True) is None


def test_what_could_never_fit_is_refused_with_the_estimate(settings: Settings) -> None:
    limited = settings.model_copy(update={"job_memory_bytes": 3 * GB})
    refuse_what_never_fits(limited, 3 * GB, "It")
    with pytest.raises(StudioError, match=r"It would need about 3\.2 GB .* may use 3\.0 GB") as refused:
        refuse_what_never_fits(limited, 3_200_000_000, "It")
    assert refused.value.code == "would_not_fit"
    assert "d_sae" in str(refused.value.hint)
    refuse_what_never_fits(limited.model_copy(update={"dispatch": "celery"}), 10**15, "It")
    assert 0 < job_memory(settings) < machine_memory()


def test_a_kill_for_want_of_memory_is_told_from_others() -> None:
    assert kernel_kills() >= 0
    assert starved(peak=1, kills=1, machine=10)
    assert starved(peak=95, kills=0, machine=100)
    assert not starved(peak=50, kills=0, machine=100)
    said = out_of_memory(7_400_000_000, 8 * GB)
    assert said.code == "out_of_memory"
    assert "held 7.4 of the machine's 8.0 GB" in said.message
    assert "batch_size" in str(said.hint)
