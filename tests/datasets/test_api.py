"""Data sets and tokenizations over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mistudio.errors import StudioError
from tests.models.api import Api


def upload(api: Api, content: bytes, filename: str, expect: int = 202, **fields: Any) -> Any:
    return api.ask("POST", "/datasets/upload", expect, files={"file": (filename, content)}, data=fields)


def test_upload_look_search_and_delete(api: Api) -> None:
    lines = "".join(f"line {i}\n" for i in range(100)).encode()
    added = upload(api, lines, "lines.txt", documents="line", name="my lines")
    assert added["source"] | {"max_rows": None} == {
        "kind": "text",
        "path": "lines.txt",
        "uploaded": True,
        "documents": "line",
        "max_rows": None,
    }
    assert api.ask("GET", f"/datasets/{added['id']}/rows", 409)["code"] == "dataset_not_ready"
    api.work(added)
    shown = api.ask("GET", f"/datasets/{added['id']}")
    assert (shown["rows"], shown["text_column"], shown["tokenization_count"]) == (100, "text", 0)
    page = api.ask("GET", f"/datasets/{added['id']}/rows?offset=98&limit=5")
    assert [row["values"]["text"] for row in page["items"]] == ["line 98", "line 99"]
    found = api.ask("GET", f"/datasets/{added['id']}/rows", params={"q": "LINE 7", "mode": "text"})
    assert found["total"] == 11
    assert api.ask("GET", f"/datasets/{added['id']}/rows/42")["values"]["text"] == "line 42"
    api.ask("GET", f"/datasets/{added['id']}/rows/100", 404)
    api.ask("GET", f"/datasets/{added['id']}/rows/random")
    assert api.ask("PATCH", f"/datasets/{added['id']}", json={"name": "other"})["name"] == "other"
    assert (
        api.ask("PATCH", f"/datasets/{added['id']}", 400, json={"text_column": "x"})["code"]
        == "no_text_column"
    )
    assert [d["name"] for d in api.ask("GET", "/datasets?q=oth&sort=name")["items"]] == ["other"]
    assert api.ask("GET", "/datasets?sort=nope", 422)["code"] == "sort_unknown"
    api.ask("DELETE", f"/datasets/{added['id']}", 204)
    api.ask("GET", f"/datasets/{added['id']}", 404)


def test_bad_uploads_leave_nothing(api: Api) -> None:
    assert upload(api, b"", "a.txt", 400)["code"] == "file_empty"
    assert upload(api, b"x", "a.mp3", 400)["code"] == "format_unknown"
    assert upload(api, b"x", "a.txt", 422, documents="pages")["code"] == "invalid_input"
    assert upload(api, b"x", "a.txt", 422, max_rows="0")["code"] == "invalid_input"
    first = upload(api, b"text", "a.txt", name="taken")
    assert upload(api, b"text", "b.txt", 409, name="taken")["code"] == "name_taken"
    uploads = api.settings.data_dir / "uploads"
    assert [path.name for path in uploads.iterdir()] == [first["id"]]
    assert api.ask("GET", "/datasets")["total"] == 1
    bad = upload(api, b"caf\xe9", "c.txt")
    with pytest.raises(StudioError, match="not UTF-8"):
        api.work(bad)
    assert [path.name for path in uploads.iterdir()] == [first["id"]]


def test_adding_by_path_and_hub_id(api: Api, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\nhello\n")

    def add(expect: int, source: dict[str, Any]) -> Any:
        return api.ask("POST", "/datasets", expect, json={"source": source})

    api.work(add(202, {"kind": "csv", "path": str(tmp_path / "t.csv")}))
    assert add(400, {"kind": "csv", "path": str(tmp_path / "none.csv")})["code"] == "path_not_found"
    assert add(403, {"kind": "text", "path": "/etc/passwd"})["code"] == "path_not_allowed"
    assert add(422, {"kind": "hub", "repo": "not a repo"})["code"] == "invalid_input"
    assert add(422, {"kind": "text", "path": "x", "nope": 1})["code"] == "invalid_input"
    hub = add(202, {"kind": "hub", "repo": "some/where", "max_rows": 10})
    assert hub["source"]["split"] == "train" and not hub["ready"]


def test_the_life_of_tokenizations(api: Api, tiny_model: Any) -> None:
    data = upload(
        api, b"".join(b"row %d of some text to read\n" % i for i in range(200)), "rows.txt", documents="line"
    )
    root = f"/datasets/{data['id']}/tokenizations"
    wanted: dict[str, Any] = {"model_id": tiny_model.id, "settings": {"context_length": 16}}
    assert api.ask("POST", root, 409, json=wanted)["code"] == "dataset_not_ready"
    api.work(data)
    shown = api.ask("POST", f"{root}/preview?limit=2", json=wanted)
    assert len(shown["items"]) == 2 and len(shown["items"][0]["tokens"]) == 16

    first = api.ask("POST", root, 202, json=wanted)
    second = api.ask(
        "POST", root, 202, json=wanted | {"settings": {"context_length": 32, "packing": "one_per_row"}}
    )
    assert api.ask("GET", f"{root}/{first['id']}/sequences", 409)["code"] == "tokenization_not_ready"
    cancelled = api.ask("POST", f"{root}/{second['id']}/cancel", 202)
    assert cancelled["job"]["state"] == "cancelled"
    again = api.ask("POST", f"{root}/{second['id']}/retry", 202)
    assert again["job"]["state"] == "queued" and again["job"]["attempt"] == 2
    api.work(first)
    api.work(again)
    by_model = api.ask("GET", f"{root}/{tiny_model.id}")
    assert by_model["id"] == second["id"] and by_model["statistics"]["padding_tokens"] > 0
    assert (
        api.ask("GET", root)["total"]
        == api.ask("GET", f"/tokenizations?model_id={tiny_model.id}")["total"]
        == 2
    )
    assert api.ask("GET", f"/tokenizations/{first['id']}")["dataset_name"] == "rows"
    page = api.ask("GET", f"{root}/{first['id']}/sequences?limit=2")
    assert page["items"][0]["tokens"] == shown["items"][0]["tokens"] and page["next_offset"] == 2
    assert api.ask("GET", f"/datasets/{data['id']}")["tokenization_count"] == 2

    assert api.ask("DELETE", f"/models/{tiny_model.id}", 409)["code"] == "in_use"
    assert {u["kind"] for u in api.ask("GET", f"/models/{tiny_model.id}/users")} == {"tokenization"}
    api.ask("DELETE", f"{root}/{first['id']}", 204)
    api.ask("GET", f"{root}/{first['id']}", 404)
    api.ask("DELETE", f"/models/{tiny_model.id}?force=true", 204)
    assert api.ask("GET", root)["total"] == 0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"context_length": 1}, "settings.context_length"),
        ({"context_length": 512}, "settings.context_length"),
        ({"overlap": 500}, "settings"),
        ({"packing": "best"}, "settings.packing"),
        ({"nope": 1}, "settings.nope"),
    ],
)
def test_settings_out_of_range_name_their_field(
    api: Api, tiny_model: Any, wrong: dict[str, Any], field: str
) -> None:
    data = upload(api, b"some text", "t.txt")
    api.work(data)
    refused = api.ask(
        "POST",
        f"/datasets/{data['id']}/tokenizations",
        422,
        json={"model_id": tiny_model.id, "settings": wrong},
    )
    assert field in refused["fields"]
    missing = {"model_id": "md_none"}
    assert (
        api.ask("POST", f"/datasets/{data['id']}/tokenizations", 404, json=missing)["code"]
        == "model_not_found"
    )
