"""A session in a real job process: warm, prompt, and gone when it is asked to go."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mistudio.jobs.local import LocalDispatcher
from tests.jobs.conftest import Recorder
from tests.models.api import Api
from tests.steering.test_sessions import feature, generate, open_session

pytestmark = pytest.mark.slow


def until(condition: Any, seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def test_a_warm_session_answers_at_once(api: Api, tiny_model: Any, sae: str, extraction: str) -> None:
    recorder = Recorder()
    opened = open_session(api, tiny_model.id, [sae], idle_seconds=600, yield_seconds=600)
    # What the fixtures did in this process is still in the queue; only the session is to run.
    dispatcher = LocalDispatcher(api.database, api.settings, recorder, only={opened["job"]["id"]})
    dispatcher.start()
    try:
        show = f"/steering/sessions/{opened['id']}"
        until(lambda: api.ask("GET", show)["phase"] == "ready")

        def tokens_of(generation: str) -> list[Any]:
            with recorder.lock:
                return [
                    data
                    for channel, type, data in recorder.events
                    if channel == f"steering/{opened['id']}"
                    and type == "tokens"
                    and data["generation"] == generation
                ]

        waited = []
        for seed in range(3):
            asked = time.monotonic()
            made = generate(api, opened, [feature(sae, unit="raw", strength=5)], seed=seed, max_new_tokens=20)
            until(lambda made=made: tokens_of(made["id"]), 20)
            waited.append(time.monotonic() - asked)
            done = until(
                lambda made=made: (
                    (g := api.ask("GET", f"/steering/generations/{made['id']}"))["state"] == "done" and g
                ),
                20,
            )
            assert sum(len(e["tokens"]) for e in tokens_of(made["id"])) == sum(
                len(one["tokens"]) for one in done["outputs"].values()
            )
        assert min(waited) < 2.0, waited

        endless = generate(api, opened, [feature(sae, unit="raw")], max_new_tokens=200)
        until(lambda: tokens_of(endless["id"]))
        api.ask("POST", f"{show}/end", 202)
        until(lambda: api.ask("GET", show)["phase"] == "ended")
        assert api.ask("GET", show)["job"]["state"] == "succeeded"
        assert api.ask("GET", f"/steering/generations/{endless['id']}")["state"] in ("cancelled", "done")
    finally:
        dispatcher.stop()
