"""Activation caches over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from mistudio.activations.forecast import VALUE_FLOPS, token_flops
from mistudio.lm.footprint import footprint_of
from tests.models.api import Api


def tokenized(api: Api, model: Any) -> Any:
    """A hundred rows in sequences of 16 tokens."""
    rows = b"".join(b"row %d of some text to read\n" % i for i in range(100))
    data = api.ask(
        "POST", "/datasets/upload", 202, files={"file": ("rows.txt", rows)}, data={"documents": "line"}
    )
    api.work(data)
    made = api.ask(
        "POST",
        f"/datasets/{data['id']}/tokenizations",
        202,
        json={"model_id": model.id, "settings": {"context_length": 16}},
    )
    api.work(made)
    return made


def harvested(api: Api, tokens: Any, **wanted: Any) -> Any:
    cache = api.ask("POST", "/activations", 202, json={"tokenization_id": tokens["id"], **wanted})
    api.work(cache)
    return api.ask("GET", f"/activations/{cache['id']}")


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


def test_statistics_of_every_hook_come_with_the_harvest(api: Api, tiny_model: Any) -> None:
    tokens = tokenized(api, tiny_model)
    cache = harvested(api, tokens, hooks=["blocks.*.hook_resid_post", "blocks.0.hook_mlp_out"])
    assert len(cache["hooks"]) == 4 == len(cache["statistics"]["hooks"])
    infos = api.ask("GET", "/activations/metrics")
    for hook, figures in cache["statistics"]["hooks"].items():
        assert set(figures) <= set(infos) and None not in figures.values()
        report = api.ask("GET", f"/activations/{cache['id']}/statistics", params={"hook": hook})
        assert (
            report["n"] == cache["n_tokens"] == sum(report["norm_counts"]) == sum(report["position_counts"])
        )
        assert report["d"] == 32 == len(report["mean"]) == len(report["kurtosis"])
        assert report["figures"] == figures
        values = [abs(one["value"]) for one in report["largest"]]
        assert values == sorted(values, reverse=True)
        assert values[0] == pytest.approx(figures["peak"])
        one = report["largest"][0]
        shown = api.ask("GET", f"/models/{tiny_model.id}")
        assert one["token"] < shown["vocab_size"] and one["text"]
        assert (one["before"] == "") == (one["position"] == 0)
    missing = api.ask("GET", f"/activations/{cache['id']}/statistics", 404, params={"hook": "blocks.9.x"})
    assert missing["code"] == "hook_not_found"


def test_patterns_name_hook_points_of_a_model(api: Api, tiny_model: Any) -> None:
    wanted = {
        "model_id": tiny_model.id,
        "hooks": [
            "blocks.50%.hook_resid_post",
            "blocks.*/2.attn.hook_z",
            "blocks.7.hook_mlp_in",
            "model.norm",
        ],
    }
    found = api.ask("POST", "/activations/hooks", json=wanted)
    assert found == {
        "hooks": [
            "blocks.1.hook_resid_post",
            "blocks.0.attn.hook_z",
            "blocks.2.attn.hook_z",
            "model.norm",
        ],
        "missing": ["blocks.7.hook_mlp_in"],
    }
    tokens = tokenized(api, tiny_model)
    refused = api.ask(
        "POST",
        "/activations",
        422,
        json={"tokenization_id": tokens["id"], "hooks": ["blocks.8-9.hook_resid_post"]},
    )
    assert refused["code"] == "hook_not_found" and "blocks.8-9" in refused["detail"]


def test_time_is_unknown_until_measured_and_then_scaled_by_the_work(api: Api, tiny_model: Any) -> None:
    tokens = tokenized(api, tiny_model)
    deep = {"tokenization_id": tokens["id"], "hooks": ["blocks.2.hook_resid_post"]}
    shallow = deep | {"hooks": ["blocks.0.hook_resid_post"]}
    before = api.ask("POST", "/activations/forecast", json=deep)
    assert before["seconds"] is None and "nothing has been harvested" in before["basis"]
    harvested(api, tokens, hooks=deep["hooks"])
    after = api.ask("POST", "/activations/forecast", json=deep)
    assert after["seconds"] == pytest.approx(after["n_tokens"] / after["tokens_per_second"])
    assert "scaled" not in after["basis"]
    # By hand: three blocks or one, and 32 values to look at and to write.
    block = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 64 + 2 * 32
    work = [layers * (2 * (block + 32 / 3) + 2 * 16 * 32) + VALUE_FLOPS * 32 for layers in (3, 1)]
    less = api.ask("POST", "/activations/forecast", json=shallow)
    assert less["tokens_per_second"] == pytest.approx(work[0] / work[1] * after["tokens_per_second"])
    assert "scaled from" in less["basis"]
    many = api.ask("POST", "/activations/forecast", json=deep | {"hooks": ["blocks.*.hook_resid_post"]})
    assert many["tokens_per_second"] < after["tokens_per_second"]


def test_work_grows_with_what_is_run_and_read() -> None:
    model = footprint_of(
        {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 100},
        4 * 50_000 + 6_400,
        "float32",
    )

    def work(*hooks: str, context: int = 128) -> float:
        return token_flops(model, dict.fromkeys(hooks, 64), context)

    last = "blocks.3.hook_resid_post"
    kinds = ("hook_resid_pre", "hook_attn_out", "hook_resid_post")
    parts = [work(f"blocks.2.{kind}") for kind in kinds]
    assert parts == sorted(parts) and parts[2] == work("blocks.3.hook_resid_pre")
    assert work(last, context=1024) > work(last) > parts[2]
    assert work(last, "blocks.0.hook_mlp_out") == work(last) + 64 * VALUE_FLOPS
    assert work("model.norm") == work(last)  # of no layer: behind all of them


def test_templates_start_extractions_and_count_it(api: Api, tiny_model: Any) -> None:
    tokens = tokenized(api, tiny_model)
    body = {"hooks": ["blocks.*.hook_mlp_out"], "dtype": "int8", "settings": {"n_tokens": 300}}
    template = api.ask("POST", "/templates", 201, json={"kind": "extraction", "name": "mlps", "body": body})
    cache = harvested(api, tokens, **template["body"], template_id=template["id"])
    assert cache["dtype"] == "int8" and cache["n_tokens"] == 300 and len(cache["hooks"]) == 3
    used = api.ask("GET", f"/templates/{template['id']}")
    assert used["uses"] == 1 and used["last_used_at"]
    other = api.ask("POST", "/templates", 201, json={"kind": "training", "name": "mlps", "body": {}})
    for wrong in (other["id"], "tp_none"):
        wanted = {"tokenization_id": tokens["id"], **body, "template_id": wrong}
        api.ask("POST", "/activations", 404, json=wanted)
    api.ask("DELETE", f"/templates/{template['id']}", 204)
    api.ask("GET", f"/activations/{cache['id']}")  # what was started from it stays


def test_names_disk_and_what_a_deletion_frees(api: Api, tiny_model: Any) -> None:
    tokens = tokenized(api, tiny_model)
    one = harvested(api, tokens, hooks=["blocks.0.hook_mlp_out"])
    two = harvested(api, tokens, hooks=["blocks.1.hook_mlp_out"], name="two")
    assert api.ask("PATCH", f"/activations/{one['id']}", json={"name": "one"})["name"] == "one"
    assert api.ask("PATCH", f"/activations/{one['id']}", 409, json={"name": "two"})["code"] == "name_taken"
    disk = api.ask("GET", "/activations/disk")
    assert disk["caches"] == 2 and disk["bytes"] == one["bytes"] + two["bytes"]
    folder = api.settings.data_dir / "activations" / one["id"]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) == one["bytes"]
    api.ask("DELETE", f"/activations/{one['id']}", 204)
    assert not folder.exists()
    assert api.ask("GET", "/activations/disk")["bytes"] == two["bytes"]
