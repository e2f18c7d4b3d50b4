"""The small parts: pace, log, slots, public errors."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.errors import StudioError
from mistudio.jobs import slots as slots_module
from mistudio.jobs.failures import exit_error, killed_from_outside, public_error
from mistudio.jobs.joblog import JobLog, read_log
from mistudio.jobs.pace import Pace
from mistudio.jobs.slots import Slots, usable_gpus
from mistudio.settings import Settings


@given(rate=st.floats(0.01, 1e6), gaps=st.lists(st.floats(0.01, 30), min_size=1, max_size=30))
def test_a_steady_job_shows_its_rate_and_the_time_left(rate: float, gaps: list[float]) -> None:
    pace, at = Pace(), 100.0
    total = rate * (sum(gaps) + 50)
    pace.update(0, total, "tokens", "Harvest", at)
    assert pace.rate is None and pace.seconds_left is None
    for gap in gaps:
        at += gap
        pace.update(rate * (at - 100), total, "tokens", "Harvest", at)
    assert pace.rate == pytest.approx(rate, rel=1e-3)
    assert pace.seconds_left == pytest.approx(50, rel=1e-2)


def test_what_an_earlier_attempt_did_does_not_count_as_speed() -> None:
    pace = Pace(5_000, 10_000, "tokens", "Train")
    pace.update(5_000, 10_000, "tokens", "Train", 1.0)
    assert pace.rate is None
    pace.update(5_100, 10_000, "tokens", "Train", 2.0)
    assert pace.rate == pytest.approx(100) and pace.seconds_left == pytest.approx(49)


def test_the_pace_follows_a_change_of_speed_and_starts_anew_with_a_stage() -> None:
    pace = Pace()
    for second in range(61):
        pace.update(second * 10, None, "rows", "Read", float(second))
    for second in range(1, 61):
        pace.update(600 + second, None, "rows", "Read", 60.0 + second)
    assert pace.rate == pytest.approx(1, rel=0.05) and pace.seconds_left is None
    pace.update(0, 10, "rows", "Write", 121.0)
    assert pace.rate is None


def test_work_in_bursts_says_its_rate_and_what_goes_on_between_them() -> None:
    pace = Pace()
    pace.update(0, 1_000, "tokens", "Train", 0.0)
    pace.update(500, 1_000, "tokens", "Train", 1.0, rate=50)
    pace.update(500, 1_000, "tokens", "Train", 9.0, "reading", rate=25)
    assert pace.columns()["stage"] == "Train, reading"
    assert (pace.rate, pace.seconds_left) == (25, 20)
    pace.update(600, 1_000, "tokens", "Train", 10.0)
    assert pace.columns()["stage"] == "Train"


def given_slowly(*arguments: Any, **named: Any) -> Any:
    """Like `given`, for what touches the disk: no deadline."""
    return lambda test: settings(deadline=None)(given(*arguments, **named)(test))


@given_slowly(
    st.lists(st.sampled_from([b"a", b"bb\n", b"\r", b"50%\r", b"\n", b"c" * 100, b"\r\n"]), max_size=40)
)
def test_the_log_holds_what_a_terminal_would_show(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("log") / "jobs" / "jb.log"
    log = JobLog(path)
    read, write = os.pipe()
    whole = b"".join(parts)
    os.write(write, whole)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        log.pump(pipe)
    log.close()
    shown = [line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode() for line in whole.split(b"\n")]
    if not whole or whole.endswith(b"\n"):
        shown.pop()
    lines = [line.partition(" ")[2] for line in read_log(path).splitlines()]
    assert lines == shown or (lines == shown[:-1] and not shown[-1])


@given_slowly(lines=st.lists(st.text("aé\u2028 ", max_size=30), max_size=60), tail=st.integers(1, 70))
def test_the_tail_of_a_log_is_its_last_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], tail: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "jb.log"
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
    assert read_log(path, tail) == "".join(line + "\n" for line in lines[-tail:])
    assert read_log(path) == "".join(line + "\n" for line in lines)


def test_a_full_log_says_so_once_and_stops(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "jb.log", max_bytes=200)
    for _ in range(100):
        log.write("x" * 20)
    log.close()
    log.write("after the end")
    text = read_log(tmp_path / "jb.log")
    assert text.count("The log is full") == 1 and len(text) < 400
    assert read_log(tmp_path / "missing.log") == ""
    assert io.StringIO(text).readline().endswith("x\n")


def some_settings(tmp_path: Path, **options: object) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, **options})


def test_gpu_work_takes_a_gpu_each_or_else_a_cpu_slot(tmp_path: Path) -> None:
    slots = Slots(some_settings(tmp_path, cpu_slots=1, io_slots=1), gpus=["0", "1"])
    taken = [slots.take("gpu"), slots.take("gpu")]
    assert [slot and slot.environment()["CUDA_VISIBLE_DEVICES"] for slot in taken] == ["0", "1"]
    assert all(slot and slot.device == "cuda:0" for slot in taken)
    assert slots.take("gpu") is None and slots.available() == {"cpu", "io"}
    assert taken[1] is not None
    slots.release(taken[1])
    again = slots.take("gpu", timeout=1)
    assert again is not None and again.gpu == "1"

    without = Slots(some_settings(tmp_path, cpu_slots=1, gpu_slots=3), gpus=[])
    slot = without.take("gpu")
    assert slot is not None and (slot.pool, slot.device) == ("cpu", "cpu")
    assert slot.environment() == {"CUDA_VISIBLE_DEVICES": ""}
    assert without.take("cpu") is None and without.available() == {"io"}
    shared = Slots(some_settings(tmp_path, gpu_slots=4), gpus=["a", "b"])
    assert [slot and slot.gpu for slot in (shared.take("gpu") for _ in range(5))] == [
        "a",
        "b",
        "a",
        "b",
        None,
    ]
    assert Slots(some_settings(tmp_path, gpu_slots=0), gpus=["0"]).size("gpu") == 1  # a cpu slot


def test_the_settings_say_which_gpus_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(slots_module, "detected_gpus", lambda: ("0", "1"))
    assert usable_gpus(some_settings(tmp_path)) == ["0", "1"]
    assert usable_gpus(some_settings(tmp_path, device="cpu")) == []
    assert usable_gpus(some_settings(tmp_path, device="cuda:1")) == ["1"]
    with pytest.raises(StudioError, match="2 GPUs were found"):
        usable_gpus(some_settings(tmp_path, device="cuda:2"))
    with pytest.raises(StudioError, match="not a device"):
        usable_gpus(some_settings(tmp_path, device="tpu"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-ab, 3")
    assert usable_gpus(some_settings(tmp_path, device="cuda:1")) == ["3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert usable_gpus(some_settings(tmp_path)) == []


def test_nvidia_smi_is_asked_where_nvml_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert slots_module.detected_gpus.__wrapped__() == ("0", "1")
    program.write_text("#!/bin/sh\nexit 9\n")
    assert slots_module.detected_gpus.__wrapped__() == ()


def test_errors_of_the_science_floor_are_public_by_their_shape(settings: Settings) -> None:
    class TornFile(ValueError):
        code, message, hint = "file_torn", "The file tokens.bin is torn.", None

    assert public_error(TornFile(), "jb_1", settings).model_dump() == {
        "code": "file_torn",
        "message": "The file tokens.bin is torn.",
        "hint": None,
    }
    unknown = public_error(ValueError("secret"), "jb_1", settings)
    assert unknown.code == "internal" and "jb_1" in unknown.message and "secret" not in str(unknown)


def test_signals_from_outside_are_told_from_crashes() -> None:
    assert killed_from_outside(-9) and killed_from_outside(-15)
    assert not killed_from_outside(-11) and not killed_from_outside(1)
    assert "SIGSEGV" in exit_error(-11).message and exit_error(-11).code == "crashed"
