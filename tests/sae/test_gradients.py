"""The fast step against its definition in dense autograd, and autograd's formulae against finite differences."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mistudio.sae.architectures import StepContext, reference_gradients
from mistudio.sae.config import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    StandardConfig,
    TopKConfig,
)
from mistudio.sae.dictionary import SAE
from mistudio.sae.sizes import SPARSE_PAYS_BELOW

D_IN, D_SAE, N = 12, 96, 40
D_OUT = 10
SHAPES: dict[str, dict[str, Any]] = {
    "autoencoder": {},
    "uncentred": {"apply_b_dec_to_input": False},
    "transcoder": {"d_out": D_OUT, "apply_b_dec_to_input": False},
    "skip transcoder": {"d_out": D_OUT, "apply_b_dec_to_input": False, "skip": True},
    "crosscoder": {"n_sites": 2},
}


def random_sae(architecture: Any, seed: int = 0, **options: Any) -> SAE:
    generator = torch.Generator().manual_seed(seed)
    sae = SAE(architecture, D_IN, D_SAE, dtype=torch.float64, **options)
    sae.activation.start(sae, batch())
    for name, p in sae.named_parameters():
        drawn = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.data.copy_(drawn.abs() / 5 if name == "threshold" else drawn / 3)
    if sae.decoder_norm == "unit":
        sae.W_dec.data.div_(sae.decoder_norms()[:, None])
    return sae


def batch(seed: int = 1) -> Tensor:
    return torch.randn(N, D_IN, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def target(sae: SAE) -> Tensor:
    if sae.d_out == D_IN:
        return batch()
    return torch.randn(N, sae.d_out, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def dead_mask(count: int) -> Tensor:
    mask = torch.zeros(D_SAE, dtype=torch.bool)
    mask[torch.randperm(D_SAE, generator=torch.Generator().manual_seed(2))[:count]] = True
    return mask


def assert_fast_equals_reference(sae: SAE, dead: Tensor, step: int = 0, progress: float = 0.0) -> None:
    context = StepContext(step, dead, progress)
    fast = sae.activation.gradients(sae, batch(), target(sae), context)
    slow = reference_gradients(sae.activation, sae, batch(), target(sae), context)
    assert fast.terms.keys() == slow.terms.keys()
    for name, term in slow.terms.items():
        torch.testing.assert_close(fast.terms[name], term, rtol=1e-12, atol=1e-14, msg=name)
    assert list(fast.gradients) == list(slow.gradients) == list(dict(sae.named_parameters()))
    for name, gradient in slow.gradients.items():
        assert gradient.abs().max() > 1e-6, f"{name}: a gradient of zero proves nothing"
        torch.testing.assert_close(fast.gradients[name], gradient, rtol=1e-10, atol=1e-12, msg=name)
    torch.testing.assert_close(fast.reconstruction, slow.reconstruction, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fast.l0.double(), slow.l0.double(), rtol=1e-6, atol=0.0)
    assert torch.equal(fast.active, slow.active)


def sparser(sae: SAE) -> SAE:
    """The same with so few active latents that the sparse form is taken."""
    sae.b_enc.data -= 2.4
    density = float((sae.encode_dense(batch()) > 0).double().mean())
    assert 0 < density < SPARSE_PAYS_BELOW, density
    return sae


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("dead", [0, 30])
@pytest.mark.parametrize("kind", [TopKConfig, BatchTopKConfig, MatryoshkaConfig])
def test_ranked_latents(kind: Any, dead: int, decoder_norm: str, shape: str) -> None:
    config = kind(k=4, aux_k=5, aux_coefficient=3.0)
    sae = random_sae(config, decoder_norm=decoder_norm, **SHAPES[shape])
    assert_fast_equals_reference(sae, dead_mask(dead))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        JumpReLUConfig(target_l0=None, sparsity_coefficient=0.3, bandwidth=0.4, pre_act_coefficient=0.0),
        JumpReLUConfig(target_l0=3.0, bandwidth=0.4, pre_act_coefficient=0.02),
        JumpReLUConfig(penalty="tanh", sparsity_coefficient=0.3, bandwidth=0.4, sparsity_warmup_steps=9),
        GatedConfig(l1_coefficient=0.7, l1_warmup_steps=10),
        StandardConfig(l1_coefficient=0.7, l1_warmup_steps=10),
        StandardConfig(l1_coefficient=0.7, penalty="sqrt"),
        StandardConfig(l1_coefficient=0.7, penalty="tanh", tanh_scale=1.5),
        StandardConfig(l1_coefficient=0.7, penalty="p_anneal"),
    ],
    ids=["jump l0", "jump target", "jump tanh", "gated", "l1", "sqrt", "tanh", "p_anneal"],
)
def test_penalised_latents(config: Any, sparse: bool, decoder_norm: str, shape: str) -> None:
    sae = random_sae(config, decoder_norm=decoder_norm, **SHAPES[shape])
    assert_fast_equals_reference(sparser(sae) if sparse else sae, dead_mask(20), step=3, progress=0.6)


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("k", [1, 5, D_SAE])
def test_topk(k: int, centred: bool, decoder_norm: str) -> None:
    sae = random_sae(TopKConfig(k=k), apply_b_dec_to_input=centred, decoder_norm=decoder_norm)
    assert_fast_equals_reference(sae, dead_mask(0))


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize(("aux_k", "dead"), [(3, 60), (16, 20), (64, 7), (1, 1)])
def test_topk_with_dead_latents(aux_k: int, dead: int, decoder_norm: str) -> None:
    sae = random_sae(TopKConfig(k=4, aux_k=aux_k, aux_coefficient=3.0), decoder_norm=decoder_norm)
    assert_fast_equals_reference(sae, dead_mask(dead))


def test_aux_term_pulls_dead_latents_towards_the_error() -> None:
    architecture = TopKConfig(k=4, aux_k=8, aux_coefficient=3.0)
    sae = random_sae(architecture)
    dead = dead_mask(30)
    with_aux = sae.activation.gradients(sae, batch(), batch(), StepContext(0, dead))
    without = sae.activation.gradients(sae, batch(), batch(), StepContext(0, dead_mask(0)))
    assert with_aux.terms["aux_loss"] > 0
    assert without.terms["aux_loss"] == 0
    changed = (with_aux.gradients["W_enc"] != without.gradients["W_enc"]).any(1)
    assert changed.any()
    assert not changed[~dead].any()


@pytest.mark.parametrize(
    ("architecture", "dead"),
    [
        (TopKConfig(k=4), 0),
        (BatchTopKConfig(k=4), 0),
        (MatryoshkaConfig(k=4), 0),
        (StandardConfig(l1_coefficient=0.3), 0),
        (StandardConfig(l1_coefficient=0.3, penalty="tanh"), 0),
        (TopKConfig(k=4, aux_k=3), 30),
    ],
)
def test_reference_against_finite_differences(architecture: Any, dead: int) -> None:
    """The definition itself: moving a weight a little changes the loss as its gradient says."""
    sae = random_sae(architecture, decoder_norm="free")
    context = StepContext(0, dead_mask(dead))
    # the error is held constant in the auxiliary term, so only dead latents' own weights can be probed
    rows = context.dead.nonzero()[:, 0] if dead else torch.arange(D_SAE)
    gradients = reference_gradients(sae.activation, sae, batch(), batch(), context).gradients

    def loss() -> float:
        with torch.no_grad():
            terms, _, _ = sae.activation.terms(sae, batch(), batch(), context)
            return float(torch.stack(list(terms.values())).sum())

    fired = sae.encode(batch()).fired()
    checked = 0
    for name in ("W_dec", "W_enc", "b_enc") + (() if dead else ("b_dec",)):
        parameter = dict(sae.named_parameters())[name].data
        flat = parameter.view(parameter.shape[0], -1)
        for row in range(D_IN) if name == "b_dec" else rows.tolist()[:25]:
            if dead and bool(fired[row]):
                continue
            old = flat[row, 0].clone()
            flat[row, 0] = old + 1e-6
            up = loss()
            flat[row, 0] = old - 1e-6
            down = loss()
            flat[row, 0] = old
            expected = gradients[name].view(parameter.shape[0], -1)[row, 0]
            assert (up - down) / 2e-6 == pytest.approx(float(expected), abs=2e-6, rel=1e-4), (name, row)
            checked += 1
    assert checked > 20
