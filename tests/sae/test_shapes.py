"""Transcoders, skip transcoders and crosscoders: trained, resumed, finished."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mistudio.sae import (
    SAE,
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    SAEError,
    StandardConfig,
    TopKConfig,
    Trainer,
    TrainerConfig,
)

D_IN, D_OUT = 16, 12
EVERY = [
    TopKConfig(k=4, aux_k=8),
    BatchTopKConfig(k=4, aux_k=8),
    MatryoshkaConfig(k=4, aux_k=8),
    JumpReLUConfig(target_l0=4.0),
    GatedConfig(l1_coefficient=0.5),
    StandardConfig(l1_coefficient=0.5),
]


def config(architecture: Any, **changes: Any) -> TrainerConfig:
    settings: dict[str, Any] = {
        "d_sae": 96,
        "total_tokens": 256 * 400,
        "batch_size": 256,
        "learning_rate": 3e-3,
        "warmup_steps": 10,
        "dead_latent_window": 20_000,
    }
    return TrainerConfig(architecture=architecture, **(settings | changes))


class Pairs:
    """Inputs that are sparse sums of directions, and outputs that are the same sums of other directions."""

    def __init__(self, linear: float = 0.0) -> None:
        self.generator = torch.Generator().manual_seed(3)
        self.read = torch.randn(32, D_IN, generator=self.generator)
        self.write = torch.randn(32, D_OUT, generator=self.generator)
        self.map = linear * torch.randn(D_IN, D_OUT, generator=self.generator) if linear else None

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        fires = torch.rand(n, 32, generator=self.generator) < 0.05
        z = fires * (1 + torch.rand(n, 32, generator=self.generator))
        x = z @ self.read * 3 + 1
        y = z @ self.write + 2
        return x, y if self.map is None else y + x @ self.map


def recovered(features: Tensor, sae: SAE) -> float:
    """How near the nearest decoder direction comes to each of the features [n, d_out]: the mean cosine."""
    features, directions = features.double(), sae.W_dec.detach().double()
    cosines = torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(directions).T
    return float(cosines.amax(1).mean())


def left_by_a_line(x: Tensor, y: Tensor) -> float:
    """The FVU of the best affine map from x to y."""
    ones = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    linear = ones @ torch.linalg.lstsq(ones, y).solution
    return float((linear - y).square().sum() / (y - y.mean(0)).square().sum())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
def test_a_transcoder_learns_what_follows_from_what(architecture: Any) -> None:
    world = Pairs()
    trainer = Trainer(config(architecture), D_IN, d_out=D_OUT)
    assert trainer.sae.apply_b_dec_to_input is False
    first = trainer.step(*world.draw(256))
    assert recovered(world.write, trainer.sae) < 0.66
    while not trainer.done:
        last = trainer.step(*world.draw(256))
    assert recovered(world.write, trainer.sae) > 0.78
    x, y = world.draw(2000)
    sae = trainer.finish({"hook_name": "blocks.1.hook_mlp_in", "hook_name_out": "blocks.1.hook_mlp_out"})
    assert sae.is_transcoder
    predicted = sae(x)
    unexplained = float((predicted - y).square().sum() / (y - y.mean(0)).square().sum())
    unexplained_by_a_line = left_by_a_line(x, y)
    assert unexplained < 0.6 * unexplained_by_a_line, (unexplained, unexplained_by_a_line, last)
    assert unexplained < first.fvu / 2
    assert float(sae.decoder_norms().sub(1).abs().max()) < 1e-5


@pytest.mark.slow
def test_a_skip_connection_takes_what_is_linear() -> None:
    fvu: dict[bool, float] = {}
    for skip in (False, True):
        world = Pairs(linear=1.0)
        trainer = Trainer(config(TopKConfig(k=4, aux_k=8), skip_connection=skip), D_IN, d_out=D_OUT)
        while not trainer.done:
            trainer.step(*world.draw(256))
        x, y = world.draw(2000)
        sae = trainer.finish()
        reconstruction = sae.decode(sae.encode(x), x)
        fvu[skip] = float((reconstruction - y).square().sum() / (y - y.mean(0)).square().sum())
    assert fvu[True] < 0.6 * fvu[False], fvu


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
def test_latents_beside_a_skip_connection_find_what_is_not_linear(architecture: Any) -> None:
    world = Pairs(linear=0.1)
    trainer = Trainer(config(architecture, skip_connection=True), D_IN, d_out=D_OUT)
    trainer.step(*world.draw(256))
    assert recovered(world.write, trainer.sae) < 0.66
    while not trainer.done:
        trainer.step(*world.draw(256))
    sae = trainer.finish()
    assert recovered(world.write, sae) > 0.72
    x, y = world.draw(2000)
    unexplained = float((sae.decode(sae.encode(x), x) - y).square().sum() / (y - y.mean(0)).square().sum())
    assert unexplained < 0.5 * left_by_a_line(x, y)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
def test_a_crosscoder_reads_layers_of_different_scale(architecture: Any) -> None:
    world = Pairs()

    def draw(n: int) -> Tensor:
        x, _ = world.draw(n)
        return torch.cat([x, 50 * x.flip(1)], dim=1)

    features = torch.cat([world.read, world.read.flip(1)], dim=1)
    trainer = Trainer(config(architecture, decoder_norm="free"), 2 * D_IN, n_sites=2)
    trainer.step(draw(256))
    assert recovered(features, trainer.sae) < 0.45
    while not trainer.done:
        trainer.step(draw(256))
    assert recovered(features, trainer.sae) > 0.7
    assert trainer.scales is not None and trainer.scales[0][0] == pytest.approx(50 * trainer.scales[0][1])
    x = draw(2000)
    sae = trainer.finish()
    error, spread = (sae(x) - x).unflatten(1, (2, -1)), (x - x.mean(0)).unflatten(1, (2, -1))
    by_layer = error.square().sum((0, 2)) / spread.square().sum((0, 2))
    assert by_layer.max() < 0.25, by_layer


@pytest.mark.slow
@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
@pytest.mark.parametrize("normalize", ["none", "expected_average_only_in", "unit_norm", "layer_norm"])
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
def test_finishing_changes_no_reconstruction(architecture: Any, normalize: str, decoder_norm: str) -> None:
    world = Pairs()
    trainer = Trainer(
        config(architecture, normalize_activations=normalize, decoder_norm=decoder_norm),
        D_IN,
        dtype=torch.float64,
    )
    for _ in range(12):
        trainer.step(world.draw(256)[0].double())
    x = world.draw(300)[0].double()
    assert trainer.scales is not None
    scale = trainer.scales[0][0]
    before = trainer.sae.encode(x * scale)
    raw = trainer.sae.decode(before) / scale
    sae = trainer.finish()
    after = sae.encode(x)
    assert torch.equal(after.indices.sort().values, before.indices.sort().values)
    torch.testing.assert_close(sae.decode(after), raw)
    torch.testing.assert_close(sae.decode_dense(sae.encode_dense(x), x), raw)
    torch.testing.assert_close(sae.encode_dense(x), after.dense())


@pytest.mark.parametrize("architecture", EVERY, ids=lambda a: a.kind)
def test_a_resumed_transcoder_goes_on_to_the_bit(architecture: Any, tmp_path: Path) -> None:
    def data() -> list[tuple[Tensor, Tensor]]:
        world = Pairs()
        return [world.draw(256) for _ in range(8)]

    settings = config(architecture, skip_connection=True)
    whole = Trainer(settings, D_IN, d_out=D_OUT)
    for x, y in data():
        whole.step(x, y)
    broken = Trainer(settings, D_IN, d_out=D_OUT)
    for x, y in data()[:4]:
        broken.step(x, y)
    broken.save_checkpoint(tmp_path / "checkpoint")
    resumed, _ = Trainer.resume(tmp_path / "checkpoint")
    for x, y in data()[4:]:
        resumed.step(x, y)
    for name, tensor in whole.sae.state_dict().items():
        assert torch.equal(tensor, resumed.sae.state_dict()[name]), name


def test_refusals() -> None:
    world = Pairs()
    x, y = world.draw(64)
    with pytest.raises(SAEError, match="needs the target"):
        Trainer(config(TopKConfig(k=4)), D_IN, d_out=D_OUT).step(x)
    with pytest.raises(SAEError, match="Only a transcoder"):
        Trainer(config(TopKConfig(k=4)), D_IN).step(x, x)
    with pytest.raises(SAEError, match="64 activations were given with 63 targets"):
        Trainer(config(TopKConfig(k=4)), D_IN, d_out=D_OUT).step(x, y[:63])
    with pytest.raises(SAEError, match="copy its input"):
        Trainer(config(TopKConfig(k=4), skip_connection=True), D_IN)
    with pytest.raises(SAEError, match="cannot be undone in a transcoder"):
        Trainer(config(TopKConfig(k=4), normalize_activations="layer_norm"), D_IN, d_out=D_OUT)
    with pytest.raises(SAEError, match="3 layers of equal width"):
        SAE(TopKConfig(k=4), D_IN, 32, n_sites=3)
    with pytest.raises(SAEError, match="needs x"):
        skip = SAE(TopKConfig(k=4), D_IN, 32, d_out=D_OUT, skip=True, apply_b_dec_to_input=False)
        skip.decode(skip.encode(x))
