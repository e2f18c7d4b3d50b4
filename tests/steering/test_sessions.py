"""Steering sessions over HTTP: requests, strengths, streaming, refusals. The job's work runs in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from mistudio.features.tables import Extraction, Feature
from mistudio.jobs import Job, submit
from mistudio.models.library import open_model
from mistudio.sae import SAE, TopKConfig
from mistudio.saes.library import open_sae, register_sae
from mistudio.steering.compare import Edit, PlacedSAE, steer
from mistudio.steering.sessions import snapshot
from mistudio.steering.tables import SteeringGeneration, SteeringSession
from tests.features.make_sae import HOOK
from tests.models.job_runs import run_here

Ask = Callable[..., Any]
PROMPT = "def settings(data_dir"


@pytest.fixture
def opened(api: Any, tiny_model: Any, sae: str, extraction: str) -> dict[str, Any]:
    """An open session that ends as soon as it has nothing to do."""
    return open_session(api, tiny_model.id, [sae])


def open_session(api: Any, model_id: str, sae_ids: list[str], expect: int = 202, **settings: Any) -> Any:
    body = {"model_id": model_id, "sae_ids": sae_ids, "settings": {"idle_seconds": 0} | settings}
    return api.ask("POST", "/steering/sessions", expect, json=body)


def feature(sae: str, index: int = 9, **fields: Any) -> dict[str, Any]:
    return {"sae_id": sae, "index": index, "strength": 1.0} | fields


def generate(api: Any, session: Any, features: list[Any], expect: int = 202, **fields: Any) -> Any:
    body = {"prompt": PROMPT, "features": features, "max_new_tokens": 6} | fields
    return api.ask("POST", f"/steering/sessions/{session['id']}/generate", expect, json=body)


def live(database: Any) -> tuple[int, float]:
    """A feature that fired, and its maximum."""
    with database.reading() as session:
        row = session.scalars(select(Feature).order_by(Feature.max_activation.desc())).first()
        return row.index, row.max_activation


def work(api: Any, session: Any) -> Any:
    return run_here(api.settings, api.database, session["job"]["id"])


def test_a_session_writes_what_the_ordinary_function_writes(
    api: Any, opened: Any, sae: str, tiny_model: Any, extraction: str
) -> None:
    index, maximum = live(api.database)
    assert opened["phase"] == "waiting" and opened["saes"][0]["extraction_id"] == extraction
    options = {"temperature": 0.8, "top_p": 0.9, "seed": 5}
    asked = generate(api, opened, [feature(sae, index, strength=4)], **options)
    clamped = generate(api, opened, [feature(sae, index, mode="clamp", strength=2.5, unit="raw")])
    alone = generate(api, opened, [feature(sae, index)], compare=False)
    assert asked["state"] == "waiting" and asked["features"][0]["maximum"] == pytest.approx(maximum)

    result, reports = work(api, opened)
    assert result == {"ended": "idle", "texts": 3}
    model, own = open_model(api.settings, tiny_model.id, device="cpu"), open_sae(api.settings, sae)
    for got, edit, more in (
        (asked, Edit(index, 4 * maximum), options),
        (clamped, Edit(index, 2.5, "clamp"), {}),
    ):
        written = api.ask("GET", f"/steering/generations/{got['id']}")
        wanted = steer(model, PlacedSAE(own, HOOK), PROMPT, [edit], max_new_tokens=6, **more)
        assert wanted.unsteered is not None and written["state"] == "done"
        for side, texts in (("steered", wanted.steered), ("unsteered", wanted.unsteered)):
            output = written["outputs"][side]
            assert output["text"] == texts.text and output["finish"] == "length"
            assert [t["id"] for t in output["tokens"]] == [t.token for t in texts.tokens]
            assert output["perplexity"] == pytest.approx(texts.perplexity, rel=1e-4)
        assert "".join(written["prompt_tokens"]) == PROMPT
    assert set(api.ask("GET", f"/steering/generations/{alone['id']}")["outputs"]) == {"steered"}

    events = [r["publish"] for r in reports.all if "publish" in r]
    assert {e["channel"] for e in events} == {f"steering/{opened['id']}"}
    for side in ("steered", "unsteered"):
        streamed = [
            e["data"]
            for e in events
            if e["type"] == "tokens" and e["data"]["generation"] == asked["id"] and e["data"]["side"] == side
        ]
        tokens: list[Any] = []
        for one in streamed:
            assert one["start"] == len(tokens), "nothing is lost or sent twice"
            tokens += one["tokens"]
        written = api.ask("GET", f"/steering/generations/{asked['id']}")
        assert tokens == written["outputs"][side]["tokens"] and streamed[-1]["finish"] == "length"
    states = [
        e["data"]["state"] for e in events if e["type"] == "generation" and e["data"]["id"] == asked["id"]
    ]
    assert states == ["writing", "done"]


def test_maxima_in_units_of_the_decoder_are_taken_back(
    api: Any, opened: Any, sae: str, extraction: str
) -> None:
    index, maximum = live(api.database)
    own = open_sae(api.settings, sae)
    with api.database.session() as session:
        row = session.get(Extraction, extraction)
        row.conventions = row.conventions | {"decoder_norm": "folded"}
    folded = generate(api, opened, [feature(sae, index, strength=3)])
    raw = 3 * maximum / float(own.decoder_norms()[index])
    same = generate(api, opened, [feature(sae, index, strength=raw, unit="raw")])
    work(api, opened)
    texts = [api.ask("GET", f"/steering/generations/{g['id']}")["outputs"]["steered"] for g in (folded, same)]
    assert [t["id"] for t in texts[0]["tokens"]] == [t["id"] for t in texts[1]["tokens"]]
    assert texts[0]["tokens"][0]["logprob"] == pytest.approx(texts[1]["tokens"][0]["logprob"], abs=1e-5)


def test_one_bad_request_does_not_end_the_session(api: Any, opened: Any, sae: str) -> None:
    long = generate(api, opened, [feature(sae, unit="raw")], prompt="word " * 400)
    good = generate(api, opened, [feature(sae, unit="raw")])
    work(api, opened)
    failed = api.ask("GET", f"/steering/generations/{long['id']}")
    assert failed["state"] == "failed" and "context" in failed["error"]["message"]
    assert api.ask("GET", f"/steering/generations/{good['id']}")["state"] == "done"


def test_stopping_one_text(api: Any, opened: Any, sae: str) -> None:
    first = generate(api, opened, [feature(sae, unit="raw")], max_new_tokens=150)
    second = generate(api, opened, [feature(sae, unit="raw")])
    third = generate(api, opened, [feature(sae, unit="raw")])
    api.ask("POST", f"/steering/generations/{second['id']}/cancel", 202)
    api.ask("DELETE", f"/steering/generations/{third['id']}", 204)

    def stop_the_first(progress: dict[str, Any], _asked: Any) -> None:
        if progress["stage"] == "Writing":
            api.ask("POST", f"/steering/generations/{first['id']}/cancel", 202)

    run_here(api.settings, api.database, opened["job"]["id"], on_progress=stop_the_first)
    got = api.ask("GET", f"/steering/generations/{first['id']}")
    assert got["state"] == "cancelled" and 0 < len(got["outputs"]["steered"]["tokens"]) < 150
    assert got["outputs"]["steered"]["finish"] == "cancelled"
    assert api.ask("GET", f"/steering/generations/{second['id']}")["outputs"]["steered"]["tokens"] == []
    api.ask("GET", f"/steering/generations/{third['id']}", 404)
    again = api.ask("POST", f"/steering/generations/{first['id']}/cancel", 409)
    assert again["code"] == "generation_finished"
    listed = api.ask("GET", f"/steering/sessions/{opened['id']}/generations")
    assert {one["id"] for one in listed["items"]} == {first["id"], second["id"]}


def test_ending_a_session_stops_what_it_writes(api: Any, tiny_model: Any, sae: str, extraction: str) -> None:
    opened = open_session(api, tiny_model.id, [sae], idle_seconds=600)
    made = generate(api, opened, [feature(sae, unit="raw")], max_new_tokens=150)

    def end(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Writing":
            asked.stop.set()

    result, _ = run_here(api.settings, api.database, opened["job"]["id"], on_progress=end)
    assert result["ended"] == "asked"
    assert api.ask("GET", f"/steering/generations/{made['id']}")["state"] == "cancelled"


def test_an_idle_session_makes_room_for_other_work(
    api: Any, tiny_model: Any, sae: str, extraction: str
) -> None:
    from datetime import timedelta

    from mistudio.db import utc_now
    from mistudio.models.schemas import AddModelParams

    opened = open_session(api, tiny_model.id, [sae], idle_seconds=600, yield_seconds=0)
    with api.database.session() as session:
        other = submit(
            session, "features.extract", subject="x/1", title="other", params=AddModelParams(model_id="x")
        )
        other.created_at = utc_now() - timedelta(seconds=60)
    result, _ = work(api, opened)
    assert result["ended"] == "yielded"


def test_what_does_not_fit_is_refused_before_anything_is_made(
    api: Any, opened: Any, tiny_model: Any, sae: str, extraction: str
) -> None:
    with api.database.session() as session:
        wide = SAE(TopKConfig(k=2), 48, 8, metadata={})
        wrong_width = register_sae(
            session, api.settings, wide, name="wide", model_id=tiny_model.id, hook=HOOK
        ).id
        nowhere = register_sae(session, api.settings, wide, name="nowhere", model_id=tiny_model.id).id
    refused = open_session(api, tiny_model.id, [wrong_width], 400)
    assert "width 48" in refused["detail"] and "width 32" in refused["detail"]
    assert open_session(api, tiny_model.id, [nowhere], 400)["code"] == "sae_without_hook"
    assert open_session(api, "md_none", [sae], 404)["code"] == "model_not_found"
    assert open_session(api, tiny_model.id, ["sa_none"], 404)["code"] == "sae_not_found"
    with api.database.session() as session:
        assert len(session.scalars(select(SteeringSession)).all()) == 1
        row = session.get(Extraction, extraction)
        row.bytes = None

    def code(features: list[Any], expect: int, **fields: Any) -> str:
        return generate(api, opened, features, expect, **fields)["code"]

    assert code([feature(sae)], 400) == "maximum_unknown"
    with api.database.session() as session:
        session.get(Extraction, extraction).bytes = 1
    assert code([feature(sae, 0)], 400) == "feature_never_fired"
    assert code([feature(sae, 48)], 400) == "feature_unknown"
    assert code([feature("sa_none")], 400) == "sae_not_in_session"
    assert code([feature(sae, extraction_id="ex_none")], 404) == "extraction_not_found"
    chat = [{"role": "user", "content": "hi"}]
    assert code([feature(sae)], 400, prompt=None, messages=chat) == "no_chat_template"
    for bad in (
        {"prompt": " "},
        {"prompt": None},
        {"messages": chat},
        {"temperature": -1},
        {"top_p": 0},
        {"max_new_tokens": 0},
        {"extra": 1},
    ):
        assert code([feature(sae)], 422, **bad) == "invalid_input"
    for odd in ([], [feature(sae), feature(sae)], [feature(sae, strength="NaN")], [feature(sae, index=-1)]):
        assert code(odd, 422) == "invalid_input"
    with api.database.reading() as session:
        assert session.scalars(select(SteeringGeneration)).all() == []


def test_prompts_are_kept_as_templates_and_begun_with(api: Any, opened: Any, sae: str) -> None:
    index, _ = live(api.database)
    body = {"prompt": "def test", "temperature": 0.5, "seed": 7, "stop": ["return"]}
    kept = api.ask("POST", "/templates", 201, json={"kind": "steering", "name": "code", "body": body})
    assert kept["body"]["max_new_tokens"] == 64 and "features" not in kept["body"]
    asked = generate(api, opened, [feature(sae, index)], template_id=kept["id"], **kept["body"])
    assert {name: asked["request"][name] for name in body} == body
    assert api.ask("GET", f"/templates/{kept['id']}")["uses"] == 1
    generate(api, opened, [feature(sae, index)], 404, template_id="tp_none")


def test_a_session_can_be_looked_at_resumed_and_deleted(api: Any, opened: Any, sae: str) -> None:
    made = generate(api, opened, [feature(sae, unit="raw")])
    api.ask("POST", f"/steering/sessions/{opened['id']}/resume", 409)
    api.ask("POST", f"/steering/sessions/{opened['id']}/end", 202)  # it is still queued, so it is cancelled
    ended = api.ask("GET", f"/steering/sessions/{opened['id']}")
    assert ended["phase"] == "ended" and ended["generation_count"] == 1
    lost = api.ask("GET", f"/steering/generations/{made['id']}")
    assert lost["state"] == "failed" and lost["error"]["code"] == "session_ended"
    assert generate(api, opened, [feature(sae, unit="raw")], 409)["code"] == "session_ended"

    resumed = api.ask("POST", f"/steering/sessions/{opened['id']}/resume", 202)
    assert resumed["phase"] == "waiting" and resumed["job"]["id"] != opened["job"]["id"]
    generate(api, resumed, [feature(sae, unit="raw")])
    work(api, resumed)
    with api.database.reading() as session:
        state = snapshot(session, f"steering/{opened['id']}")
        assert [one["state"] for one in state["generations"]] == ["done", "failed"]
        assert snapshot(session, "steering")["sessions"][0]["id"] == opened["id"]
    assert api.ask("GET", f"/state/steering/{opened['id']}")["snapshot"]["session"]["generation_count"] == 2

    api.ask("DELETE", f"/steering/sessions/{opened['id']}", 204)
    api.ask("GET", f"/steering/sessions/{opened['id']}", 404)
    api.ask("GET", f"/steering/generations/{made['id']}", 404)
    with api.database.reading() as session:
        jobs = session.scalars(select(Job).where(Job.kind == "steering.session", Job.state == "queued")).all()
        states = [job.state for job in jobs if job.id == resumed["job"]["id"]]
    assert states == [] and api.ask("GET", "/steering/sessions")["items"] == []
