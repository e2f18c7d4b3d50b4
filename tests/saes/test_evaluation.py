"""Evaluations as jobs, over HTTP and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from mistudio.app import create_app
from mistudio.console import Console
from mistudio.errors import Conflict, StudioError
from mistudio.sae import SAE, TopKConfig, save_sae
from mistudio.saes import eval_command, evaluation, library
from mistudio.saes.schemas import EvaluationCreate, SaeChange
from mistudio.settings import LoadedSettings
from tests.cli.conftest import CommandLine, cli
from tests.features.make_sae import HOOK, add_sae, random_sae
from tests.models.job_runs import run_here
from tests.training.conftest import cache, tokens

__all__ = ["cache", "cli", "tokens"]
API = "/api/v1"
SMALL = EvaluationCreate(tokens=2_000, spliced_tokens=256)


@pytest.fixture
def http(settings: Any, database: Any) -> Iterator[TestClient]:
    app = create_app(LoadedSettings(settings, {}), migrate=False, dispatcher=lambda *_: None)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def test_over_http(settings: Any, database: Any, tiny_model: Any, tokens: str, http: TestClient) -> None:
    sae_id = add_sae(settings, database, tiny_model.id)
    assert http.get(f"{API}/saes/{sae_id}/evaluation").json() is None
    sent = http.post(
        f"{API}/saes/{sae_id}/evaluations",
        json={"tokens": 2_000, "spliced_tokens": 256},
    )
    assert sent.status_code == 202, sent.text
    job = sent.json()["job"]
    assert (job["kind"], job["state"]) == ("saes.evaluate", "queued")
    _, reports = run_here(settings, database, job["id"])
    assert {"Reconstruct", "Splice into the model"} <= {p["stage"] for p in reports.progress}
    shown = http.get(f"{API}/saes/{sae_id}/evaluation").json()
    report = shown["report"]
    assert report["name"] == "random" and report["writes"] == [HOOK]
    assert 1_800 < report["tokens"] <= 2_100
    assert set(report["metrics"]) == set(shown["infos"])
    assert shown["infos"]["ce_loss_score"]["formula"]
    assert shown["tokenization_id"] == tokens and shown["held_out_tokens"] is None
    metrics = http.get(f"{API}/saes/{sae_id}").json()["metrics"]
    assert metrics["fvu"] == report["metrics"]["fvu"] != 0.5, "the row shows the newest"
    assert metrics["ce_loss_with_sae"] > 0
    assert http.post(f"{API}/saes/{sae_id}/evaluations", json={"tokens": 0}).status_code == 422
    assert http.delete(f"{API}/saes/{sae_id}").status_code == 204
    assert not list((settings.data_dir / "sae_evaluations").glob("*")), "its report went with it"


def test_several_share_one_job(
    settings: Any, database: Any, tiny_model: Any, tokens: str, http: TestClient
) -> None:
    ids = [add_sae(settings, database, tiny_model.id) for _ in range(3)]
    sent = http.post(
        f"{API}/saes/evaluations", json={"sae_ids": [*ids, ids[0]], "tokens": 500, "spliced_tokens": 0}
    )
    assert sent.status_code == 202, sent.text
    assert [sae["id"] for sae in sent.json()] == ids
    job = sent.json()[0]["job"]
    assert job["title"].endswith("and 2 more")
    run_here(settings, database, job["id"])
    found = [evaluation.read_evaluation(settings, sae_id) for sae_id in ids]
    assert len({record.report.metrics["fvu"] for record in found if record}) == 1
    assert found[2] is not None and found[2].report.name == "random 3"


def test_tokens_that_a_training_held_out_come_first(
    settings: Any, database: Any, tokens: str, tiny_model: Any
) -> None:
    """Every token that the evaluation of a trained SAE begins with is one that the training never saw."""
    from mistudio.datasets.tokenize import open_tokens
    from mistudio.engine.harvest_settings import HarvestSettings
    from mistudio.engine.sources import ModelSource
    from mistudio.models.library import open_model
    from mistudio.saes.evaluation_work import unseen_first

    store = open_tokens(settings, tokens)
    harvest = HarvestSettings(seed=7)
    source = ModelSource(
        open_model(settings, tiny_model.id), store, [HOOK], settings=harvest, held_out_tokens=1_000
    )
    training = {"tokenization_id": tokens, "harvest": harvest.model_dump(), "held_out_tokens": 1_000}
    found = unseen_first(store, [training], tokens, 900)
    held_out = {tuple(row) for row in store.take(source.held_out_sequences)[0].tolist()}
    rows, _ = found.take(range(found.n_sequences))
    # Rows are read 256 at a time; those before the first trained one are what was held out, all of it.
    first = [tuple(row) for row in rows.tolist()[: len(held_out)]]
    assert set(first) == held_out


def test_what_cannot_be_evaluated_is_refused(
    settings: Any, database: Any, tiny_model: Any, tokens: str
) -> None:
    homeless = add_sae(settings, database, None)
    placed = add_sae(settings, database, tiny_model.id)
    with database.session() as session, pytest.raises(StudioError, match="which model"):
        evaluation.add_evaluation(session, [placed, homeless], SMALL)
    with database.session() as session, pytest.raises(Conflict):
        library.get_sae(session, placed).bytes = None
        evaluation.add_evaluation(session, [placed], SMALL)


def test_an_sae_deleted_meanwhile_leaves_nothing(
    settings: Any, database: Any, tiny_model: Any, tokens: str
) -> None:
    sae_id = add_sae(settings, database, tiny_model.id)
    with database.session() as session:
        _, job = evaluation.add_evaluation(session, [sae_id], SMALL)
        job_id = job.id

    def delete(progress: dict[str, Any], _: Any) -> None:
        if progress["stage"] == "Compare directions":
            with database.session() as session:
                library.delete_sae(session, settings, sae_id, force=True)

    run_here(settings, database, job_id, on_progress=delete)
    assert not (settings.data_dir / "sae_evaluations").exists()


def test_a_report_of_another_time_that_cannot_be_read_counts_as_none(settings: Any) -> None:
    path = evaluation.report_path(settings, "sa_x")
    path.parent.mkdir(parents=True)
    path.write_text('{"report": {"name": "torn"')
    assert evaluation.read_evaluation(settings, "sa_x") is None


def test_a_place_given_later_is_the_one_that_is_measured(
    settings: Any, database: Any, tiny_model: Any, tokens: str
) -> None:
    sae_id = add_sae(settings, database, tiny_model.id)
    elsewhere = "blocks.0.hook_resid_post"
    with database.session() as session:
        library.change_sae(session, sae_id, SaeChange(hook=elsewhere))
        _, job = evaluation.add_evaluation(session, [sae_id], SMALL)
        job_id = job.id
    run_here(settings, database, job_id)
    record = evaluation.read_evaluation(settings, sae_id)
    assert record is not None and record.report.reads == [elsewhere]


def test_a_crosscoder_is_measured_on_the_hook_points_that_its_configuration_names(
    settings: Any, database: Any, tiny_model: Any, tokens: str
) -> None:
    layers = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    crosscoder = SAE(TopKConfig(k=4), 64, 48, n_sites=2, apply_b_dec_to_input=False)
    for parameter in crosscoder.parameters():
        parameter.normal_(0, 0.1)
    with database.session() as session:
        placeless = library.register_sae(
            session, settings, crosscoder, name="placeless", model_id=tiny_model.id
        ).id
        crosscoder.metadata = {"hook_names": layers}
        sae_id = library.register_sae(
            session, settings, crosscoder, name="crosscoder", model_id=tiny_model.id
        ).id
    with database.session() as session:
        _, job = evaluation.add_evaluation(session, [sae_id], SMALL)
        job_id = job.id
    run_here(settings, database, job_id)
    record = evaluation.read_evaluation(settings, sae_id)
    assert record is not None and record.report.reads == layers
    with database.session() as session, pytest.raises(StudioError, match="which hook points") as refused:
        evaluation.add_evaluation(session, [placeless], SMALL)
    assert "hook_names" in refused.value.hint


@pytest.mark.slow
def test_folders_on_the_command_line(cli: CommandLine, tiny_llama_folder: Path, tmp_path: Path) -> None:
    """Without a database: nothing is written but what was asked for."""
    for name, k in (("narrow", 2), ("wide", 8)):
        save_sae(random_sae(k=k), tmp_path / name)
    text = tmp_path / "text.txt"
    text.write_text(Path(__file__).read_text("utf-8"))
    both = [str(tmp_path / "narrow"), str(tmp_path / "wide")]
    given = ["--model", str(tiny_llama_folder), "--text", str(text), "--tokens", "600", "--spliced", "128"]
    picture = tmp_path / "sweep.svg"
    found = cli.json("eval", *both, *given, "--context", "32", "--pareto", str(picture))
    assert [one["name"] for one in found] == ["narrow", "wide"]
    assert [one["metrics"]["l0"] for one in found] == pytest.approx([2, 8], abs=0.1)
    assert found[0]["metrics"]["ce_loss_without_sae"] == found[1]["metrics"]["ce_loss_without_sae"]
    ElementTree.fromstring(picture.read_text())
    assert not list(cli.data_dir.iterdir())
    table = cli.run("eval", both[0], *given).stdout
    assert "fvu" in table and "narrow" in table
    assert "--model and --text" in cli.refused("eval", both[0])
    assert "no file or folder nowhere" in cli.refused("eval", both[0], "nowhere", *given)
    assert "no file or folder nowhere" in cli.refused("eval", "nowhere", *given)


def test_the_app_s_own_on_the_command_line(
    settings: Any, database: Any, tiny_model: Any, tokens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, with the result kept; the job is done in this process."""

    class HereConsole(Console):
        def run(self, job_id: str) -> dict[str, Any]:
            return run_here(self.settings, self.database, job_id)[0]

    @contextmanager
    def open_here() -> Iterator[Console]:
        yield HereConsole(LoadedSettings(settings, {}), database, as_json=True)

    monkeypatch.setattr(eval_command, "open_console", open_here)
    monkeypatch.setattr(eval_command.console_options, "as_json", True)
    sae_id = add_sae(settings, database, tiny_model.id)
    app = typer.Typer()
    app.command()(eval_command.evaluate_command)
    done = CliRunner().invoke(app, ["random", "--tokens", "500", "--spliced", "0", "--tokenization", tokens])
    assert done.exit_code == 0, done.exception
    kept = evaluation.read_evaluation(settings, sae_id)
    assert kept is not None and json.loads(done.stdout) == [kept.report.as_dict()]
    refused = CliRunner().invoke(app, ["random", "--model", "x"])
    assert isinstance(refused.exception, StudioError) and "their own model" in str(refused.exception)
