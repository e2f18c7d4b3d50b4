"""The sixteen settings that a template of the earlier application has: each is taken, and each changes the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mistudio.engine import settings
from mistudio.sae import SAEError, Trainer
from mistudio.sae.config import TrainerConfig

TEMPLATE: dict[str, Any] = {
    "hidden_dim": 16,
    "latent_dim": 32,
    "architecture": "jumprelu",
    "l1_alpha": 0.5,
    "target_l0": 0.5,
    "learning_rate": 1e-3,
    "batch_size": 64,
    "total_steps": 24,
    "warmup_steps": 4,
    "weight_decay": 0.0,
    "grad_clip_norm": 1.0,
    "checkpoint_interval": 8,
    "log_interval": 4,
    "dead_neuron_threshold": 128,
    "resample_dead_neurons": True,
    "resample_interval": 6,
}


def trained(**changes: Any) -> dict[str, Any]:
    """What a run under the template with these changes comes to."""
    trainer = Trainer(TrainerConfig.model_validate(TEMPLATE | changes), 16)
    draw = torch.Generator().manual_seed(1)
    seen: dict[str, list[Any]] = {"rate": [], "l0": [], "dead": [], "norm": [], "logged": [], "saved": []}
    weights: list[torch.Tensor] = []
    while not trainer.done:
        x = torch.randn(trainer.config.batch_size, 16, generator=draw)
        metrics = trainer.step(x)
        seen["rate"].append(metrics.learning_rate)
        seen["l0"].append(metrics.l0)
        seen["dead"].append(metrics.dead_latents)
        seen["norm"].append(metrics.grad_norm)
        seen["logged"] += [trainer.steps_done] * trainer.log_due
        seen["saved"] += [trainer.steps_done] * trainer.checkpoint_due
        weights.append(trainer.sae.W_enc.detach().clone())
    return {**seen, "weights": weights, "trainer": trainer}


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return trained()


def differ_from(plain: dict[str, Any], other: dict[str, Any]) -> int:
    """The first step after which the weights differ."""
    pairs = zip(plain["weights"], other["weights"], strict=False)
    return next(
        (number for number, (a, b) in enumerate(pairs, 1) if a.shape != b.shape or not torch.equal(a, b)),
        0,
    )


def test_a_template_is_taken_whole(plain: dict[str, Any]) -> None:
    config = plain["trainer"].config
    assert plain["trainer"].steps_done == 24
    assert config.architecture.kind == "jump_relu"
    assert config == settings(None, **(TEMPLATE | {"architecture": "jump_relu"}))
    assert TrainerConfig.model_validate_json(config.model_dump_json()) == config
    assert plain["logged"] == [1, 4, 8, 12, 16, 20, 24]
    assert plain["saved"] == [8, 16, 24]
    assert any(plain["dead"])


def test_hidden_dim_is_held_against_the_hook() -> None:
    with pytest.raises(SAEError, match=r"activations have 16 dimensions, and hidden_dim is 24"):
        Trainer(TrainerConfig.model_validate(TEMPLATE | {"hidden_dim": 24}), 16)
    Trainer(TrainerConfig.model_validate(TEMPLATE | {"hidden_dim": 16}), 32, n_sites=2)


@pytest.mark.slow
def test_each_setting_changes_the_run_as_it_says(plain: dict[str, Any]) -> None:
    assert trained(latent_dim=48)["trainer"].sae.d_sae == 48
    assert trained(architecture="topk", l1_alpha=None, target_l0=4)["l0"] == [4.0] * 24
    assert trained(target_l0=8.0)["l0"][-1] > 2 * plain["l0"][-1]
    assert trained(learning_rate=2e-3)["rate"] == pytest.approx([2 * rate for rate in plain["rate"]])
    half = trained(batch_size=32)
    assert half["trainer"].tokens_seen == plain["trainer"].tokens_seen / 2
    assert half["trainer"].steps_done == 24
    assert trained(total_steps=12)["trainer"].steps_done == 12
    assert trained(warmup_steps=8)["rate"][:8] == pytest.approx([1e-3 * n / 8 for n in range(1, 9)])
    assert trained(checkpoint_interval=5)["saved"] == [5, 10, 15, 20]
    assert trained(log_interval=10)["logged"] == [1, 10, 20, 24]
    assert (
        trained(dead_neuron_threshold=10**4, resample_dead_neurons=False, total_steps=24)["dead"] == [0] * 24
    )

    heavier = trained(l1_alpha=5.0)
    assert differ_from(plain, heavier) == 1
    decayed = trained(weight_decay=0.5)
    assert differ_from(plain, decayed) == 1
    assert decayed["weights"][-1].norm() < plain["weights"][-1].norm()
    assert max(plain["norm"]) > 1
    assert differ_from(plain, trained(grad_clip_norm=0.1)) > 0
    unclipped = trained(grad_clip_norm=0.0)
    assert differ_from(plain, unclipped) > 0

    # dead latents start anew after the sixth step; without that, or every fifth step, the weights part there
    assert plain["dead"][5] > 0
    assert differ_from(plain, trained(resample_dead_neurons=False)) == 6
    assert differ_from(plain, trained(resample_interval=5)) == 5


def test_sparsity_has_one_name_for_all_architectures() -> None:
    for kind in ("standard", "gated"):
        config = TrainerConfig.model_validate({"architecture": kind, "l1_alpha": 7, "target_l0": None})
        assert config.architecture.l1_coefficient == 7  # pyright: ignore[reportAttributeAccessIssue]
    for kind in ("topk", "batch_topk", "matryoshka"):
        config = TrainerConfig.model_validate({"architecture": kind, "target_l0": 7})
        assert config.architecture.k == 7  # pyright: ignore[reportAttributeAccessIssue]
    constant = TrainerConfig.model_validate({"architecture": "jump_relu", "l1_alpha": 7})
    assert constant.architecture.target_l0 is None  # pyright: ignore[reportAttributeAccessIssue]


def test_synonyms_change_settings_that_were_chosen_before() -> None:
    base = settings(
        architecture="standard",
        l1_warmup_steps=9,
        batch_size=128,
        resample_dead_neurons=True,
        resample_interval=5,
        dead_neuron_threshold=9,
    )
    changed = settings(base, l1_alpha=3, total_steps=50, weight_decay=0.1, latent_dim=99)
    assert changed.architecture == base.architecture.model_copy(update={"l1_coefficient": 3.0})
    assert (changed.total_tokens, changed.d_sae, changed.optimizer.weight_decay) == (6_400, 99, 0.1)
    assert settings(base, resample_dead_neurons=False).dead_latents.kind == "architecture"
