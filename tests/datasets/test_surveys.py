"""Statistics and search index of a data set: on arrival, over HTTP, by the command line, killed and cancelled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mistudio.jobs import JobCancelled
from mistudio.jobs.context import JobInterrupted
from tests.models.api import Api
from tests.models.job_runs import run_here

LINES = [f"Fellow citizens of the Senate, this is message {number} to you." for number in range(200)]
LINES += [LINES[3], LINES[3], "  ", "Liebe Mitbürger, dies ist eine Nachricht über den Zustand des Landes."]
LINES += [f"We {' '.join(f'proclaim{number}' for number in range(58))} {last}" for last in ("now", "later")]


def added(api: Api, lines: list[str] = LINES) -> Any:
    rows = "".join(json.dumps({"text": line, "other": line[::-1]}) + "\n" for line in lines)
    path = api.settings.data_dir.parent / "rows.jsonl"
    path.write_text(rows)
    data = api.ask(
        "POST", "/datasets", 202, json={"source": {"kind": "jsonl", "path": str(path)}, "text_column": "text"}
    )
    api.work(data)
    return api.ask("GET", f"/datasets/{data['id']}")


@pytest.mark.slow
def test_statistics_come_by_themselves(api: Api) -> None:
    data = added(api)
    root = f"/datasets/{data['id']}/statistics"
    before = api.ask("GET", root)
    assert before["statistics"] is None and before["job"]["state"] == "queued"
    api.work(before)
    after = api.ask("GET", root)
    found = after["statistics"]
    assert (found["rows"], found["blank"], found["empty"], found["missing"]) == (206, 1, 0, 0)
    assert found["words"]["total"] == sum(len(line.split()) for line in LINES)
    assert found["characters"]["total"] == sum(map(len, LINES))
    assert found["duplicates"]["rows"] == 2
    assert found["duplicates"]["most_repeated"][0] | {"text": ""} == {"first_row": 3, "count": 3, "text": ""}
    near = found["near_duplicates"]
    [pair] = near["examples"]
    assert (near["rows"], pair["row"], pair["earlier_row"]) == (1, len(LINES) - 1, len(LINES) - 2)
    assert pair["text"].startswith("We ") and pair["similarity"] == pytest.approx(55 / 57)
    languages = {one["name"]: one["count"] for one in found["languages"]["shares"]}
    assert languages["en"] > 190 and languages["de"] == 1 and languages["short"] == 1
    assert found["languages"]["standard_error"] == 0
    assert not after["stale"] and after["definitions"]["languages"]["exact"]
    assert not (api.settings.data_dir / "surveys" / data["id"] / "statistics.part").exists()


def test_another_text_column_makes_them_anew(api: Api) -> None:
    data = added(api, LINES[:20])
    root = f"/datasets/{data['id']}"
    first = api.ask("GET", f"{root}/statistics")
    api.work(first)
    api.work(api.ask("GET", f"{root}/search-index"))
    assert api.ask("GET", f"{root}/rows", params={"q": "senate"})["searched"] == "index"
    api.ask("PATCH", root, json={"text_column": "text"})  # no other: nothing to do
    assert api.ask("GET", f"{root}/statistics")["job"]["id"] == first["job"]["id"]
    api.ask("PATCH", root, json={"text_column": "other"})
    statistics = api.ask("GET", f"{root}/statistics")
    assert statistics["stale"] and statistics["job"]["state"] == "queued"
    index = api.ask("GET", f"{root}/search-index")
    assert index["stale"] and not index["ready"] and index["bytes"] > 0
    assert api.ask("GET", f"{root}/rows", params={"q": "etaneS"})["searched"] == "scan"
    again = api.ask("POST", f"{root}/search-index", 202)
    assert again["job"]["id"] == index["job"]["id"]  # which the change has queued
    api.work(statistics)
    api.work(index)
    assert api.ask("GET", f"{root}/statistics")["statistics"]["text_column"] == "other"
    found = api.ask("GET", f"{root}/rows", params={"q": "etaneS"})
    assert found["searched"] == "index" and found["total"] == 20
    api.ask("DELETE", f"{root}/search-index", 204)
    assert not api.ask("GET", f"{root}/search-index")["ready"]


def test_another_text_chosen_while_one_is_surveyed(api: Api) -> None:
    data = added(api, LINES[:20])
    root = f"/datasets/{data['id']}"

    def choose(progress: dict[str, Any], asked: Any) -> None:
        api.ask("PATCH", root, json={"text_column": "other"})

    for survey in ("statistics", "search-index"):
        api.ask("PATCH", root, json={"text_column": "text"})
        first = api.ask("GET", f"{root}/{survey}")
        run_here(api.settings, api.database, first["job"]["id"], on_progress=choose)
        found = api.ask("GET", f"{root}/{survey}")
        assert found["stale"] and found["job"]["id"] != first["job"]["id"]
        api.work(found)
        assert not api.ask("GET", f"{root}/{survey}")["stale"]


def test_the_disk_used_counts_them(api: Api) -> None:
    data = added(api, LINES[:20])
    root = f"/datasets/{data['id']}"
    api.work(api.ask("GET", f"{root}/statistics"))
    api.work(api.ask("GET", f"{root}/search-index"))

    def on_disk() -> tuple[int, int]:
        folders = [api.settings.data_dir / kind / data["id"] for kind in ("datasets", "surveys")]
        sizes = [sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) for folder in folders]
        return sizes[0], sizes[1]

    def told() -> tuple[int, int]:
        shown = api.ask("GET", root)
        assert api.ask("GET", "/datasets/summary")["bytes"] == shown["bytes"] + shown["survey_bytes"]
        return shown["bytes"], shown["survey_bytes"]

    assert told() == on_disk() and told()[1] > 10_000
    api.ask("DELETE", f"{root}/search-index", 204)
    assert told() == on_disk() and told()[1] > 0
    assert api.ask("GET", "/datasets?sort=-bytes")["total"] == 1


@pytest.mark.slow
def test_a_column_composed_anew_under_its_old_name_is_another_text(api: Api) -> None:
    data = added(api, LINES[:20])
    root = f"/datasets/{data['id']}"

    def compose(template: str) -> Any:
        recipe = {"kind": "template", "template": template}
        made = api.ask("POST", f"{root}/columns", 202, json={"name": "both", "recipe": recipe})
        api.work(made)
        return made

    first = compose("{text} / {other}")
    api.work(api.ask("GET", f"{root}/search-index"))
    assert api.ask("GET", f"{root}/search-index")["ready"]
    api.ask("PATCH", root, json={"text_column": "text"})
    api.ask("DELETE", f"{root}/columns/{first['id']}", 204)
    compose("{other}")
    assert api.ask("GET", f"{root}/search-index")["stale"]


def test_a_damaged_index_is_built_again(api: Api) -> None:
    data = added(api, LINES[:20])
    root = f"/datasets/{data['id']}"
    api.work(api.ask("GET", f"{root}/search-index"))
    path = api.settings.data_dir / "surveys" / data["id"] / "search" / "index.sqlite"
    path.write_bytes(path.read_bytes()[:100] + b"\0" * 5_000)
    assert not api.ask("GET", f"{root}/search-index")["ready"]
    assert api.ask("GET", f"{root}/rows", params={"q": "senate"})["searched"] == "scan"
    api.work(api.ask("POST", f"{root}/search-index", 202))
    assert api.ask("GET", f"{root}/rows", params={"q": "senate"})["searched"] == "index"


def test_rows_over_http(api: Api) -> None:
    data = added(api)
    root = f"/datasets/{data['id']}"
    api.work(api.ask("GET", f"{root}/search-index"))
    page = api.ask("GET", f"{root}/rows", params={"q": '"message 17"', "characters": 40})
    assert page["total"] == 1 and page["items"][0]["index"] == 17
    assert page["items"][0]["marks"]
    whole = api.ask("GET", f"{root}/rows/17", params={"q": "senate"})
    [mark] = whole["marks"]
    assert whole["values"]["text"][mark["start"] : mark["end"]] == "Senate"
    best = api.ask("GET", f"{root}/rows", params={"q": "message", "order": "rank", "limit": 3})
    assert len(best["items"]) == 3 and best["next_offset"] == 3
    for q, mode in (('"open', "words"), ("[", "regex")):
        refused = api.ask("GET", f"{root}/rows", 422, params={"q": q, "mode": mode})
        assert refused["code"] == "query_invalid"
    api.ask("GET", f"{root}/rows", 422, params={"q": "x", "mode": "other"})
    api.ask("GET", f"{root}/rows/4000", 404)


def test_a_killed_run_keeps_its_shards_and_a_cancelled_one_nothing(api: Api) -> None:
    data = added(api)
    job = api.ask("GET", f"/datasets/{data['id']}/statistics")["job"]
    part = api.settings.data_dir / "surveys" / data["id"] / "statistics.part"

    def interrupt(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Tell languages":
            asked.interrupt.set()

    with pytest.raises(JobInterrupted):
        run_here(api.settings, api.database, job["id"], on_progress=interrupt)
    assert sorted(path.name for path in part.iterdir()) == [
        "bands-000000.npy",
        "counts-000000.npz",
        "plan.json",
    ]

    def cancel(progress: dict[str, Any], asked: Any) -> None:
        asked.cancel.set()

    with pytest.raises(JobCancelled):
        run_here(api.settings, api.database, job["id"], on_progress=cancel)
    assert not part.exists()
    api.work({"job": job | {"state": "queued"}})
    assert api.ask("GET", f"/datasets/{data['id']}/statistics")["statistics"]["rows"] == len(LINES)


def test_deleting_a_data_set_takes_its_surveys(api: Api) -> None:
    data = added(api)
    statistics = api.ask("GET", f"/datasets/{data['id']}/statistics")
    api.work(statistics)
    index = api.ask("GET", f"/datasets/{data['id']}/search-index")
    folder = api.settings.data_dir / "surveys" / data["id"]
    assert folder.exists()

    def delete(progress: dict[str, Any], asked: Any) -> None:
        if progress["done"] == 0 and progress["stage"] == "Index":
            api.ask("DELETE", f"/datasets/{data['id']}", 204)

    with pytest.raises(JobCancelled):
        run_here(api.settings, api.database, index["job"]["id"], on_progress=delete)
    assert not folder.exists()
    assert api.ask("GET", f"/jobs/{index['job']['id']}")["state"] == "cancelled"


def test_large_data_sets_are_surveyed_only_when_asked(api: Api) -> None:
    from mistudio.datasets.surveys import survey_on_arrival
    from mistudio.datasets.tables import Dataset

    data = added(api)
    for survey in ("statistics", "search-index"):
        job = api.ask("GET", f"/datasets/{data['id']}/{survey}")["job"]
        api.ask("POST", f"/jobs/{job['id']}/cancel")
    before = api.ask("GET", "/jobs")["total"]
    for limit, jobs in ((10, 0), (1_000_000, 2)):
        with api.database.session() as session:
            row = session.get(Dataset, data["id"])
            assert row is not None
            survey_on_arrival(session, api.settings.model_copy(update={"survey_up_to_bytes": limit}), row)
        assert api.ask("GET", "/jobs")["total"] == before + jobs
