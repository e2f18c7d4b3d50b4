"""Hyperparameters outside their range, k beyond the latents, hooks that the model lacks: told by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bad_input.refusals import api_refuses, check_public, job_fails
from tests.models.api import Api
from tests.training.conftest import HOOK

GOOD: dict[str, Any] = {
    "d_sae": 64,
    "architecture": {"kind": "topk", "k": 4},
    "total_tokens": 4096,
    "batch_size": 256,
}
CASES = [
    ({"d_sae": 0}, "d_sae"),
    ({"d_sae": "many"}, "d_sae"),
    ({"batch_size": 0}, "batch_size"),
    ({"total_tokens": -1}, "total_tokens"),
    ({"learning_rate": 0}, "learning_rate"),
    ({"learning_rate": -1e-3}, "learning_rate"),
    ({"no_such_setting": 1}, "no_such_setting"),
    ({"architecture": {"kind": "topk", "k": 0}}, "k"),
    ({"architecture": {"kind": "topk", "k": 65}}, "k"),
    ({"architecture": {"kind": "standard", "l1_coefficient": -1}}, "l1_coefficient"),
    ({"architecture": {"kind": "no-such-kind"}}, "architecture"),
]


def body(tokens: str, changes: dict[str, Any], hook: str = HOOK) -> dict[str, Any]:
    return {
        "sources": [{"tokenization_id": tokens}],
        "hooks": [hook],
        "held_out_tokens": 512,
        "config": GOOD | changes,
    }


def test_the_api_names_the_field(api: Api, tokens: str) -> None:
    for changes, field in CASES:
        for path in ("/trainings", "/trainings/forecast"):
            found = api_refuses(api, path, body(tokens, changes), 422)
            assert found["code"] == "invalid_input", changes
            assert any(field in name or field in fault for name, fault in found["fields"].items()), found
    assert api.ask("GET", "/trainings")["total"] == 0
    assert api.ask("POST", "/trainings/forecast", 200, json=body(tokens, {}))["seconds"] > 0, "GOOD is good"


@pytest.mark.parametrize("hook", ["blocks.9.hook_resid_post", "blocks.1.hook_nothing", "blocks.1"])
def test_a_hook_that_the_model_lacks(api: Api, tokens: str, hook: str) -> None:
    for path, body_ in (
        ("/trainings", body(tokens, {}, hook)),
        ("/trainings/forecast", body(tokens, {}, hook)),
        ("/activations", {"tokenization_id": tokens, "hooks": [hook]}),
    ):
        answer = api.client.post(f"/api/v1{path}", json=body_)
        found = answer.json()
        assert answer.status_code in (400, 422) and found["code"] == "hook_not_found", found
        assert hook in found["detail"] and "hook_resid_post" in found["hint"], found
        check_public(found["detail"], api.settings.data_dir)
    for kind in ("trainings", "activations"):
        assert api.ask("GET", f"/{kind}")["total"] == 0


def test_a_module_that_the_model_lacks(api: Api, tokens: str) -> None:
    """Any module of the model may be named, so that only the job can tell."""
    made = api.ask("POST", "/activations", 202, json={"tokenization_id": tokens, "hooks": ["no.such.module"]})
    told = job_fails(api.settings, api.database, made["job"]["id"])
    assert told.code == "hook_not_found" and "no.such.module" in told.message


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"context_length": 1}, "context_length"),
        ({"context_length": 10**9}, "context_length"),
        ({"packing": "loose"}, "packing"),
        ({"overlap": -1}, "overlap"),
        ({"context_length": 32, "overlap": 32}, "overlap"),
    ],
)
def test_settings_of_a_tokenization(
    api: Api, tokens: str, tiny_model: Any, wanted: dict[str, Any], field: str
) -> None:
    dataset_id = api.ask("GET", "/datasets")["items"][0]["id"]
    request = {"model_id": tiny_model.id, "settings": wanted}
    answer = api.client.post(f"/api/v1/datasets/{dataset_id}/tokenizations", json=request)
    assert answer.status_code in (400, 422), answer.text
    found = answer.json()
    check_public(found["detail"], api.settings.data_dir)
    assert field in answer.text or field.replace("_", " ") in answer.text, found
    assert api.ask("GET", "/datasets")["items"][0]["tokenization_count"] == 1
