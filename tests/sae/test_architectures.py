"""What each architecture is for, seen on activations whose features are known."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mistudio.sae import (
    SAE,
    BatchTopKConfig,
    Evaluation,
    EvaluationResult,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    StandardConfig,
    TopKConfig,
    Trainer,
    TrainerConfig,
)
from mistudio.sae.architectures import StepContext

D_IN, FEATURES, ACTIVE = 24, 48, 3


class World:
    """Sparse sums of known unit directions, some tokens with many and some with few."""

    def __init__(self, seed: int = 1234) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(FEATURES, D_IN, generator=self.generator)
        self.directions = directions / directions.norm(dim=1, keepdim=True)

    def draw(self, n: int) -> Tensor:
        rate = ACTIVE / FEATURES * 2 * torch.rand(n, 1, generator=self.generator)
        fires = torch.rand(n, FEATURES, generator=self.generator) < rate
        return (fires * (1 + torch.rand(n, FEATURES, generator=self.generator))) @ self.directions


def trained(architecture: Any, steps: int = 300, **changes: Any) -> tuple[SAE, World]:
    settings: dict[str, Any] = {
        "d_sae": 96,
        "total_tokens": 512 * steps,
        "batch_size": 512,
        "learning_rate": 4e-3,
        "warmup_steps": 10,
        "dead_latent_window": 20_000,
    }
    world = World()
    trainer = Trainer(TrainerConfig(architecture=architecture, **(settings | changes)), D_IN)
    while not trainer.done:
        trainer.step(world.draw(512))
    return trainer.finish(), world


def measured(sae: SAE, world: World) -> EvaluationResult:
    evaluation = Evaluation()
    evaluation.update(world.draw(8192), sae)
    return evaluation.result()


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    [
        StandardConfig(l1_coefficient=1.0, penalty="sqrt"),
        StandardConfig(l1_coefficient=2.0, penalty="tanh"),
        StandardConfig(l1_coefficient=1.0, penalty="p_anneal", p_end=0.5),
        JumpReLUConfig(target_l0=float(ACTIVE), penalty="tanh"),
    ],
    ids=["sqrt", "tanh", "p_anneal", "jump_relu tanh"],
)
def test_known_features_are_recovered(architecture: Any) -> None:
    """Under the penalties that `ground_truth.test_recovery` has not."""
    untrained, _ = trained(architecture, steps=1)
    sae, world = trained(architecture, steps=400)
    recovered, start = (
        float((world.directions @ dictionary.W_dec.T).amax(1).mean()) for dictionary in (sae, untrained)
    )
    assert start < 0.65
    assert recovered > 0.8, (recovered, measured(sae, world))
    assert measured(sae, world).fvu < 0.25


@pytest.mark.slow
def test_a_batch_topk_threshold_keeps_the_mean_of_k_without_a_batch() -> None:
    sae, world = trained(BatchTopKConfig(k=ACTIVE))
    assert measured(sae, world).l0 == pytest.approx(ACTIVE, rel=0.1)
    x = world.draw(64)
    together = sae.encode_dense(x)
    alone = torch.cat([sae.encode_dense(row[None]) for row in x])
    torch.testing.assert_close(together, alone)
    counts = (together > 0).sum(1)
    assert counts.min() < ACTIVE < counts.max(), "every token got the same number: that is TopK"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "coefficient", "penalty"),
    [(2.0, 0.05, "l0"), (3.0, 5.0, "l0"), (6.0, 1.0, "l0"), (3.0, 0.2, "tanh"), (6.0, 3.0, "tanh")],
)
def test_a_jump_relu_dictionary_reaches_its_target(target: float, coefficient: float, penalty: Any) -> None:
    architecture = JumpReLUConfig(target_l0=target, penalty=penalty, sparsity_coefficient=coefficient)
    sae, world = trained(architecture, steps=800)
    assert measured(sae, world).l0 == pytest.approx(target, rel=0.05)


@pytest.mark.slow
def test_without_a_target_the_penalty_decides() -> None:
    l0 = [
        measured(*trained(JumpReLUConfig(target_l0=None, sparsity_coefficient=c), steps=200)).l0
        for c in (0.1, 3.0)
    ]
    assert l0[0] > 1.5 * l0[1], l0


@pytest.mark.slow
def test_a_matryoshka_prefix_reconstructs_better_than_any_other_latents() -> None:
    fvu: dict[str, float] = {}
    for architecture in (BatchTopKConfig(k=ACTIVE), MatryoshkaConfig(k=ACTIVE)):
        sae, world = trained(architecture, steps=250)
        x = world.draw(4096)
        z = sae.encode_dense(x)
        z[:, sae.d_sae // 2 :] = 0
        error = sae.decode_dense(z) - x
        fvu[architecture.kind] = float(error.square().sum() / (x - x.mean(0)).square().sum())
    assert fvu["matryoshka"] < 0.8 * fvu["batch_topk"], fvu


@pytest.mark.slow
def test_gates_do_not_shrink_what_they_let_through() -> None:
    """⟨x, x̂⟩/‖x̂‖² over all tokens: the factor by which reconstructions are too small."""
    shrinkage: dict[str, float] = {}
    for architecture in (StandardConfig(l1_coefficient=2.0), GatedConfig(l1_coefficient=2.0)):
        sae, world = trained(architecture)
        x = world.draw(8192)
        x_hat = sae(x)
        shrinkage[architecture.kind] = float((x * x_hat).sum() / x_hat.square().sum())
    assert shrinkage["standard"] > 1.1, shrinkage
    assert abs(shrinkage["gated"] - 1) < 0.03, shrinkage


def test_annealing_ends_at_its_exponent() -> None:
    architecture = StandardConfig(penalty="p_anneal", p_start=0.25, p_end=0.4)
    activation: Any = SAE(architecture, D_IN, 96).activation
    assert activation.exponent(0.0) == activation.exponent(0.25) == 1.0
    assert activation.exponent(0.625) == pytest.approx(0.7)
    assert activation.exponent(1.0) == pytest.approx(0.4)


def test_topk_and_batch_topk_agree_where_tokens_are_alike() -> None:
    """One token is a batch of its own: both keep the same k latents of it."""
    generator = torch.Generator().manual_seed(0)
    saes = [SAE(kind(k=5), D_IN, 96) for kind in (TopKConfig, BatchTopKConfig)]
    for name in ("W_enc", "W_dec"):
        weights = torch.randn(96, D_IN, generator=generator)
        for sae in saes:
            sae.get_parameter(name).data.copy_(weights)
    batch_topk: Any = saes[1].activation
    context = StepContext(0, torch.zeros(96, dtype=torch.bool))
    for x in torch.randn(20, D_IN, generator=generator):
        ours, least = batch_topk.encode_batch(saes[1], x[None], context)
        torch.testing.assert_close(least["threshold"], ours.values.min(), check_dtype=False)
        torch.testing.assert_close(ours.dense(), saes[0].encode(x[None]).dense())
