"""Running a job against the loopback hub, in a child process with its own HF_ENDPOINT and HF_HOME."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mistudio.settings import Settings
from tests.loopback_hub import LoopbackHub

ROOT = Path(__file__).parents[2]


def run_against(
    hub: LoopbackHub, settings: Settings, job_id: str, tmp_path: Path, **wanted: Any
) -> dict[str, Any]:
    """Do the job's work; `{"result" | "error": …, "stages": …}`."""
    child = start_against(hub, settings, job_id, tmp_path, **wanted)
    out, errors = child.communicate(timeout=240)
    assert child.returncode == 0, errors
    return json.loads(out.splitlines()[-1])


def start_against(
    hub: LoopbackHub, settings: Settings, job_id: str, tmp_path: Path, **wanted: Any
) -> subprocess.Popen[str]:
    """Begin the job's work in a process that the test may kill."""
    values = settings.model_dump(mode="json", exclude={"hf_token"})
    if settings.hf_token:
        values["hf_token"] = settings.hf_token.get_secret_value()
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    environment.pop("HF_TOKEN", None)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.models.hub_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps({"settings": values, "job": job_id} | wanted))
    child.stdin.close()
    child.stdin = None  # what `communicate` would flush
    return child
