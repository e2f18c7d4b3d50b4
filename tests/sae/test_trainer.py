import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mistudio.sae import (
    SAEError,
    StandardConfig,
    StepMetrics,
    TopKConfig,
    Trainer,
    TrainerConfig,
    TrainingDiverged,
)
from mistudio.sae.config import AdamConfig, MuonConfig, Resample, SignumConfig

D_IN = 16


def config(**changes: Any) -> TrainerConfig:
    base: dict[str, Any] = {
        "architecture": TopKConfig(k=4, aux_k=8),
        "d_sae": 64,
        "total_tokens": 64 * 60,
        "batch_size": 64,
        "learning_rate": 3e-3,
        "warmup_steps": 3,
        "dead_latent_window": 128,
    }
    return TrainerConfig(**(base | changes))


def batches(count: int, seed: int = 0, size: int = 64, offset: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(40, D_IN, generator=generator)
    out: list[Tensor] = []
    for _ in range(count):
        z = torch.rand(size, 40, generator=generator) * (torch.rand(size, 40, generator=generator) < 0.1)
        out.append(z @ mixing * 5 + offset)
    return out


def train(trainer: Trainer, data: list[Tensor], *, reference: bool = False) -> list[StepMetrics]:
    step = trainer.reference_step if reference else trainer.step
    return [step(x) for x in data]


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainer.sae.named_parameters()}


