"""What trainings recorded of themselves, through the functions that routes and commands call, and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from mistudio.app import create_app
from mistudio.console import console_options
from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenize import open_tokens
from mistudio.engine.recordings.environment import git_state
from mistudio.engine.run_folder import METRICS_FILE
from mistudio.errors import NotFound, StudioError
from mistudio.settings import LoadedSettings
from mistudio.store import MetricLog
from mistudio.training import commands, recordings, views
from mistudio.training.recordings import LooksAsked
from tests.models.job_runs import run_here
from tests.training.test_training import request, start


def test_a_training_from_a_cache_with_its_model_records_all(
    settings: Any, database: Any, tokens: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_id, job_id = start(database, request(tokens, cache, evaluate_every=10))
    with database.reading() as session:
        before = recordings.looks(session, settings, training_id)
        assert (before.steps, before.look) == ([], None)
        assert recordings.histograms(session, settings, training_id).histograms == []
        recordings.ask_looks(session, settings, training_id, LooksAsked(latents=[7]))
    result, _ = run_here(settings, database, job_id)

    with database.reading() as session:
        found = recordings.histograms(session, settings, training_id)
        looks = recordings.looks(session, settings, training_id)
        (ran_in,) = recordings.environments(session, settings, training_id)
        tokenization = session.get_one(Tokenization, tokens)
    assert found.steps[-1] == 32
    assert [one.name for one in found.histograms] == ["frequency", "encoder_norm", "encoder_bias"]
    for one in found.histograms:
        assert {sum(frame) + none for frame, none in zip(one.counts, one.none, strict=True)} == {64}
        assert len(one.edges) == len(one.counts[0]) + 1
    assert looks.steps == [16, 32]
    assert looks.look is not None
    assert looks.look.latents[0].latent == 7
    store = open_tokens(settings, tokenization)
    for latent in looks.look.latents:
        for example in latent.examples:
            ids, _ = store.take([example.sequence])
            there = ids[0][example.start : example.start + len(example.token_ids)].tolist()
            special = {0, 1, 2}  # do not count
            assert example.token_ids == [-1 if id in special else id for id in there]
            assert example.activations[example.mark] == example.strongest
            assert len(example.tokens) == len(example.activations)
    assert (ran_in.attempt, ran_in.seed, ran_in.git) == (1, 0, git_state(Path(__file__).parent))
    assert ran_in.settings is not None
    assert ran_in.settings["device"] == settings.device
    assert str(settings.data_dir) not in ran_in.model_dump_json()
    assert 0 < result["fvu"] < 1

    monkeypatch.setattr(console_options, "flags", {"data_dir": settings.data_dir})
    monkeypatch.setattr("mistudio.db.migrate.upgrade", lambda *_: None)  # the tables are there already

    def printed(*arguments: str) -> str:
        done = CliRunner().invoke(commands.app, [*arguments, training_id])
        assert done.exit_code == 0, done.output
        return " ".join(done.stdout.split())

    assert "after step 32" in printed("histograms", "--name", "frequency")
    assert "‹" in printed("looks")
    assert "torch 2" in printed("environment")
    assert printed("metrics", "--column", "fvu", "--csv", "-").startswith("step,tokens,time,fvu 1,256,")
    monkeypatch.setattr(console_options, "as_json", True)
    asked = json.loads(printed("looks", "--ask", "3", "--ask", "5"))
    assert asked["asked"] == [3, 5]
    assert len(json.loads(printed("environment"))) == 1


def test_over_http(settings: Any, database: Any, tokens: str) -> None:
    training_id, _ = start(database, request(tokens))
    app = create_app(LoadedSettings(settings, {}), migrate=False, dispatcher=lambda *_: None)
    with TestClient(app, base_url="http://127.0.0.1") as http:
        path = f"/api/v1/trainings/{training_id}"
        assert http.get(f"{path}/histograms").json()["steps"] == []
        refused = http.get(f"{path}/histograms", params={"names": "loudness"}).json()
        assert refused["code"] == "histogram_unknown"
        asked = http.put(f"{path}/looks", json={"latents": [3, 1, 3]}).json()
        assert asked["asked"] == [1, 3]
        refused = http.put(f"{path}/looks", json={"latents": [64]}).json()
        assert refused["code"] == "latent_unknown"
        assert "0 to 63" in refused["detail"]
        assert http.get(f"{path}/looks", params={"step": 5}).status_code == 404
        assert http.get(f"{path}/environments").json() == []
        assert http.get("/api/v1/trainings/tr_none/looks").status_code == 404
        with MetricLog(views.training_folder(settings, training_id) / METRICS_FILE, ["fvu", "l0"]) as log:
            log.append(1, 256, {"fvu": 0.1 + 0.2, "l0": 4.0}, time=0.5)
            log.append(2, 512, {"l0": 4.0}, time=1.5)
        points = http.get(f"{path}/metrics.csv", params={"columns": "fvu"})
        assert points.text == "step,tokens,time,fvu\r\n1,256,0.5,0.30000000000000004\r\n2,512,1.5,\r\n"
        assert points.headers["content-disposition"].startswith("attachment; filename=")
        assert http.get(f"{path}/metrics.csv", params={"columns": "loudness"}).status_code == 422


def test_secrets_stay_out_of_the_environment(settings: Any, database: Any, tokens: str) -> None:
    secret = settings.model_copy(update={"hf_token": type(settings)(hf_token="hf_secret").hf_token})
    training_id, job_id = start(database, request(tokens, total_tokens=512))
    run_here(secret, database, job_id)
    with database.reading() as session:
        (found,) = recordings.environments(session, settings, training_id)
        with pytest.raises(NotFound):
            recordings.environments(session, settings, "tr_none")
        with pytest.raises(StudioError, match="histogram"):
            recordings.histograms(session, settings, training_id, ["loudness"])
    text = json.dumps(found.model_dump(mode="json"))
    assert "hf_secret" not in text
    assert "hf_token" not in text
