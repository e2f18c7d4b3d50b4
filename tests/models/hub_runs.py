"""Running a job against the loopback hub, in a child process with its own HF_ENDPOINT and HF_HOME."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mistudio.settings import Settings
from tests.loopback_hub import LoopbackHub
from tests.warm import Program

ROOT = Path(__file__).parents[2]


def run_against(
    hub: LoopbackHub, settings: Settings, job_id: str, tmp_path: Path, **wanted: Any
) -> dict[str, Any]:
    """Do the job's work; `{"result" | "error": …, "stages": …}`."""
    done = start_against(hub, settings, job_id, tmp_path, **wanted).wait()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def start_against(
    hub: LoopbackHub, settings: Settings, job_id: str, tmp_path: Path, **wanted: Any
) -> Program:
    """Begin the job's work in a process that the test may kill."""
    values = settings.model_dump(mode="json", exclude={"hf_token"})
    if settings.hf_token:
        values["hf_token"] = settings.hf_token.get_secret_value()
    given = json.dumps({"settings": values, "job": job_id} | wanted)
    environment = hub_environment(hub, tmp_path)
    return Program("tests.models.hub_child", given=given, environment=environment, cwd=ROOT)


def hub_environment(hub: LoopbackHub, folder: Path) -> dict[str, str]:
    """What makes a program's hub this one, with its cache in `folder`."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    environment.pop("HF_TOKEN", None)
    return environment
