"""The environment of a job's process: threads, how they wait, and no progress bars of libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mistudio.jobs.environment import default_threads, job_environment
from mistudio.jobs.local import LocalDispatcher
from mistudio.settings import Settings
from tests.jobs.conftest import Desk, Recorder
from tests.jobs.plugin import NoParams


def test_the_setting_beats_the_surroundings_which_beat_the_default(tmp_path: Path) -> None:
    three, unset = Settings(data_dir=tmp_path, cpu_threads=3), Settings(data_dir=tmp_path)
    assert job_environment(three, {"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "3"
    assert job_environment(unset, {"OMP_NUM_THREADS": "7"})["MKL_NUM_THREADS"] == "7"
    assert job_environment(unset, {})["OMP_NUM_THREADS"] == str(default_threads(unset))
    assert job_environment(unset, {"OMP_WAIT_POLICY": "ACTIVE"})["OMP_WAIT_POLICY"] == "ACTIVE"
    assert job_environment(unset, {"KEPT": "yes"})["KEPT"] == "yes"


def test_jobs_that_run_at_once_share_the_cores(tmp_path: Path) -> None:
    alone = default_threads(Settings(data_dir=tmp_path))
    assert alone >= 1
    assert default_threads(Settings(data_dir=tmp_path, cpu_slots=2)) == max(1, alone // 2)
    assert default_threads(Settings(data_dir=tmp_path, cpu_slots=256)) == 1


@pytest.mark.slow
def test_pytorch_in_a_job_works_with_as_many_threads_as_the_setting_says(
    desk: Desk, settings: Settings, recorder: Recorder
) -> None:
    with_threads = settings.model_copy(update={"cpu_threads": 2})
    dispatcher = LocalDispatcher(desk.database, with_threads, recorder)
    dispatcher.start()
    try:
        job = desk.end(desk.submit("test.threads", NoParams()), timeout=120)
    finally:
        dispatcher.stop()
    assert job.result == {"torch": 2, "wait": "PASSIVE"}


@pytest.mark.slow
def test_the_bars_of_the_libraries_are_off(tmp_path: Path, tiny_llama_folder: Path) -> None:
    """The same program draws "Loading weights" without that environment."""
    program = (
        "import sys; from transformers import AutoModelForCausalLM as M;"
        "M.from_pretrained(sys.argv[1]);"
        "from datasets.utils import are_progress_bars_disabled as off; print(off())"
    )
    environment = job_environment(Settings(data_dir=tmp_path), {"PATH": "", "HOME": str(tmp_path)})
    shown: dict[str, str] = {}
    for name, wanted in (
        ("job", environment),
        ("bare", {k: v for k, v in environment.items() if "PROGRESS" not in k}),
    ):
        command = [sys.executable, "-c", program, str(tiny_llama_folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=wanted, check=True, timeout=120)
        shown[name] = done.stderr + done.stdout
    assert "Loading weights" in shown["bare"], "the library draws no bar any more: this test tests nothing"
    assert "Loading weights" not in shown["job"] and "True" in shown["job"]