def synthetic_world(n_features: int, d: int, active: float, seed: int) -> Any:
    """Activations that are sparse sums of known unit directions: directions, and a function that draws."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(n_features, d, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)

    def draw(n: int) -> Tensor:
        fires = torch.rand(n, n_features, generator=generator) < active / n_features
        return (fires * (1 + torch.rand(n, n_features, generator=generator))) @ directions

    return directions, draw


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("architecture", [TopKConfig(k=4, aux_k=8, aux_coefficient=1.0), StandardConfig()])
def test_fast_training_equals_plain_training(architecture: Any, decoder_norm: str) -> None:
    """Thirty steps in float64, each way: the same curves and weights."""
    settings = config(architecture=architecture, decoder_norm=decoder_norm)
    data = [x.double() for x in batches(30)]
    fast, plain = (Trainer(settings, D_IN, dtype=torch.float64) for _ in range(2))
    fast_rows = [m.row() for m in train(fast, data)]
    plain_rows = [m.row() for m in train(plain, data, reference=True)]
    for a, b in zip(fast_rows, plain_rows, strict=True):
        assert a == pytest.approx(b, rel=1e-7)
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(fast)[name], weight, rtol=1e-6, atol=1e-8)
    if architecture.kind == "topk":
        assert any(row["aux_loss"] > 0 for row in fast_rows), "no latent died: AuxK was not exercised"


def test_same_seed_same_dictionary_to_the_bit() -> None:
    first, second, other = Trainer(config(), D_IN), Trainer(config(), D_IN), Trainer(config(seed=1), D_IN)
    for trainer in (first, second, other):
        train(trainer, batches(8))
    for name, weight in weights(first).items():
        assert torch.equal(weight, weights(second)[name])
    assert not torch.equal(weights(first)["W_dec"], weights(other)["W_dec"])


def test_training_does_not_touch_the_global_random_state() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(Trainer(config(), D_IN), batches(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_unit_decoder_stays_unit() -> None:
    trainer = Trainer(config(), D_IN)
    train(trainer, batches(10))
    torch.testing.assert_close(trainer.sae.W_dec.norm(dim=1), torch.ones(64), rtol=1e-6, atol=1e-6)


# --- every setting acts -------------------------------------------------------------------------------------

CHANGES: list[dict[str, Any]] = [
    {"d_sae": 128},
    {"learning_rate": 1e-3},
    {"warmup_steps": 0},
    {"decay_fraction": 1.0},
    {"total_tokens": 64 * 12, "decay_fraction": 0.9},
    {"seed": 3},
    {"normalize_activations": "none"},
    {"decoder_norm": "free"},
    {"decoder_bias_init": "zeros"},
    {"decoder_bias_init": "mean"},
    {"tied_init": False},
    {"apply_b_dec_to_input": False},
    {"optimizer": AdamConfig(beta1=0.5)},
    {"optimizer": AdamConfig(beta2=0.9)},
    {"optimizer": AdamConfig(eps=0.1)},
    {"optimizer": AdamConfig(weight_decay=0.5)},
    {"optimizer": MuonConfig()},
    {"optimizer": SignumConfig()},
    {"grad_clip_norm": 0.01},
    {"decay": "cosine", "total_tokens": 64 * 12, "decay_fraction": 0.9},
    {"decoder_init": "data"},
    {"accumulate": 4},
    {"precision": "bfloat16"},
    {"dead_latents": Resample(dead_neuron_threshold=64 * 4, resample_interval=5, resample_until=1.0)},
    {"dead_latent_window": 64 * 4},
    {"architecture": TopKConfig(k=5, aux_k=8)},
    {"architecture": TopKConfig(k=4, aux_k=2)},
    {"architecture": TopKConfig(k=4, aux_k=8, aux_coefficient=0.0)},
    {"architecture": StandardConfig()},
]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: "-".join(map(str, c)))
def test_a_setting_changes_the_training(change: dict[str, Any]) -> None:
    plain, changed = Trainer(config(), D_IN), Trainer(config(**change), D_IN)
    for trainer in (plain, changed):
        train(trainer, batches(12))
    assert not torch.equal(weights(plain)["W_dec"][:4], weights(changed)["W_dec"][:4])


def test_no_setting_is_left_untested() -> None:
    elsewhere = {
        "batch_size",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "best_checkpoint",
        "evaluate_every",
        "hidden_dim",
        "decoder_init_norm",
        "skip_connection",
        "ema_decay",
    }
    assert {name for change in CHANGES for name in change} | elsewhere == TrainerConfig.model_fields.keys()


def test_decoder_init_norm_acts_when_norms_are_free() -> None:
    trainer = Trainer(config(decoder_norm="free", decoder_init_norm=0.5), D_IN)
    trainer.initialise(batches(1)[0])
    torch.testing.assert_close(trainer.sae.W_dec.norm(dim=1), torch.full((64,), 0.5))


@pytest.mark.parametrize("change", [{"l1_coefficient": 0.5}, {"l1_warmup_steps": 10}])
def test_l1_settings_act(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"l1_coefficient": 2.0}
    plain = Trainer(config(architecture=StandardConfig(**base)), D_IN)
    changed = Trainer(config(architecture=StandardConfig(**(base | change))), D_IN)
    first = [train(t, batches(3))[0].terms["l1_loss"] for t in (plain, changed)]
    expected = 0.25 if "l1_coefficient" in change else 0.1
    assert first[1] == pytest.approx(first[0] * expected, rel=1e-5)


def test_larger_l1_coefficient_gives_sparser_latents() -> None:
    last: list[float] = []
    for coefficient in (0.1, 3.0):
        trainer = Trainer(config(architecture=StandardConfig(l1_coefficient=coefficient)), D_IN)
        last.append(train(trainer, batches(60))[-1].l0)
    assert last[1] < 0.6 * last[0]


def test_batch_size_and_token_budget_are_kept() -> None:
    trainer = Trainer(config(total_tokens=150), D_IN)
    with pytest.raises(SAEError, match="1 to 64 tokens"):
        trainer.step(torch.zeros(65, D_IN))
    with pytest.raises(SAEError, match="1 to 64 tokens"):
        trainer.step(torch.zeros(0, D_IN))
    train(trainer, [x[:50] for x in batches(3)])
    assert trainer.done
    with pytest.raises(SAEError, match="seen all of its 150 tokens"):
        trainer.step(batches(1)[0])


def test_when_to_record_and_to_checkpoint() -> None:
    trainer = Trainer(config(total_tokens=64 * 8, log_every=3, checkpoint_every=4), D_IN)
    recorded: list[int] = []
    saved: list[int] = []
    for x in batches(8):
        trainer.step(x)
        recorded += [trainer.steps_done] * trainer.log_due
        saved += [trainer.steps_done] * trainer.checkpoint_due
    assert recorded == [1, 3, 6, 8]
    assert saved == [4, 8]
    never = Trainer(config(checkpoint_every=0), D_IN)
    train(never, batches(2))
    assert not never.checkpoint_due


def test_learning_rate_schedule() -> None:
    trainer = Trainer(
        config(learning_rate=1.0, warmup_steps=4, decay_fraction=0.25, total_tokens=64 * 40), D_IN
    )
    rates = [trainer.learning_rate(step) for step in range(40)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(rates[4:31]) == {1.0}
    assert rates[31:] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    for change in ({"decay_fraction": 0.0}, {"decay": "constant"}):
        constant = Trainer(config(learning_rate=1.0, warmup_steps=0, **change), D_IN)
        assert {constant.learning_rate(step) for step in range(60)} == {1.0}
    cosine = Trainer(
        config(learning_rate=1.0, warmup_steps=0, decay="cosine", decay_fraction=0.5, total_tokens=64 * 16),
        D_IN,
    )
    rates = [cosine.learning_rate(step) for step in range(16)]
    assert rates[:9] == [1.0] * 9
    assert rates[12] == pytest.approx(0.5)
    assert rates[10] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert rates[15] == pytest.approx((1 - math.cos(math.pi / 8)) / 2)


def test_gradient_clipping_limits_the_step() -> None:
    """With Adam's moments at zero the first update hides scale, so look at the moments themselves."""
    trainer = Trainer(config(grad_clip_norm=0.5), D_IN)
    metrics = trainer.step(batches(1)[0])
    assert metrics.grad_norm > 0.5
    moments = [m for name, m in trainer.optimizer.state().items() if name.endswith("exp_avg")]
    clipped = torch.nn.utils.get_total_norm(moments) / (1 - AdamConfig().beta1)
    assert float(clipped) == pytest.approx(0.5, rel=1e-4)


