"""Templates over HTTP: of every kind in one table, checked by the schema that each kind's domain registered."""

from __future__ import annotations

from typing import Any

import pytest

from mistudio.templates import library
from tests.models.api import Api

EVERY_THIRD: dict[str, Any] = {
    "kind": "extraction",
    "name": "every third layer",
    "description": "A look through the depth",
    "body": {"hooks": ["blocks.*/3.hook_resid_post"], "dtype": "int8", "settings": {"n_tokens": 5000}},
}


def names(page: Any) -> list[str]:
    return [item["name"] for item in page["items"]]


def test_the_life_of_a_template(api: Api) -> None:
    made = api.ask("POST", "/templates", 201, json=EVERY_THIRD)
    assert made["body"]["settings"]["skip_special_tokens"] is True  # defaults are filled in
    assert made["uses"] == 0 and made["last_used_at"] is None
    assert api.ask("GET", f"/templates/{made['id']}") == made
    assert api.ask("POST", "/templates", 409, json=EVERY_THIRD)["code"] == "name_taken"
    starred = api.ask("PATCH", f"/templates/{made['id']}", json={"favourite": True})
    assert starred["favourite"] and starred["updated_at"] == made["updated_at"]
    copy = api.ask("POST", f"/templates/{made['id']}/duplicate", 201)
    assert copy["name"] == "every third layer copy" and copy["body"] == made["body"]
    assert api.ask("POST", f"/templates/{made['id']}/duplicate", 201)["name"].endswith("copy 2")
    changed = api.ask(
        "PATCH",
        f"/templates/{copy['id']}",
        json={"name": "all layers", "body": {"hooks": ["blocks.*.hook_resid_post"]}},
    )
    assert changed["name"] == "all layers" and changed["body"]["dtype"] == "float16"
    assert (
        api.ask("PATCH", f"/templates/{copy['id']}", 409, json={"name": EVERY_THIRD["name"]})["code"]
        == "name_taken"
    )
    api.ask("DELETE", f"/templates/{copy['id']}", 204)
    api.ask("GET", f"/templates/{copy['id']}", 404)


def test_lists_are_filtered_searched_and_sorted(api: Api) -> None:
    made: list[Any] = []
    for name, kind, body, favourite in (
        ("b", "extraction", {"hooks": ["blocks.0.hook_mlp_out"]}, False),
        ("a", "extraction", {"hooks": ["blocks.0.hook_mlp_out"]}, False),
        ("small", "training", {"config": {"d_sae": 64}}, True),
        ("a", "training", {}, False),
    ):
        wanted = {"kind": kind, "name": name, "body": body, "favourite": favourite}
        made.append(api.ask("POST", "/templates", 201, json=wanted))
    small = made[2]
    assert names(api.ask("GET", "/templates"))[0] == "small"  # favourites first
    assert names(api.ask("GET", "/templates?kind=extraction")) == ["a", "b"]
    assert names(api.ask("GET", "/templates?favourite=true")) == ["small"]
    assert names(api.ask("GET", "/templates?q=SMA")) == ["small"]
    assert names(api.ask("GET", "/templates?sort=-name&limit=1")) == ["small"]
    kinds = {kind["name"]: kind for kind in api.ask("GET", "/templates/kinds")}
    assert list(kinds) == ["extraction", "training", "labelling", "steering"]
    assert "hooks" in kinds["extraction"]["form"]["properties"]
    api.ask(
        "PATCH", f"/templates/{small['id']}", json={"body": {"config": {"architecture": {"kind": "topk"}}}}
    )
    assert names(api.ask("GET", "/templates?architecture=topk")) == ["small"]
    kinds = {kind["name"]: kind["architectures"] for kind in api.ask("GET", "/templates/kinds")}
    assert kinds == {"extraction": [], "training": ["batch_topk", "topk"], "labelling": [], "steering": []}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"kind": "cooking"}, "kind"),
        ({"name": ""}, "name"),
        ({"body": {}}, "body.hooks"),
        ({"body": {"hooks": []}}, "body.hooks"),
        ({"body": {"hooks": ["x"], "settings": {"batch_sequences": 0}}}, "body.settings.batch_sequences"),
        ({"body": {"hooks": ["x"], "d_sae": 5}}, "body.d_sae"),
    ],
)
def test_what_does_not_fit_is_named(api: Api, wrong: dict[str, Any], field: str) -> None:
    problem = api.ask("POST", "/templates", 422, json=EVERY_THIRD | wrong)
    assert field in problem["fields"]
    assert api.ask("GET", "/templates")["total"] == 0


