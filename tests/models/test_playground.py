"""Asking a model over HTTP: texts, the lens, the session that keeps it loaded. The job's work runs in this process."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sqlalchemy import select

from mistudio.jobs import Job
from mistudio.lm import generate
from mistudio.lm.lens import logit_lens_grid
from mistudio.models import requests
from mistudio.models.library import open_model
from mistudio.models.tables import ModelRequest
from tests.models.api import Api
from tests.models.job_runs import run_here

PROMPT = "def settings(data_dir"


@pytest.fixture
def asked(api: Api, tiny_model: Any) -> Any:
    """Ask, after a session was opened that ends as soon as it has nothing to do."""
    api.ask("POST", f"/models/{tiny_model.id}/session", 202, json={"idle_seconds": 0})

    def ask(kind: str, expect: int = 202, **wanted: Any) -> Any:
        return api.ask("POST", f"/models/{tiny_model.id}/{kind}", expect, json={"prompt": PROMPT} | wanted)

    return ask


def work(api: Api, model_id: str, **more: Any) -> Any:
    job = api.ask("GET", f"/models/{model_id}/session")["job"]
    return run_here(api.settings, api.database, job["id"], **more)


def test_a_text_is_what_the_ordinary_function_writes(api: Api, asked: Any, tiny_model: Any) -> None:
    options = {"max_new_tokens": 8, "temperature": 0.9, "top_p": 0.9, "seed": 5}
    made = asked("generate", alternatives=3, **options)
    assert made["state"] == "waiting" and made["generation"]["tokens"] == []
    result, reports = work(api, tiny_model.id)
    assert result == {"ended": "idle", "requests": 1}
    model = open_model(api.settings, tiny_model.id, device="cpu")
    expected = list(generate(model, PROMPT, alternatives=3, **options))
    done = api.ask("GET", f"/models/{tiny_model.id}/requests/{made['id']}")
    written = done["generation"]
    assert done["state"] == "done" and written["finish"] == "length"
    assert [t["id"] for t in written["tokens"]] == [t.token for t in expected]
    assert written["text"] == "".join(t.text for t in expected)
    assert "".join(t["text"] for t in written["prompt_tokens"]) == PROMPT
    for ours, theirs in zip(written["tokens"], expected, strict=True):
        assert [a["id"] for a in ours["alternatives"]] == [id for id, _ in theirs.alternatives]
        assert ours["logprob"] == pytest.approx(theirs.logprob, abs=1e-5)

    events = [r["publish"] for r in reports.all if "publish" in r]
    assert {e["channel"] for e in events} == {f"playground/{tiny_model.id}"}
    tokens: list[Any] = []
    for one in (e["data"] for e in events if e["type"] == "tokens"):
        assert one["start"] == len(tokens), "nothing is lost or sent twice"
        tokens += one["tokens"]
    assert tokens == written["tokens"]
    assert [e["data"]["state"] for e in events if e["type"] == "request"] == ["writing", "done"]


def test_the_lens_is_the_ordinary_function_s(api: Api, asked: Any, tiny_model: Any) -> None:
    made = asked("lens", last=4, top_k=3)
    work(api, tiny_model.id)
    done = api.ask("GET", f"/models/{tiny_model.id}/requests/{made['id']}")
    model = open_model(api.settings, tiny_model.id, device="cpu")
    ids = model.tokenizer(PROMPT)["input_ids"]
    grid = logit_lens_grid(model, ids, top_k=3, last=4)
    found = done["lens"]
    assert done["state"] == "done" and found["first"] == len(ids) - 4
    assert found["ids"] == grid.ids.tolist() and found["rank"] == grid.rank.tolist()
    torch.testing.assert_close(torch.tensor(found["kl"]), grid.kl, rtol=0, atol=1e-4)
    assert found["texts"][str(found["ids"][0][0][0])] == model.tokenizer.decode([found["ids"][0][0][0]])
    assert len(found["prompt_tokens"]) == len(ids)
    listed = api.ask("GET", f"/models/{tiny_model.id}/requests?kind=lens")["items"]
    assert [one["id"] for one in listed] == [made["id"]] and listed[0]["lens"] is None
    assert api.ask("GET", f"/models/{tiny_model.id}/requests?kind=generate")["total"] == 0


def test_a_question_opens_the_session_and_the_next_one_uses_it(api: Api, tiny_model: Any) -> None:
    at = f"/models/{tiny_model.id}"
    assert api.ask("GET", f"{at}/session") == {"phase": "ended", "loading": None, "job": None}
    api.ask("POST", f"{at}/session/end", 409)
    one = api.ask("POST", f"{at}/generate", 202, json={"prompt": "a"})
    two = api.ask("POST", f"{at}/generate", 202, json={"prompt": "b"})
    session = api.ask("GET", f"{at}/session")
    assert session["phase"] == "waiting" and session["loading"]["dtype"] == "float32"
    with api.database.reading() as db:
        rows = db.scalars(select(ModelRequest)).all()
        assert {row.job_id for row in rows} == {session["job"]["id"]} and len(rows) == 2
    # Loaded otherwise from now on: the next question is another session's, and the old one is asked to end.
    api.ask("PATCH", at, json={"loading": {"dtype": "bfloat16"}})
    api.ask("POST", f"{at}/generate", 202, json={"prompt": "c"})
    newer = api.ask("GET", f"{at}/session")
    assert newer["job"]["id"] != session["job"]["id"] and newer["loading"]["dtype"] == "bfloat16"
    with api.database.reading() as db:
        old = db.get(Job, session["job"]["id"])
        assert old.asked == "stop" or old.state == "cancelled"
    assert one["state"] == two["state"] == "waiting"


def test_one_bad_question_does_not_end_the_session(api: Api, asked: Any, tiny_model: Any) -> None:
    long = asked("generate", prompt="word " * 400)
    lens = asked("lens", prompt="word " * 400)
    good = asked("generate", max_new_tokens=2)
    work(api, tiny_model.id)
    for id in (long["id"], lens["id"]):
        failed = api.ask("GET", f"/models/{tiny_model.id}/requests/{id}")
        assert failed["state"] == "failed" and "context" in failed["error"]["message"]
    assert api.ask("GET", f"/models/{tiny_model.id}/requests/{good['id']}")["state"] == "done"


def test_stopping_and_deleting(api: Api, asked: Any, tiny_model: Any) -> None:
    at = f"/models/{tiny_model.id}/requests"
    first = asked("generate", max_new_tokens=150)
    second = asked("generate")
    third = asked("lens")
    api.ask("POST", f"{at}/{second['id']}/cancel", 202)
    api.ask("DELETE", f"{at}/{third['id']}", 204)

    def stop_the_first(progress: dict[str, Any], _asked: Any) -> None:
        if progress["stage"] == "Writing":
            with api.database.session() as session:
                made = session.get(ModelRequest, first["id"])
                if made is not None and made.finished_at is None:
                    requests.cancel_request(session, tiny_model.id, first["id"])

    work(api, tiny_model.id, on_progress=stop_the_first)
    got = api.ask("GET", f"{at}/{first['id']}")
    assert got["state"] == "cancelled" and len(got["generation"]["tokens"]) < 150
    assert got["generation"]["finish"] == "cancelled"
    assert api.ask("GET", f"{at}/{second['id']}")["generation"]["tokens"] == []
    api.ask("GET", f"{at}/{third['id']}", 404)
    assert api.ask("POST", f"{at}/{first['id']}/cancel", 409)["code"] == "request_finished"


def test_what_is_asked_wrongly(api: Api, asked: Any, tiny_model: Any) -> None:
    chat = [{"role": "user", "content": "hello"}]
    assert asked("generate", 400, prompt=None, messages=chat)["code"] == "no_chat_template"
    assert asked("generate", 422, prompt=" ")["code"] == "invalid_input"
    assert asked("lens", 422, last=10_000)["fields"]
    assert asked("generate", 422, messages=chat)["code"] == "invalid_input"
    api.ask("POST", "/models/md_none/generate", 404, json={"prompt": "x"})
    api.ask("GET", f"/models/{tiny_model.id}/requests/mq_none", 404)


def test_a_lost_session_is_said_and_only_the_newest_requests_are_kept(
    api: Api, asked: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = asked("generate")
    job = api.ask("GET", f"/models/{tiny_model.id}/session")["job"]
    api.ask("POST", f"/jobs/{job['id']}/cancel")
    found = api.ask("GET", f"/models/{tiny_model.id}/requests/{lost['id']}")
    assert found["state"] == "failed" and found["error"]["code"] == "session_ended"
    monkeypatch.setattr(requests, "KEPT", 2)
    api.ask("POST", f"/models/{tiny_model.id}/session", 202, json={"idle_seconds": 0})
    for _ in range(4):
        asked("generate", max_new_tokens=1)
    work(api, tiny_model.id)
    asked("generate", max_new_tokens=1)
    kept = api.ask("GET", f"/models/{tiny_model.id}/requests")["items"]
    assert [one["state"] for one in kept] == ["waiting", "done", "done"]


def test_deleting_a_model_takes_what_was_asked_of_it_without_naming_it(
    api: Api, asked: Any, tiny_model: Any
) -> None:
    asked("generate")
    job = api.ask("GET", f"/models/{tiny_model.id}/session")["job"]
    assert api.ask("GET", f"/models/{tiny_model.id}/users") == []
    api.ask("DELETE", f"/models/{tiny_model.id}", 204)
    with api.database.reading() as session:
        assert session.scalars(select(ModelRequest)).all() == []
        assert session.get(Job, job["id"]).state == "cancelled"


def test_a_client_that_joins_is_given_the_state(api: Api, asked: Any, tiny_model: Any) -> None:
    made = asked("generate")
    with api.database.reading() as session:
        state = requests.snapshot(session, f"playground/{tiny_model.id}")
    assert state["session"]["phase"] == "waiting"
    assert [one["id"] for one in state["requests"]] == [made["id"]]
