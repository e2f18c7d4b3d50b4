"""Fixtures for the tests of models; data sets and activations build on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.models.job_runs import register, run_here


@pytest.fixture(autouse=True)
def kinds() -> None:
    register()


@pytest.fixture
def tiny_model(settings: Any, database: Any, tiny_llama_folder: Path) -> Any:
    """The tiny Llama, added and complete."""
    return add_tiny(settings, database, tiny_llama_folder)


def add_tiny(settings: Any, database: Any, folder: Path, name: str = "tiny") -> Any:
    """Add a model folder and do the job."""
    from mistudio.models.library import add_model, get_model
    from mistudio.models.schemas import FolderModelSource, ModelCreate

    with database.session() as session:
        model, job = add_model(
            session,
            settings,
            ModelCreate(name=name, source=FolderModelSource(path=str(folder))),
            any_folder=True,
        )
    run_here(settings, database, job.id)
    with database.reading() as session:
        return get_model(session, model.id)


@pytest.fixture
def api(settings: Any, database: Any) -> Any:
    """The application's API; jobs run when the test says so."""
    from tests.models.api import open_api

    with open_api(settings, database) as api:
        yield api