def test_a_file_goes_out_and_comes_back(api: Api) -> None:
    first = api.ask("POST", "/templates", 201, json=EVERY_THIRD)
    other = EVERY_THIRD | {"name": "the last", "favourite": True}
    second = api.ask("POST", "/templates", 201, json=other)
    document = api.ask("GET", "/templates/export")
    assert document["version"] == 1 and len(document["templates"]) == 2
    assert len(api.ask("GET", f"/templates/export?id={second['id']}")["templates"]) == 1

    # All there already and equal: nothing to do.
    report = api.ask("POST", "/templates/import/preview", json={"document": document})
    assert [row["state"] for row in report["rows"]] == ["same", "same"] and report["imported"] == 0

    # Deleted, changed, and two rows that do not fit.
    api.ask("DELETE", f"/templates/{second['id']}", 204)
    api.ask("PATCH", f"/templates/{first['id']}", json={"body": {"hooks": ["blocks.0.hook_mlp_out"]}})
    document["templates"] += [
        {"kind": "extraction", "name": "broken", "body": {"hooks": ["x"], "dtype": "int3"}},
        "nonsense",
    ]
    wanted: dict[str, Any] = {"document": document}
    preview = api.ask("POST", "/templates/import/preview", json=wanted)
    assert api.ask("GET", "/templates")["total"] == 1  # a preview writes nothing
    rows = {row["row"]: row for row in preview["rows"]}
    assert rows[1]["state"] == "taken" and rows[1]["imported_as"] == "every third layer 2"
    assert rows[1]["changes"] == ["hooks", "dtype", "settings.n_tokens"] and rows[2]["changes"] == []
    assert rows[2]["state"] == "new" and rows[2]["action"] == "add"
    assert rows[3]["state"] == "invalid" and "body.dtype" in rows[3]["errors"]
    assert rows[4]["state"] == "invalid" and rows[4]["errors"]
    assert preview["imported"] == 2
    skipped = api.ask("POST", "/templates/import/preview", json=wanted | {"on_conflict": "skip"})
    assert skipped["imported"] == 1

    done = api.ask("POST", "/templates/import", json=wanted | {"choices": {"1": "replace"}})
    assert done["imported"] == 2 and api.ask("GET", "/templates")["total"] == 2
    assert api.ask("GET", f"/templates/{first['id']}")["body"] == first["body"]
    assert api.ask("GET", "/templates?favourite=true")["items"][0]["body"] == second["body"]
    again = api.ask("POST", "/templates/import", json=wanted)
    assert [row["state"] for row in again["rows"]] == ["same", "same", "invalid", "invalid"]


def test_two_rows_of_one_name_are_both_kept(api: Api) -> None:
    api.ask("POST", "/templates", 201, json=EVERY_THIRD)
    document = api.ask("GET", "/templates/export")
    document["templates"].append(document["templates"][0] | {"body": {"hooks": ["blocks.1.hook_mlp_out"]}})
    for entry in document["templates"]:
        entry["name"] = "new"
    done = api.ask("POST", "/templates/import", json={"document": document})
    assert [row["imported_as"] for row in done["rows"]] == ["new", "new 2"]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "templates_file_unknown"),
        ({"format": "mistudio-templates", "version": 1}, "templates_file_unknown"),
        ({"format": "mistudio-templates", "version": 2, "templates": []}, "templates_file_newer"),
        ({"format": "mistudio-templates", "version": "x", "templates": []}, "templates_file_newer"),
    ],
)
def test_what_is_no_file_of_templates_is_refused(api: Api, document: dict[str, Any], code: str) -> None:
    assert api.ask("POST", "/templates/import", 422, json={"document": document})["code"] == code


