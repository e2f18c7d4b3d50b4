"""Looking before adding, finding again, composing columns, and what deleting takes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio.errors import StudioError
from tests.datasets.test_api import upload
from tests.models.api import Api

QA = [{"q": f"question {i}", "a": f"answer {i}", "n": i} for i in range(50)]
CHATS = [
    {"messages": [{"role": "user", "content": f"hi {i}"}, {"role": "assistant", "content": "hello"}]}
    for i in range(20)
]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_a_preview_shows_what_an_import_would_make(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_bytes(jsonl(QA))
    source = {"kind": "jsonl", "path": str(path)}
    shown = api.ask("POST", "/datasets/preview", json={"source": source, "rows": 4})
    assert [row["values"]["q"] for row in shown["rows"]] == [row["q"] for row in QA[:4]]
    assert [(column["name"], column["type"]) for column in shown["columns"]] == [
        ("q", "string"),
        ("a", "string"),
        ("n", "int64"),
    ]
    assert shown["text_column"] is None and shown["chat_columns"] == [] and shown["texts"] is None
    recipe = {"kind": "template", "template": "{q} {a}"}
    made = api.ask("POST", "/datasets/preview", json={"source": source, "rows": 2, "recipe": recipe})
    assert made["texts"] == ["question 0 answer 0", "question 1 answer 1"]
    wrong = {"kind": "template", "template": "{nope}"}
    refused = api.ask("POST", "/datasets/preview", 422, json={"source": source, "recipe": wrong})
    assert refused["code"] == "recipe_invalid"
    assert shown["about"]["source_bytes"] == path.stat().st_size and shown["free_bytes"] > 0
    path.write_bytes(jsonl(CHATS))
    shown = api.ask("POST", "/datasets/preview", json={"source": source})
    assert shown["chat_columns"] == ["messages"]
    assert api.ask("GET", "/datasets")["total"] == 0
    path.write_text("{")
    assert api.ask("POST", "/datasets/preview", 400, json={"source": source})["code"] == "broken_file"
    outside = {"kind": "text", "path": "/etc/passwd"}
    assert api.ask("POST", "/datasets/preview", 403, json={"source": outside})["code"] == "path_not_allowed"


def test_a_folder_of_tables_is_one_data_set(api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    (folder / "deep").mkdir(parents=True)
    for i in range(3):
        pq.write_table(pa.table({"text": [f"{i} {j}" for j in range(10)]}), folder / f"part-{i}.parquet")
    (folder / "deep" / "more.jsonl").write_bytes(b'{"text": "more"}\n')
    source = {"kind": "folder", "path": str(folder), "pattern": "*.parquet"}
    added = api.ask("POST", "/datasets", 202, json={"source": source})
    api.work(added)
    shown = api.ask("GET", f"/datasets/{added['id']}")
    assert (shown["rows"], shown["about"]["files"]) == (30, 3)
    mixed = api.ask(
        "POST", "/datasets", 202, json={"source": {**source, "pattern": "**/*.*"}, "name": "mixed"}
    )
    api.work(mixed)
    assert api.ask("GET", f"/datasets/{mixed['id']}")["rows"] == 31


def test_finding_by_source_status_tag_and_star(api: Api) -> None:
    one = upload(api, b"text one", "one.txt", name="one")
    two = upload(api, b"text two", "two.txt", name="two")
    hub = api.ask(
        "POST", "/datasets", 202, json={"source": {"kind": "hub", "repo": "some/where"}, "tags": ["b", "a"]}
    )
    api.work(one)
    bad = upload(api, b"caf\xe9", "bad.txt", name="bad")
    with pytest.raises(StudioError):
        api.work(bad)
    changed = api.ask("PATCH", f"/datasets/{one['id']}", json={"favourite": True, "tags": ["a", "z z", "a"]})
    assert (changed["favourite"], changed["tags"]) == (True, ["a", "z z"])

    def found(query: str) -> set[str]:
        return {dataset["name"] for dataset in api.ask("GET", f"/datasets?{query}")["items"]}

    assert found("kind=hub") == {"where"}
    assert found("kind=upload&kind=hub") == {"one", "two", "bad", "where"}
    assert found("status=ready") == {"one"}
    assert found("status=queued") == {"two", "bad", "where"}  # nothing settles jobs here
    assert found("tag=a") == {"one", "where"}
    assert found("tag=a&tag=b") == {"where"}
    assert found("favourite=true") == {"one"}
    assert found("favourite=false&kind=upload") == {"two", "bad"}
    assert found("q=SOME/wh") == {"where"}
    assert found("q=z z") == {"one"}
    assert found("q=%25") == set()
    assert api.ask("GET", "/datasets?sort=-favourite,name")["items"][0]["name"] == "one"
    api.ask("GET", "/datasets?status=happy", 422)
    api.ask("PATCH", f"/datasets/{one['id']}", 422, json={"tags": [" spaced"]})

    glance = api.ask("GET", "/datasets/summary")
    assert (glance["count"], glance["favourites"]) == (4, 1)
    assert glance["bytes"] == api.ask("GET", f"/datasets/{one['id']}")["bytes"]
    assert glance["kinds"] == [{"value": "upload", "count": 3}, {"value": "hub", "count": 1}]
    assert {tag["value"]: tag["count"] for tag in glance["tags"]} == {"a": 2, "b": 1, "z z": 1}

    refused = api.ask("DELETE", f"/datasets?id={one['id']}&id=ds_none", 404)
    assert refused["code"] == "dataset_not_found" and api.ask("GET", "/datasets")["total"] == 4
    gone = api.ask("DELETE", f"/datasets?id={one['id']}&id={two['id']}&id={hub['id']}")
    assert set(gone["deleted"]) == {one["id"], two["id"], hub["id"]}
    assert found("") == {"bad"} and api.ask("GET", "/datasets/summary")["tags"] == []


@pytest.mark.slow
def test_the_same_is_found_on_postgresql(metadata: Any, postgres_url: str) -> None:
    from mistudio.datasets.listing import DatasetFilter, filtered, matches_of, summary
    from mistudio.datasets.tables import Dataset, DatasetTag
    from mistudio.db import Database
    from tests.services import postgres_database

    with postgres_database(postgres_url) as url:
        database = Database(url)
        metadata.create_all(database.engine)
        with database.session() as session:
            hub = Dataset(name="one", source={"kind": "hub", "repo": "Some/Where"}, rows=3, bytes=5)
            hub.tag_rows = [DatasetTag(tag="a"), DatasetTag(tag="b")]
            session.add_all(
                [hub, Dataset(name="two", source={"kind": "text", "path": "x", "uploaded": True})]
            )
        with database.reading() as session:

            def names(query: Any) -> list[str]:
                return sorted(row.name for row in session.scalars(query))

            assert names(filtered(DatasetFilter(kind=["hub"]))) == ["one"]
            assert names(filtered(DatasetFilter(status=["ready"], tag=["a", "b"]))) == ["one"]
            assert names(filtered(DatasetFilter(status=["failed"]))) == ["two"]
            assert names(filtered(DatasetFilter()).where(matches_of("some/w"))) == ["one"]
            glance = summary(session)
        assert (glance.count, glance.bytes, glance.rows) == (2, 5, 3)
        assert {one.value for one in glance.kinds} == {"hub", "upload"}
        database.dispose()


def test_columns_joined_by_a_template(api: Api) -> None:
    added = upload(api, jsonl(QA), "qa.jsonl", text_column="q")
    api.work(added)
    root = f"/datasets/{added['id']}/columns"
    recipe = {"kind": "template", "template": "Q: {q}\nA: {a}"}
    shown = api.ask("POST", f"{root}/preview?offset=2&limit=2", json={"recipe": recipe})
    assert shown["texts"] == ["Q: question 2\nA: answer 2", "Q: question 3\nA: answer 3"]
    wrong = api.ask(
        "POST", f"{root}/preview", 422, json={"recipe": {"kind": "template", "template": "{nope}"}}
    )
    assert wrong["code"] == "recipe_invalid" and "recipe.template" in wrong["fields"]
    assert api.ask("POST", root, 409, json={"name": "a", "recipe": recipe})["code"] == "name_taken"

    before = api.ask("GET", f"/datasets/{added['id']}")["bytes"]
    column = api.ask("POST", root, 202, json={"name": "joined", "recipe": recipe})
    assert not column["ready"]
    api.work(column)
    dataset = api.ask("GET", f"/datasets/{added['id']}")
    assert dataset["text_column"] == "joined" and dataset["bytes"] > before
    assert dataset["columns"][-1] == {"name": "joined", "type": "string", "composed": column["id"]}
    assert api.ask("GET", root)[0]["ready"]
    rows = api.ask("GET", f"/datasets/{added['id']}/rows?offset=49")["items"]
    assert rows[0]["values"]["joined"] == "Q: question 49\nA: answer 49"
    found = api.ask("GET", f"/datasets/{added['id']}/rows", params={"q": "answer 7"})
    assert [row["index"] for row in found["items"]] == [7]

    refused = api.ask("DELETE", f"{root}/joined", 409)
    assert refused["code"] == "column_is_text"
    api.ask("PATCH", f"/datasets/{added['id']}", json={"text_column": "a"})
    api.ask("DELETE", f"{root}/joined", 204)
    dataset = api.ask("GET", f"/datasets/{added['id']}")
    assert [one["name"] for one in dataset["columns"]] == ["q", "a", "n"] and dataset["bytes"] == before
    assert "joined" not in api.ask("GET", f"/datasets/{added['id']}/rows")["items"][0]["values"]
    folder = api.settings.data_dir / "datasets" / added["id"] / "columns"
    assert list(folder.iterdir()) == []


def test_a_data_set_whose_text_is_composed_as_it_is_added(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_bytes(jsonl(QA))
    compose = {"name": "text", "recipe": {"kind": "template", "template": "{q} {a}"}}
    wanted = {"source": {"kind": "jsonl", "path": str(path)}, "compose": compose}
    added = api.ask("POST", "/datasets", 202, json=wanted)
    api.work(added)
    dataset = api.ask("GET", f"/datasets/{added['id']}")
    assert dataset["text_column"] == "text"
    assert api.ask("GET", f"/datasets/{added['id']}/columns")[0]["recipe"]["template"] == "{q} {a}"
    row = api.ask("GET", f"/datasets/{added['id']}/rows/3")
    assert row["values"]["text"] == "question 3 answer 3"
    taken = {**wanted, "name": "other", "compose": {**compose, "name": "q"}}
    with pytest.raises(StudioError, match="has a column “q” already"):
        api.work(api.ask("POST", "/datasets", 202, json=taken))
    assert [path.name for path in (api.settings.data_dir / "datasets").iterdir()] == [added["id"]]


def test_chats_are_rendered_by_a_model(api: Api, tiny_model: Any) -> None:
    added = upload(api, jsonl([{**row, "note": "x"} for row in CHATS]), "chats.jsonl")
    api.work(added)
    root = f"/datasets/{added['id']}/columns"
    recipe = {"kind": "chat", "column": "messages", "model_id": tiny_model.id}
    assert api.ask("POST", f"{root}/preview", 422, json={"recipe": recipe})["code"] == "no_chat_template"
    config = api.settings.data_dir / "models" / tiny_model.id / "chat_template.jinja"
    config.write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}")
    texts = api.ask("POST", f"{root}/preview", json={"recipe": {**recipe, "model_id": "tiny"}})["texts"]
    assert texts[1] == "[user] hi 1\n[assistant] hello\n"
    column = api.ask("POST", root, 202, json={"name": "chat", "recipe": recipe, "use_as_text": False})
    api.work(column)
    dataset = api.ask("GET", f"/datasets/{added['id']}")
    assert dataset["text_column"] == "note" and dataset["columns"][-1]["name"] == "chat"
    wrong = {"recipe": {**recipe, "column": "note"}}
    assert api.ask("POST", f"{root}/preview", 422, json=wrong)["code"] == "recipe_invalid"
    api.ask("POST", f"{root}/preview", 404, json={"recipe": {**recipe, "model_id": "none"}})


def test_what_deleting_would_take(api: Api, tiny_model: Any) -> None:
    added = upload(api, jsonl(QA), "qa.jsonl", text_column="q")
    api.work(added)
    recipe = {"kind": "template", "template": "{q} {a}"}
    api.work(api.ask("POST", f"/datasets/{added['id']}/columns", 202, json={"name": "x", "recipe": recipe}))
    alone = api.ask("GET", f"/datasets/consequences?id={added['id']}")
    assert (
        alone["items"] == []
        and alone["count"] == 0
        and alone["bytes"] == api.ask("GET", f"/datasets/{added['id']}")["bytes"]
    )
    made = api.ask(
        "POST",
        f"/datasets/{added['id']}/tokenizations",
        202,
        json={"model_id": tiny_model.id, "settings": {"context_length": 16}},
    )
    api.work(made)
    taken = api.ask("GET", f"/datasets/consequences?id={added['id']}")
    assert [(item["table"], item["id"]) for item in taken["items"]] == [("tokenizations", made["id"])]
    assert taken["items"][0]["bytes"] > 0
    assert taken["bytes"] == alone["bytes"] + taken["items"][0]["bytes"]
    api.ask("GET", "/datasets/consequences?id=ds_none", 404)