def test_dead_latents_are_counted_by_tokens() -> None:
    trainer = Trainer(config(architecture=TopKConfig(k=1, aux_coefficient=0), dead_latent_window=128), D_IN)
    x = batches(1)[0]
    counts = [trainer.step(x[:32]).dead_latents for _ in range(6)]
    assert counts[:4] == [0, 0, 0, 0]
    assert counts[4] > 20
    assert trainer.step(x).dead_fraction == pytest.approx(counts[5] / 64, abs=0.1)


@pytest.mark.slow
def test_aux_loss_brings_dead_latents_back() -> None:
    """Three quarters of the encoder start far too short to win: only the auxiliary loss can revive them."""
    dead: dict[float, int] = {}
    for coefficient in (0.0, 1 / 32):
        _, draw = synthetic_world(192, 32, active=4, seed=1234)
        settings = config(
            architecture=TopKConfig(k=4, aux_k=16, aux_coefficient=coefficient),
            d_sae=192,
            batch_size=256,
            total_tokens=256 * 400,
            dead_latent_window=256 * 20,
        )
        trainer = Trainer(settings, 32)
        trainer.initialise(draw(1024))
        trainer.sae.W_enc.data[48:] *= 0.01
        while not trainer.done:
            dead[coefficient] = trainer.step(draw(256)).dead_latents
    assert dead[0.0] > 100
    assert dead[1 / 32] < 20


# --- things that go wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_unusable_activations_stop_with_the_step_and_keep_the_weights(bad: float) -> None:
    trainer = Trainer(config(), D_IN)
    train(trainer, batches(4))
    kept = weights(trainer)
    x = batches(1)[0].clone()
    x[3, 2] = bad
    with pytest.raises(TrainingDiverged, match=r"step 5 contain NaN or infinite") as caught:
        trainer.step(x)
    assert caught.value.step == 5
    assert caught.value.hint
    for name, weight in weights(trainer).items():
        assert torch.equal(weight, kept[name])
    assert trainer.step(batches(1)[0]).step == 5


def test_unusable_first_batch() -> None:
    with pytest.raises(TrainingDiverged, match="step 1 contain NaN"):
        Trainer(config(), D_IN).step(torch.full((8, D_IN), math.nan))
    with pytest.raises(SAEError, match="All activations of the first batch are zero"):
        Trainer(config(), D_IN).step(torch.zeros(8, D_IN))


def test_an_exploding_loss_stops_with_its_step() -> None:
    trainer = Trainer(
        config(
            learning_rate=1.0,
            warmup_steps=0,
            grad_clip_norm=0,
            decoder_norm="free",
            architecture=StandardConfig(l1_coefficient=0),
        ),
        D_IN,
    )
    with pytest.raises(TrainingDiverged, match=r"(exploded at|became .* at) step \d") as caught:
        train(trainer, batches(60))
    assert caught.value.step == trainer.steps_done + 1
    assert all(torch.isfinite(p).all() for p in trainer.sae.parameters())


def test_activations_of_another_model_are_refused() -> None:
    with pytest.raises(SAEError, match=r"must be \[tokens, 16\].*got \[8, 5\]"):
        Trainer(config(), D_IN).step(torch.zeros(8, 5))
    with pytest.raises(SAEError, match="nothing to finish"):
        Trainer(config(), D_IN).finish()


# --- the inference form -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("architecture", [TopKConfig(k=4), StandardConfig()])
def test_finish_folds_normalisation_and_norms(architecture: Any, centred: bool, decoder_norm: str) -> None:
    trainer = Trainer(
        config(architecture=architecture, apply_b_dec_to_input=centred, decoder_norm=decoder_norm),
        D_IN,
        dtype=torch.float64,
    )
    train(trainer, [x.double() for x in batches(20)])
    sae = trainer.finish(metadata={"hook_name": "blocks.0.hook_resid_post"})
    assert sae.metadata["hook_name"] == "blocks.0.hook_resid_post"
    scale = trainer.activation_scale
    assert scale is not None and abs(scale - 1) > 0.05
    x = batches(1, seed=9)[0].double()
    inner = trainer.sae.encode_dense(x * scale)
    torch.testing.assert_close(sae(x), trainer.sae.decode_dense(inner) / scale)
    torch.testing.assert_close(sae.encode_dense(x), inner * trainer.sae.decoder_norms() / scale)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(64, dtype=torch.float64))
    assert torch.equal(sae.encode_dense(x) > 0, inner > 0)
    before = weights(trainer)
    sae.W_enc.mul_(2)
    assert torch.equal(before["W_enc"], trainer.sae.W_enc)
