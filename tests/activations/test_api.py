"""Activation caches over HTTP."""

from __future__ import annotations

from typing import Any

from tests.models.api import Api


def test_the_life_of_a_cache(api: Api, tiny_model: Any) -> None:
    rows = b"".join(b"row %d of some text to read\n" % i for i in range(100))
    data = api.ask(
        "POST", "/datasets/upload", 202, files={"file": ("rows.txt", rows)}, data={"documents": "line"}
    )
    api.work(data)
    made = api.ask(
        "POST",
        f"/datasets/{data['id']}/tokenizations",
        202,
        json={"model_id": tiny_model.id, "settings": {"context_length": 16}},
    )
    wanted: dict[str, Any] = {"tokenization_id": made["id"], "hooks": ["blocks.1.hook_resid_post"]}
    assert api.ask("POST", "/activations", 409, json=wanted)["code"] == "tokenization_not_ready"
    api.work(made)
    forecast = api.ask("POST", "/activations/forecast", json=wanted)
    assert forecast["bytes"] == forecast["n_tokens"] * (32 * 2 + 10) and forecast["seconds"] is None
    cache = api.ask("POST", "/activations", 202, json=wanted)
    assert cache["settings"]["skip_special_tokens"] and cache["dataset_name"] == "rows"
    api.work(cache)
    shown = api.ask("GET", f"/activations/{cache['id']}")
    assert 0 < shown["n_tokens"] < forecast["n_tokens"]  # EOS between rows is left out
    assert shown["statistics"]["tokens_special"] == forecast["n_tokens"] - shown["n_tokens"]
    assert api.ask("GET", f"/activations?tokenization_id={made['id']}")["total"] == 1
    assert api.ask("GET", f"/activations?model_id={tiny_model.id}&q=resid")["total"] == 1
    assert api.ask("GET", f"/activations/{cache['id']}/users") == []
    refused = api.ask("DELETE", f"/datasets/{data['id']}", 409)
    assert cache["name"] in refused["detail"]
    for wrong, field in (
        ({"hooks": []}, "hooks"),
        ({"hooks": ["blocks.9.hook_resid_post"]}, "hooks"),
        ({"dtype": "int3"}, "dtype"),
        ({"settings": {"batch_sequences": 0}}, "settings.batch_sequences"),
        ({"settings": {"outlier_multiple": 1}}, "settings.outlier_multiple"),
    ):
        assert field in api.ask("POST", "/activations", 422, json=wanted | wrong)["fields"]
    api.ask("DELETE", f"/activations/{cache['id']}", 204)
    api.ask("GET", f"/activations/{cache['id']}", 404)
    api.ask("DELETE", f"/datasets/{data['id']}", 204)
