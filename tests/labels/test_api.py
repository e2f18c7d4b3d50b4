"""Labels over HTTP and on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mistudio.cli import main
from mistudio.jobs import Job, latest_jobs
from tests.models.conftest import api
from tests.models.job_runs import run_here

__all__ = ["api"]


def test_by_hand_and_by_machine(api: Any, extraction: str) -> None:
    at = f"/extractions/{extraction}/features/9"
    assert api.ask("GET", f"{at}/labels") == {
        "extraction_id": extraction,
        "feature_index": 9,
        "label": None,
        "label_source": None,
        "label_score": None,
        "history": [],
    }
    made = api.ask("PUT", f"{at}/label", json={"text": " my  words ", "notes": "a note"})
    assert made["label"] == "my words" and made["history"][0]["source"] == "person"
    table = api.ask("GET", f"/extractions/{extraction}/features", params={"label_state": "person"})
    assert [(row["index"], row["label"], row["notes"]) for row in table["items"]] == [
        (9, "my words", "a note")
    ]

    started = api.ask(
        "POST",
        f"/extractions/{extraction}/labelling-runs",
        202,
        json={"scope": {"indices": [9, 17], "only": "all"}, "background": 64},
    )
    assert started["source"] == "machine:contrast" and started["n_features"] == 2 and started["labels"] == 0
    api.work(started)
    run = api.ask("GET", f"/labelling-runs/{started['id']}")
    assert run["labels"] == 2
    listed = api.ask("GET", f"/extractions/{extraction}/labelling-runs")
    assert [one["id"] for one in listed["items"]] == [started["id"]]
    found = api.ask("GET", f"{at}/labels")
    assert found["label"] == "my words" and [one["source"] for one in found["history"]] == [
        "machine:contrast",
        "person",
    ]
    machine = found["history"][0]
    assert (
        machine["run_id"] == started["id"]
        and machine["score"] == machine["score_detail"]["balanced_accuracy"]
    )
    left = api.ask("DELETE", f"{at}/label")
    assert left["label"] == machine["text"] and left["label_source"] == "machine:contrast"
    assert left["history"][0]["text"] is None
    api.ask("DELETE", f"{at}/label", 409)

    api.ask("DELETE", f"/extractions/{extraction}", 204)
    api.ask("GET", f"{at}/labels", 404)
    api.ask("GET", f"/labelling-runs/{started['id']}", 404)


def test_refusals(api: Any, extraction: str) -> None:
    at = f"/extractions/{extraction}/features"
    assert api.ask("PUT", f"{at}/9/label", 422, json={"text": ""})["fields"]
    assert api.ask("PUT", f"{at}/9/label", 422, json={"text": "  "})["code"] == "label_empty"
    assert api.ask("PUT", f"{at}/9/label", 422, json={"text": "a", "by": "me"})["code"] == "invalid_input"
    assert api.ask("PUT", f"{at}/99/label", 404, json={"text": "a"})["code"] == "feature_not_found"
    runs = f"/extractions/{extraction}/labelling-runs"
    assert api.ask("POST", runs, 422, json={"source": "openai"})["code"] == "invalid_input"
    refused = api.ask("POST", runs, 400, json={"source": "openai", "model": "m"})
    assert refused["code"] == "labels_endpoint_unset" and "MISTUDIO_LABELS_BASE_URL" in refused["hint"]
    assert api.ask("POST", runs, 422, json={"scope": {"indices": [99]}})["code"] == "feature_unknown"
    assert api.ask("GET", runs)["total"] == 0


def test_the_form_tells_what_is_there_and_what_scores_mean(api: Any) -> None:
    form = api.ask("GET", "/labelling/form")
    assert [one["source"] for one in form["sources"]] == ["contrast", "local", "openai"]
    assert not form["sources"][2]["available"] and "LABELS_BASE_URL" in form["sources"][2]["why_not"]
    assert set(form["score_methods"]) == {"rule", "detection"}
    assert "0.5 is chance" in form["score_fields"]["balanced_accuracy"]
    assert "labels_api_key" not in json.dumps(form)


@pytest.fixture
def command(settings: Any, database: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Any:
    """Run `mistudio …` over the test's database; jobs are worked on in this process."""
    from mistudio.console.console import Console

    def run_job(console: Console, job_id: str) -> dict[str, Any]:
        return run_here(settings, database, job_id)[0]

    monkeypatch.setattr(Console, "run", run_job)
    monkeypatch.setattr("mistudio.db.migrate.upgrade", lambda *_: None)

    def run(*arguments: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["--data-dir", str(settings.data_dir), *arguments, "--json"])
        out = capsys.readouterr()
        return int(end.value.code or 0), json.loads(out.out) if out.out else None, out.err

    return run


def test_commands(command: Any, database: Any, extraction: str) -> None:
    code, result, _ = command(
        "labels", "run", extraction, "--feature", "9", "--feature", "17", "--only", "all"
    )
    assert code == 0 and result["labelled"] == 2 and result["scored"] == 2
    code, found, _ = command("labels", "set", extraction, "9", "my words")
    assert code == 0 and found["label"] == "my words"
    code, found, _ = command("labels", "show", extraction, "9")
    assert [one["source"] for one in found["history"]] == ["person", "machine:contrast"]
    code, found, _ = command("labels", "set", extraction, "9", "")
    assert found["label_source"] == "machine:contrast"
    code, _, error = command("labels", "run", extraction, "--source", "openai")
    assert code == 1 and "name the endpoint's model" in error
    code, _, error = command("labels", "run", extraction, "--feature", "0")
    assert code == 1 and "No feature is left to label" in error
    with database.reading() as session:
        assert isinstance(latest_jobs(session, [f"labelling_runs/{result['run']}"]).popitem()[1], Job)
