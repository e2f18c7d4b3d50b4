"""Deleting what is still being made."""

from __future__ import annotations

from typing import Any

from mistudio.jobs.announce import job_event, listen
from mistudio.models.library import add_model, delete_model
from mistudio.models.schemas import FolderModelSource, ModelCreate


def test_the_cancelled_job_is_announced_after_the_deletion(
    settings: Any, database: Any, kinds: Any, tiny_llama_folder: Any
) -> None:
    with database.session() as session:
        wanted = ModelCreate(source=FolderModelSource(path=str(tiny_llama_folder)))
        model, job = add_model(session, settings, wanted, any_folder=True)
    heard: list[dict[str, Any]] = []
    stop = listen(database, lambda changed: heard.append(job_event(changed)))
    try:
        with database.session() as session:
            delete_model(session, settings, model.id)
    finally:
        stop()
    assert [(event["id"], event["state"]) for event in heard] == [(job.id, "cancelled")]
