"""Optimisers against PyTorch's own and against their definitions; the running mean of weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mistudio.sae import Trainer
from mistudio.sae.config import AdamConfig, MuonConfig, SignumConfig
from mistudio.sae.distributed import ALONE
from mistudio.sae.optimizers import Muon, Signum, orthogonaliser
from tests.sae.test_trainer import D_IN, batches, config, synthetic_world, train, weights

OPTIMIZERS = [AdamConfig(weight_decay=0.1), MuonConfig(weight_decay=0.1), SignumConfig(weight_decay=0.1)]


def parameters(rows: int, columns: int) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(4)
    return {
        "W_enc": nn.Parameter(torch.randn(rows, columns, generator=generator), requires_grad=False),
        "b_enc": nn.Parameter(torch.randn(rows, generator=generator), requires_grad=False),
    }


def gradients_like(of: dict[str, nn.Parameter], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator) for name, p in of.items()}


@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (12, 40), (16, 16)])
def test_orthogonaliser_brings_singular_values_near_one(rows: int, columns: int) -> None:
    """The quintic's fixed band is about 0.68 to 1.13; directions stay the same."""
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if rows < columns:
        x = x.T
    out = x @ orthogonaliser(x.T @ x, 5)
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.3 if rows == columns else values.min() > 0.6
    assert values.max() < 1.25
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    aligned = left.T @ out @ right.T
    torch.testing.assert_close(aligned, torch.diag(aligned.diagonal()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (12, 40)])
def test_muon_is_pytorchs(rows: int, columns: int, nesterov: bool) -> None:
    """torch.optim.Muon works in bfloat16, so agreement is to its precision."""
    settings = MuonConfig(momentum=0.9, nesterov=nesterov, weight_decay=0.2)
    ours, theirs = parameters(rows, columns), parameters(rows, columns)
    muon = Muon(ours, settings, ALONE, ())
    peer = torch.optim.Muon(
        [theirs["W_enc"]],
        lr=0.05,
        momentum=0.9,
        nesterov=nesterov,
        weight_decay=0.2,
        ns_steps=settings.newton_schulz_steps,
        adjust_lr_fn="match_rms_adamw",
    )
    start = ours["W_enc"].clone()
    for seed in range(4):
        muon.step(gradients_like(ours, seed), 0.05)
        theirs["W_enc"].grad = gradients_like(theirs, seed)["W_enc"]
        peer.step()
    moved = float((ours["W_enc"] - start).norm())
    assert float((ours["W_enc"] - theirs["W_enc"]).norm()) < 0.02 * moved


def test_muon_leaves_vectors_to_adam() -> None:
    ours, theirs = parameters(20, 6), parameters(20, 6)
    muon = Muon(ours, MuonConfig(), ALONE, ())
    adam = torch.optim.Adam([theirs["b_enc"]], lr=0.05)
    for seed in range(3):
        muon.step(gradients_like(ours, seed), 0.05)
        theirs["b_enc"].grad = gradients_like(theirs, seed)["b_enc"]
        adam.step()
    torch.testing.assert_close(ours["b_enc"], theirs["b_enc"])


def test_signum_by_definition() -> None:
    ours = parameters(3000, 4)
    signum = Signum(ours, SignumConfig(momentum=0.8, weight_decay=0.5))
    expected = {name: p.clone() for name, p in ours.items()}
    mean = {name: torch.zeros_like(p) for name, p in ours.items()}
    for seed in range(3):
        gradients = gradients_like(ours, seed)
        for name, weight in expected.items():
            mean[name] = 0.8 * mean[name] + 0.2 * gradients[name]
            if weight.ndim == 2:
                weight *= 1 - 0.01 * 0.5
            weight -= 0.01 * mean[name].sign()
        signum.step(gradients, 0.01)
    for name, weight in expected.items():
        torch.testing.assert_close(ours[name], nn.Parameter(weight, requires_grad=False))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.kind)
def test_weight_decay_shrinks_matrices_only(optimizer: Any) -> None:
    plain = type(optimizer)()
    with_decay, without = (
        Trainer(config(optimizer=o, decoder_norm="free", warmup_steps=0), D_IN) for o in (optimizer, plain)
    )
    for trainer in (with_decay, without):
        trainer.step(batches(1)[0])
    rate = with_decay.learning_rate(0)
    start = Trainer(config(decoder_norm="free"), D_IN)
    start.initialise(batches(1)[0])
    for name, weight in weights(start).items():
        expected = weights(without)[name] - (rate * 0.1 * weight if weight.ndim == 2 else 0)
        torch.testing.assert_close(weights(with_decay)[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [(AdamConfig(), 4e-3), (MuonConfig(), 1e-2), (SignumConfig(), 4e-3)],
    ids=["adam", "muon", "signum"],
)
def test_every_optimiser_recovers_known_features(optimizer: Any, rate: float) -> None:
    directions, draw = synthetic_world(48, 24, active=3, seed=1234)
    settings = config(
        optimizer=optimizer,
        learning_rate=rate,
        d_sae=64,
        total_tokens=512 * 400,
        batch_size=512,
        dead_latent_window=20_000,
    )
    trainer = Trainer(settings, 24)
    while not trainer.done:
        trainer.step(draw(512))
    assert float((directions @ trainer.finish().W_dec.T).amax(1).mean()) > 0.95


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.kind)
def test_a_resumed_training_goes_on_to_the_bit(optimizer: Any, tmp_path: Path) -> None:
    settings = config(optimizer=optimizer, ema_decay=0.9)
    data = batches(12)
    unbroken, broken = Trainer(settings, D_IN), Trainer(settings, D_IN)
    expected = train(unbroken, data)
    train(broken, data[:6])
    broken.save_checkpoint(tmp_path / "at-6")
    resumed, _ = Trainer.resume(tmp_path / "at-6")
    assert train(resumed, data[6:]) == expected[6:]
    for name, weight in weights(unbroken).items():
        assert torch.equal(weight, weights(resumed)[name]), name
    for name, weight in unbroken.finish().state_dict().items():
        assert torch.equal(weight, resumed.finish().state_dict()[name]), name


def test_averaged_weights_are_the_mean_of_the_steps_and_are_what_is_finished() -> None:
    trainer, plain = Trainer(config(ema_decay=0.6), D_IN), Trainer(config(), D_IN)
    data = batches(20)
    trainer.initialise(data[0])
    mean = {name: w.double() for name, w in weights(trainer).items()}
    for i, x in enumerate(data):
        trainer.step(x)
        plain.step(x)
        decay = min(0.6, (i + 2) / (i + 11))
        mean = {name: decay * w + (1 - decay) * weights(trainer)[name].double() for name, w in mean.items()}
    assert trainer.average is not None
    for name, weight in mean.items():
        torch.testing.assert_close(trainer.average.weights[name].double(), weight, rtol=1e-5, atol=1e-6)
        assert torch.equal(weights(trainer)[name], weights(plain)[name]), (
            "averaging must not change the training"
        )
    sae = trainer.finish()
    scale = trainer.activation_scale
    assert scale is not None
    torch.testing.assert_close(sae.b_dec.double(), mean["b_dec"] / scale, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sae.W_enc.double(), mean["W_enc"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(64))
    assert not torch.equal(sae.W_enc, plain.finish().W_enc)
