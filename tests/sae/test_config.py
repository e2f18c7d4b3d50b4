"""The settings: readable without PyTorch, complete for a form, and refusing what cannot work."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from mistudio.sae.config import AdamConfig, BatchTopKConfig, StandardConfig, TrainerConfig


def test_settings_and_metric_texts_import_no_torch() -> None:
    code = (
        "import sys\n"
        "from mistudio.sae.config import TrainerConfig\n"
        "from mistudio.sae import METRICS, TrainerConfig as same\n"
        "TrainerConfig.model_json_schema()\n"
        "assert same is TrainerConfig and METRICS\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_resolves() -> None:
    import mistudio.sae

    for name in mistudio.sae.__all__:
        assert getattr(mistudio.sae, name) is not None
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = mistudio.sae.no_such_thing  # type: ignore[attr-defined]


def _properties(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = dict(schema["properties"])
    for name, definition in schema["$defs"].items():
        found |= {f"{name}.{k}": v for k, v in definition["properties"].items()}
    return found


def test_the_form_has_what_it_needs() -> None:
    for name, field in _properties(TrainerConfig.model_json_schema()).items():
        assert field.get("title"), name
        if name.endswith(".kind"):
            continue
        assert field.get("description"), name
        assert field.get("source"), f"{name}: who says so?"
        assert "default" in field, name
        if field.get("type") in ("integer", "number"):
            assert "minimum" in field or "exclusiveMinimum" in field, name
            assert "maximum" in field or "exclusiveMaximum" in field, name


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"architecture": {"kind": "topk", "k": 64}, "d_sae": 32}, "k is 64"),
        ({"architecture": {"kind": "topk", "k": 0}}, "k"),
        ({"architecture": {"kind": "unheard-of"}}, "unheard-of"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"total_tokens": 0}, "total_tokens"),
        ({"batch_size": -1}, "batch_size"),
        ({"decay_fraction": 1.5}, "decay_fraction"),
        ({"learning_rat": 1e-3}, "learning_rat"),
        ({"architecture": {"kind": "jump_relu", "target_l0": 200}, "d_sae": 128}, "target_l0 is 200"),
        ({"optimizer": {"kind": "muon", "beta1": 0.5}}, "beta1"),
        ({"optimizer": {"kind": "lion"}}, "lion"),
        ({"optimizer": {"kind": "adam"}, "adam_beta1": 0.1}, "adam_beta1 belong into optimizer"),
        ({"optimizer": {"kind": "adam", "weight_decay": 0}, "weight_decay": 0.1}, "two names of one setting"),
        ({"latent_dim": 64, "d_sae": 64}, "latent_dim and d_sae are two names of one setting"),
        ({"total_steps": 10, "total_tokens": 100}, "total_steps and total_tokens are two names"),
        ({"log_interval": 1, "log_every": 1}, "log_interval and log_every are two names"),
        ({"checkpoint_interval": 1, "checkpoint_every": 1}, "checkpoint_interval and checkpoint_every"),
        ({"l1_alpha": 1}, "architecture batch_topk has nothing that it would set"),
        ({"architecture": "standard", "target_l0": 4}, "architecture standard has nothing"),
        ({"architecture": {"kind": "topk", "k": 4}, "target_l0": 4}, "target_l0 and architecture.k are two"),
        ({"resample_interval": 5}, "dead latents are not resampled"),
        ({"resample_dead_neurons": True, "dead_latents": {"kind": "architecture"}}, "two names of one"),
        ({"resample_dead_neurons": "perhaps"}, "must be true or false"),
        ({"total_steps": 0}, "total_steps must be a whole number of at least 1"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"decay": "constant", "decay_fraction": 0.5}, "decay_fraction is 0.5, but decay is constant"),
        ({"decoder_init_norm": 0.5}, "decoder_init_norm is 0.5, but decoder_norm is unit"),
        ({"accumulate": 8, "batch_size": 4}, "accumulate is 8, but a batch has only 4 tokens"),
        ({"precision": "float16"}, "precision"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"dead_latents": {"kind": "resample", "resample_interval": 0}}, "resample_interval"),
        ({"dead_latents": {"kind": "resample", "resample_interval": 2000}}, "over before step 1466"),
        (
            {"dead_latents": {"kind": "resample"}, "total_tokens": 10**6, "batch_size": 512},
            "dead_neuron_threshold",
        ),
        ({"dead_latents": {"kind": "architecture", "resample_interval": 5}}, "resample_interval"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any], names: str) -> None:
    with pytest.raises(ValidationError, match=names):
        TrainerConfig.model_validate(settings)


def test_architectures_are_told_apart_by_kind() -> None:
    config = TrainerConfig.model_validate({"architecture": {"kind": "standard", "l1_coefficient": 2}})
    assert config.architecture == StandardConfig(l1_coefficient=2)
    assert TrainerConfig.model_validate_json(config.model_dump_json()) == config
    assert isinstance(TrainerConfig().architecture, BatchTopKConfig)


def test_settings_stored_with_flat_adam_fields_are_understood() -> None:
    old = {"adam_beta1": 0.5, "adam_beta2": 0.9, "weight_decay": 0.1, "learning_rate": 1e-3}
    config = TrainerConfig.model_validate(old)
    assert config.optimizer == AdamConfig(beta1=0.5, beta2=0.9, weight_decay=0.1)
    assert old["weight_decay"] == 0.1
    assert TrainerConfig.model_validate_json(config.model_dump_json()) == config


def test_steps_cover_all_tokens() -> None:
    assert TrainerConfig(total_tokens=100, batch_size=32).total_steps == 4
    assert TrainerConfig(total_tokens=96, batch_size=32).total_steps == 3
