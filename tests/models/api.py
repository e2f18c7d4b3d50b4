"""The real application over models, data sets and activations, its jobs run by the test itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from tests.models.job_runs import run_here


class Api:
    """A client of the API whose jobs run when the test says so."""

    def __init__(self, client: TestClient, settings: Any, database: Any) -> None:
        self.client, self.settings, self.database = client, settings, database

    def ask(self, method: str, path: str, expect: int = 200, **more: Any) -> Any:
        """The JSON of an answer, which must have this status; an error must be a whole problem document."""
        answer = self.client.request(method, f"/api/v1{path}", **more)
        assert answer.status_code == expect, answer.text
        if expect >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["code"] and problem["detail"] and problem["request_id"]
            assert "Traceback" not in answer.text
        return answer.json() if answer.content else None

    def work(self, answer: Any) -> None:
        """Do the work of the job that an answer carries."""
        assert answer["job"]["state"] == "queued"
        run_here(self.settings, self.database, answer["job"]["id"])


@contextmanager
def open_api(settings: Any, database: Any) -> Iterator[Api]:
    """Serve the whole application in this process, without its dispatcher."""
    from mistudio.app import create_app
    from mistudio.settings import LoadedSettings

    app = create_app(LoadedSettings(settings, {}), migrate=False, dispatcher=lambda *_: None)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield Api(client, settings, database)
