"""What every refusal has to be: a sentence, what to do, and nothing about the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mistudio.jobs.failures import public_error
from mistudio.jobs.schemas import JobError
from tests.models.api import Api
from tests.models.job_runs import run_here


def check_public(said: str, data_dir: Path) -> None:
    """No place of the machine, no traceback, no Python; one or two sentences."""
    assert str(data_dir) not in said and "Traceback" not in said and "Errno" not in said, said
    assert said.rstrip().endswith(".") and "\n" not in said and len(said) < 500, said


def job_fails(settings: Any, database: Any, job_id: str) -> JobError:
    """The public error of a job that must fail; checked."""
    with pytest.raises(Exception) as caught:  # whatever it is, its owner must understand it
        run_here(settings, database, job_id)
    found = public_error(caught.value, job_id, settings)
    assert found.code != "internal", caught.value
    assert found.hint, found
    check_public(found.message, settings.data_dir)
    return found


def api_refuses(api: Api, path: str, body: dict[str, Any], expect: int = 400) -> dict[str, Any]:
    """The problem that a POST is answered with; checked."""
    found = api.ask("POST", path, expect, json=body)
    check_public(found["detail"], api.settings.data_dir)
    return found


def files_in(data_dir: Path) -> set[str]:
    """Everything stored besides the database and job logs, relative to the data folder."""
    return {
        str(path.relative_to(data_dir))
        for path in data_dir.rglob("*")
        if path.is_file() and not path.name.startswith("mistudio.db") and path.parent.name != "jobs"
    }
