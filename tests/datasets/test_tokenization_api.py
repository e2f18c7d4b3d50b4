"""Tokenizations over HTTP: preview as one types, cancel and retry, refusals, and deleting what is in use.

And how settings are given on the command line.
"""

from __future__ import annotations

from typing import Any

import pytest
import typer

from mistudio.activations.tables import ActivationCache
from mistudio.datasets.tokenization_commands import settings_of
from mistudio.datasets.tokenization_schemas import RowFilterSettings, TokenizationSettings
from tests.models.api import Api


@pytest.fixture
def root(api: Api) -> str:
    """The route of the tokenizations of a data set with 200 rows."""
    rows = b"".join(b"row %d of some text to read\n" % i for i in range(200))
    data = api.ask(
        "POST",
        "/datasets/upload",
        202,
        files={"file": ("rows.txt", rows)},
        data={"documents": "line"},
    )
    api.work(data)
    return f"/datasets/{data['id']}/tokenizations"


def wanted(model: Any, **settings: Any) -> dict[str, Any]:
    return {"model_id": model.id, "settings": {"context_length": 16, **settings}}


def test_preview_follows_the_settings(api: Api, tiny_model: Any, root: str) -> None:
    plain = api.ask("POST", f"{root}/preview?rows=10", json=wanted(tiny_model))
    assert [row["index"] for row in plain["rows"]] == list(range(10)) and plain["next_offset"] == 10
    assert len(plain["items"]) == 5 < plain["n_sequences"]
    assert {"id", "text", "special"} <= set(plain["items"][0]["tokens"][0])
    further = api.ask("POST", f"{root}/preview?rows=10&offset=195", json=wanted(tiny_model))
    assert [row["index"] for row in further["rows"]] == [195, 196, 197, 198, 199]
    assert further["next_offset"] is None
    filtered = api.ask(
        "POST",
        f"{root}/preview?rows=10",
        json=wanted(tiny_model, packing="one_per_row", filters={"drop_pattern": "row [1-3] "}),
    )
    assert filtered["dropped"] == {"rows_with_pattern": 3}
    assert [row["index"] for row in filtered["rows"] if row["dropped"]] == [1, 2, 3]
    assert {item["row"] for item in filtered["items"]} <= {0, 4, 5, 6, 7, 8, 9}
    warm = [
        api.ask("POST", f"{root}/preview?rows=10", json=wanted(tiny_model, overlap=n))["seconds"]
        for n in range(5)
    ]
    assert min(warm) < 0.2


def test_what_is_wrong_is_said_at_its_field(api: Api, tiny_model: Any, root: str) -> None:
    for where in (root, f"{root}/preview"):
        refused = api.ask("POST", where, 422, json=wanted(tiny_model, filters={"keep_pattern": "(?=a)"}))
        assert refused["code"] == "bad_pattern" and "settings.filters.keep_pattern" in refused["fields"]
        refused = api.ask("POST", where, 422, json=wanted(tiny_model, metadata_columns=["year"]))
        assert refused["code"] == "no_column" and "text" in refused["hint"]
        refused = api.ask("POST", where, 400, json=wanted(tiny_model) | {"text_column": "body"})
        assert refused["code"] == "no_text_column"


def test_a_running_one_is_cancelled_and_the_other_goes_on(api: Api, tiny_model: Any, root: str) -> None:
    first = api.ask("POST", root, 202, json=wanted(tiny_model))
    second = api.ask("POST", root, 202, json=wanted(tiny_model, packing="best_fit"))
    assert first["name"] != second["name"]
    cancelled = api.ask("POST", f"{root}/{first['id']}/cancel", 202)
    assert cancelled["job"]["state"] == "cancelled"
    assert api.ask("POST", f"{root}/{first['id']}/cancel", 202)["job"]["state"] == "cancelled"
    api.work(second)
    states = {one["id"]: (one["ready"], one["text_column"]) for one in api.ask("GET", root)["items"]}
    assert states == {first["id"]: (False, "text"), second["id"]: (True, "text")}
    made = api.ask("GET", f"{root}/{second['id']}")
    assert made["statistics"]["row_lengths"]["counts"] and made["statistics"]["most_frequent"]
    api.work(api.ask("POST", f"{root}/{first['id']}/retry", 202))
    assert api.ask("GET", f"{root}/{first['id']}")["ready"]


def test_one_in_use_is_deleted_by_force_only(api: Api, database: Any, tiny_model: Any, root: str) -> None:
    made = api.ask("POST", root, 202, json=wanted(tiny_model) | {"name": "used"})
    api.work(made)
    with database.session() as session:
        session.add(
            ActivationCache(
                name="the harvest",
                model_id=tiny_model.id,
                tokenization_id=made["id"],
                hooks=["blocks.0.hook_resid_post"],
                dtype="float32",
                settings={},
            )
        )
    refused = api.ask("DELETE", f"{root}/{made['id']}", 409)
    assert refused["code"] == "in_use" and "“the harvest”" in refused["detail"] + refused["title"]
    assert [user["name"] for user in api.ask("GET", f"{root}/{made['id']}/users")] == ["the harvest"]
    assert api.ask("GET", f"{root}/{made['id']}")["ready"]
    api.ask("DELETE", f"{root}/{made['id']}?force=true", 204)
    api.ask("GET", f"{root}/{made['id']}", 404)
    with database.reading() as session:
        assert session.query(ActivationCache).count() == 0


def test_settings_on_the_command_line() -> None:
    given = ["overlap = 3", "filters.keep_pattern=a=b", "filters.near_duplicates=true", "prepend_bos=auto"]
    assert settings_of(64, "best_fit", [*given, 'metadata_columns=["year"]']) == TokenizationSettings(
        context_length=64,
        packing="best_fit",
        overlap=3,
        metadata_columns=["year"],
        filters=RowFilterSettings(keep_pattern="a=b", near_duplicates=True),
    )
    for wrong in ("overlap", "overlap=x", "filter.keep_pattern=a", "metadata_columns=[year", "filters.x=1"):
        with pytest.raises(typer.BadParameter):
            settings_of(64, "concatenate", [wrong])