def test_a_deletion_is_undone_to_the_letter(api: Api) -> None:
    expected = {"model": "m", "hook": "blocks.1.hook_resid_post", "l0": 32, "fvu": 0.1, "source": "measured"}
    made = api.ask("POST", "/templates", 201, json=EVERY_THIRD | {"expected": expected, "favourite": True})
    assert made["expected"] == expected
    with api.database.session() as session:
        library.use_template(session, made["id"], "extraction")
    used = api.ask("GET", f"/templates/{made['id']}")
    kept = (
        "kind",
        "name",
        "description",
        "favourite",
        "body",
        "expected",
        "uses",
        "last_used_at",
        "created_at",
    )
    wanted = {name: used[name] for name in kept}
    where = f"/templates/{made['id']}"
    assert api.ask("PUT", where, 409, json=wanted)["code"] == "template_there"
    api.ask("DELETE", where, 204)
    back = api.ask("PUT", where, 201, json=wanted)
    assert back | {"updated_at": ""} == used | {"updated_at": ""} and back["uses"] == 1
    api.ask("DELETE", where, 204)
    api.ask("POST", "/templates", 201, json=EVERY_THIRD)  # its name is taken meanwhile
    assert api.ask("PUT", where, 409, json=wanted)["code"] == "name_taken"
    api.ask("PUT", "/templates/elsewhere", 422, json=wanted)
    changed = api.ask("POST", "/templates", 201, json=EVERY_THIRD | {"name": "b", "expected": expected})
    other = api.ask(
        "PATCH", f"/templates/{changed['id']}", json={"body": {"hooks": ["blocks.0.hook_mlp_out"]}}
    )
    assert other["expected"] is None  # which was of other settings


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"expected": {"model": "m", "hook": "h", "l0": -1, "fvu": 0.1, "source": ""}}, "expected.l0"),
        ({"expected": {"model": "m", "hook": "h", "l0": 1, "fvu": 0.1}}, "expected.source"),
        ({"kind": "labelling", "body": {"prompt": {"task": ""}}}, "body.prompt.task"),
        ({"kind": "labelling", "body": {"examples": 0}}, "body.examples"),
        ({"kind": "steering", "body": {"prompt": "x", "features": []}}, "body.features"),
        ({"kind": "steering", "body": {"max_new_tokens": 5}}, "body"),
    ],
)
def test_what_each_kind_refuses(api: Api, body: dict[str, Any], field: str) -> None:
    assert field in api.ask("POST", "/templates", 422, json=EVERY_THIRD | body)["fields"]


def test_settings_are_checked_as_one_types(api: Api) -> None:
    def wrong(kind: str, body: dict[str, Any]) -> list[str]:
        return list(api.ask("POST", "/templates/check", json={"kind": kind, "body": body})["errors"])

    assert wrong("extraction", EVERY_THIRD["body"]) == []
    assert wrong("steering", {"prompt": " "}) == ["body"]
    # As the one who typed it knows the place, whatever the kinds of a union are called inside.
    topk = {"architecture": {"kind": "topk", "k": 0}, "optimizer": {"kind": "adam", "beta1": 2}}
    assert wrong("training", {"config": topk}) == [
        "body.config.architecture.k",
        "body.config.optimizer.beta1",
    ]
    assert wrong("training", {"config": {"architecture": {"kind": "none"}}}) == ["body.config.architecture"]
    assert wrong("steering", {"messages": [{"role": "user"}]}) == ["body.messages.0.content"]
    assert api.ask("POST", "/templates/check", 422, json={"kind": "cooking", "body": {}})["fields"]
    assert api.ask("GET", "/templates")["total"] == 0
