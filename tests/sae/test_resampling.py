"""Dead latents that start anew: by definition, to the bit after a resume, and to some use."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mistudio.sae import GatedConfig, JumpReLUConfig, StandardConfig, TopKConfig, Trainer
from mistudio.sae.config import MuonConfig, Resample, SignumConfig
from tests.sae.test_trainer import D_IN, batches, config, synthetic_world, train, weights

EVERY = [
    TopKConfig(k=2, aux_coefficient=0),
    JumpReLUConfig(target_l0=3.0, pre_act_coefficient=0),
    GatedConfig(l1_coefficient=10.0),
    StandardConfig(l1_coefficient=10.0),
]
NOW = Resample(dead_neuron_threshold=64, resample_interval=4, resample_until=1.0)


def killed(architecture: Any, **changes: Any) -> Trainer:
    """A trainer whose first ten latents cannot be active, one step before they are resampled."""
    trainer = Trainer(
        config(architecture=architecture, dead_latents=NOW, **changes), D_IN, dtype=torch.float64
    )
    data = [x.double() for x in batches(3)]
    trainer.initialise(data[0])
    trainer.sae.b_enc[:10] = -1e6
    train(trainer, data)
    return trainer


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
def test_dead_latents_take_tokens_of_the_batch(architecture: Any, decoder_norm: str) -> None:
    trainer = killed(architecture, decoder_norm=decoder_norm, learning_rate=1e-9)
    sae = trainer.sae
    before = weights(trainer)
    x = batches(1, seed=8)[0].double()
    assert trainer.scales is not None
    seen = sae.centre(x * trainer.scales[0][0])
    trainer.step(x)
    # with so small a learning rate, only what is resampled moves
    dead = (sae.W_dec - before["W_dec"]).abs().amax(1) > 1e-3 * before["W_dec"].abs().max()
    assert dead[:10].all() and not dead.all()
    new = dead.nonzero()[:, 0]
    directions = sae.W_dec[new] / sae.W_dec[new].norm(dim=1, keepdim=True)
    cosines = directions @ (seen / seen.norm(dim=1, keepdim=True)).T
    chosen = cosines[:10].argmax(1)
    torch.testing.assert_close(
        cosines[:10].amax(1), torch.ones(10, dtype=torch.float64), rtol=1e-6, atol=1e-6
    )
    assert chosen.unique().shape[0] == 10
    living = sae.W_enc[~dead].norm(dim=1).mean()
    torch.testing.assert_close(sae.W_enc[:10], 0.2 * living * directions[:10], rtol=1e-6, atol=1e-9)
    lengths = sae.decoder_norms()
    expected = 1.0 if decoder_norm == "unit" else float(lengths[~dead].mean())
    torch.testing.assert_close(
        lengths[:10], torch.full((10,), expected, dtype=torch.float64), rtol=1e-6, atol=0.0
    )
    assert (sae.b_enc[:10] == 0).all()
    assert (trainer._tokens_since_fired[:10] == 0).all()
    for name in sae.activation.latent_parameters:
        value = sae.get_parameter(name)[:10]
        assert (value >= 0).all() if name == "threshold" else (value == 0).all()
    for name, moment in trainer.optimizer.state().items():
        if name.split(".")[1] in sae.latent_weights:
            assert (moment[:10] == 0).all(), name
            assert (moment[~dead] != 0).any(), name


def test_badly_reconstructed_tokens_are_chosen_more_often() -> None:
    trainer = killed(TopKConfig(k=2, aux_coefficient=0), learning_rate=1e-9)
    easy = trainer.sae.b_dec.expand(60, D_IN) / trainer.activation_scale  # type: ignore[operator]
    hard = easy[:4] + 50 * torch.randn(4, D_IN, generator=torch.Generator().manual_seed(1)).double()
    trainer.step(torch.cat([easy + 1e-3, hard]))
    towards = hard * trainer.activation_scale - trainer.sae.b_dec
    cosines = torch.cosine_similarity(trainer.sae.W_dec[:10, None], towards[None], dim=2)
    assert (cosines.amax(1) > 0.999).sum() >= 4


@pytest.mark.parametrize("optimizer", [MuonConfig(), SignumConfig()], ids=lambda o: o.kind)
def test_other_optimisers_forget_too(optimizer: Any) -> None:
    trainer = killed(StandardConfig(), optimizer=optimizer, ema_decay=0.9)
    trainer.step(batches(1)[0].double())
    for name, moment in trainer.optimizer.state().items():
        if name.split(".")[1] in trainer.sae.latent_weights:
            assert (moment[:10] == 0).all(), name
    assert trainer.average is not None
    assert torch.equal(trainer.average.weights["W_dec"][:10], trainer.sae.W_dec[:10])


@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
def test_resuming_is_exact_to_the_bit(architecture: Any, tmp_path: Path) -> None:
    settings = config(architecture=architecture, dead_latents=NOW)
    data = batches(12)
    unbroken, broken = Trainer(settings, D_IN), Trainer(settings, D_IN)
    for trainer in (unbroken, broken):
        trainer.initialise(data[0])
        trainer.sae.b_enc[:10] = -1e6
    expected = train(unbroken, data)
    train(broken, data[:6])
    broken.save_checkpoint(tmp_path / "at-6")
    resumed, _ = Trainer.resume(tmp_path / "at-6")
    assert train(resumed, data[6:]) == expected[6:]
    for name, weight in weights(unbroken).items():
        assert torch.equal(weight, weights(resumed)[name]), name
    assert (weights(unbroken)["b_enc"][:10] > -1e5).all()


def test_when_latents_are_resampled() -> None:
    """At step 8 only: 4 comes before any latent has been silent for long enough, 12 after `resample_until`."""
    rule = Resample(dead_neuron_threshold=64 * 6, resample_interval=4, resample_until=0.6)
    trainer = Trainer(
        config(architecture=TopKConfig(k=1, aux_coefficient=0), dead_latents=rule, total_tokens=64 * 16), D_IN
    )
    revived: list[int] = []
    trainer.initialise(batches(1)[0])
    trainer.sae.b_enc[:10] = -1e6
    for x in batches(16):
        before = weights(trainer)["b_enc"][:10]
        trainer.step(x)
        if (before < -1e5).all() and (trainer.sae.b_enc[:10] == 0).all():
            revived.append(trainer.steps_done)
            trainer.sae.b_enc[:10] = -1e6
    assert revived == [8]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "scale"),
    [
        (TopKConfig(k=4, aux_coefficient=0), 1.0),
        (JumpReLUConfig(target_l0=4.0, pre_act_coefficient=0), 1.0),
        (GatedConfig(l1_coefficient=1.0), 0.2),
        (StandardConfig(l1_coefficient=1.0), 0.2),
    ],
    ids=lambda a: getattr(a, "kind", ""),
)
def test_resampling_brings_dead_latents_back(architecture: Any, scale: float) -> None:
    dead: dict[bool, int] = {}
    for resampling in (False, True):
        _, draw = synthetic_world(192, 32, active=4, seed=1234)
        rule: dict[str, Any] = {}
        if resampling:
            rule["dead_latents"] = Resample(
                dead_neuron_threshold=256 * 20, resample_interval=40, encoder_scale=scale, resample_until=0.8
            )
        settings = config(
            architecture=architecture,
            d_sae=192,
            batch_size=256,
            total_tokens=256 * 300,
            dead_latent_window=256 * 20,
            **rule,
        )
        trainer = Trainer(settings, 32)
        sample: Tensor = draw(1024)
        trainer.initialise(sample)
        trainer.sae.W_enc.data[48:] *= 0.01
        trainer.sae.b_enc.data[48:] = -2
        while not trainer.done:
            dead[resampling] = trainer.step(draw(256)).dead_latents
    assert dead[False] > 100
    assert dead[True] < 0.35 * dead[False], dead
