"""Templates that come with the code: there after a start, kept as they are, changed by later versions alone."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from mistudio.sae.config import TrainerConfig
from mistudio.templates import shipped
from mistudio.templates.kinds import checked, template_kinds
from mistudio.templates.shipped import ship_templates
from mistudio.templates.tables import Template
from tests.models.api import Api


@pytest.fixture
def own(api: Api) -> Any:
    """A template that a person made before these were shipped, under the name of one of them."""
    body = {"hooks": ["blocks.0.hook_mlp_out"]}
    return api.ask(
        "POST", "/templates", 201, json={"kind": "extraction", "name": "Middle layer", "body": body}
    )


def test_they_are_found_like_others_and_stay_as_they_are(api: Api, own: Any) -> None:
    ship_templates(api.database)
    listed = api.ask("GET", "/templates?builtin=true&limit=200")["items"]
    assert {one["kind"] for one in listed} == {kind.name for kind in template_kinds()}
    assert all(one["builtin"] and one["description"] for one in listed)
    for one in listed:
        assert checked(one["kind"], one["body"]) == one["body"]
    assert [one["id"] for one in api.ask("GET", "/templates?builtin=false")["items"]] == [own["id"]]
    assert {one["name"] for one in listed} >= {"Middle layer 2", "Every third layer"}
    first = api.ask("GET", "/templates?q=first look, 135m&kind=training")["items"][0]
    assert (
        first["architecture"] == "topk" and 0 < first["expected"]["fvu"] < 0.2 and first["expected"]["source"]
    )
    expected = [one["expected"] for one in listed if one["kind"] == "training"]
    assert all(one["l0"] > 0 and 0 < one["fvu"] < 1 and one["source"] for one in expected)
    topk = api.ask("GET", "/templates?kind=training&architecture=topk&builtin=true")["items"]
    assert topk and {one["architecture"] for one in topk} == {"topk"}

    where = f"/templates/{first['id']}"
    for change in ({"name": "mine"}, {"description": ""}, {"body": {}}):
        assert api.ask("PATCH", where, 409, json=change)["code"] == "template_builtin"
    assert api.ask("DELETE", where, 409)["code"] == "template_builtin"
    assert api.ask("PATCH", where, json={"favourite": True})["favourite"]
    copy = api.ask("POST", f"{where}/duplicate", 201)
    assert not copy["builtin"] and copy["expected"] == first["expected"] and copy["body"] == first["body"]
    assert api.ask("PATCH", f"/templates/{copy['id']}", json={"name": "mine"})["name"] == "mine"

    # All means what people made; a chosen one goes out, and comes in under another name.
    assert len(api.ask("GET", "/templates/export")["templates"]) == 2
    document = api.ask("GET", f"/templates/export?id={first['id']}")
    document["templates"][0]["description"] = "Changed by hand."
    done = api.ask("POST", "/templates/import", json={"document": document, "on_conflict": "replace"})
    assert done["rows"][0]["action"] == "rename" and done["rows"][0]["imported_as"] == f"{first['name']} 2"
    assert api.ask("GET", where)["description"] == first["description"]


def test_a_later_version_changes_adds_and_takes_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ship_templates(api.database)

    def rows() -> dict[str, Template]:
        with api.database.reading() as session:
            found = session.scalars(select(Template).where(Template.builtin.is_not(None))).all()
            return {str(one.builtin).partition("@")[0]: one for one in found}

    before = rows()
    starred = before["steering/story"].id
    api.ask("PATCH", f"/templates/{starred}", json={"favourite": True})
    ship_templates(api.database)
    assert {key: one.id for key, one in rows().items()} == {key: one.id for key, one in before.items()}

    def later(kind: str, place: str | None) -> tuple[Any, ...]:
        if kind != "steering":
            return ()
        entry = {"name": "A story begins", "description": "Longer.", "body": {"prompt": "Once", "seed": 3}}
        return (
            shipped._Shipped(kind, "steering/story@2", entry | {"key": "story"}),
            shipped._Shipped(kind, "steering/new@1", entry | {"key": "new", "name": "New"}),
        )

    monkeypatch.setattr(shipped, "_read", later)
    ship_templates(api.database)
    after = rows()
    assert set(after) == {"steering/story", "steering/new"}
    assert after["steering/story"].id == starred and after["steering/story"].favourite
    assert after["steering/story"].body["seed"] == 3 and after["steering/story"].description == "Longer."


def test_the_measured_recipe_is_the_demos(api: Api) -> None:
    from mistudio.demo.recipe import HOOK, TRAINER

    ship_templates(api.database)
    listed = api.ask("GET", "/templates?kind=training")["items"]
    [first] = [one for one in listed if one["name"].startswith("First look")]
    assert TrainerConfig.model_validate(first["body"]["config"]) == TRAINER
    assert first["expected"]["hook"] == HOOK
