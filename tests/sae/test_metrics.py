import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistudio.sae import (
    METRICS,
    SAE,
    Evaluation,
    SAEError,
    StandardConfig,
    TopKConfig,
    Trainer,
    TrainerConfig,
    metrics,
)


@st.composite
def activations(draw: st.DrawFn) -> Tensor:
    n, d = draw(st.integers(2, 30)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    offset = draw(st.sampled_from([0.0, 1.0, 100.0]))
    scale = draw(st.sampled_from([1e-3, 1.0, 50.0]))
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * scale + offset


@given(x=activations())
@settings(deadline=None)
def test_predicting_the_mean_scores_exactly_zero(x: Tensor) -> None:
    mean = x.mean(0).expand_as(x)
    assert float(metrics.explained_variance(x, mean)) == 0.0
    assert float(metrics.fvu(x, mean)) == 1.0


@given(x=activations())
@settings(deadline=None)
def test_a_perfect_reconstruction(x: Tensor) -> None:
    assert float(metrics.fvu(x, x)) == 0.0
    assert float(metrics.explained_variance(x, x)) == 1.0
    assert float(metrics.mse(x, x)) == 0.0
    assert float(metrics.cosine(x, x)) == pytest.approx(1.0)


@given(x=activations(), noise=st.floats(0.01, 2.0), shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
@settings(deadline=None)
def test_fvu_ignores_shift_and_scale_and_mse_scales_with_the_square(
    x: Tensor, noise: float, shift: float, scale: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    guess = x + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    moved = metrics.fvu(x * scale + shift, guess * scale + shift)
    torch.testing.assert_close(moved, metrics.fvu(x, guess), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(
        metrics.mse(x * scale, guess * scale), metrics.mse(x, guess) * scale**2, rtol=1e-6, atol=1e-12
    )
    assert float(metrics.cosine(x * scale, guess)) == pytest.approx(float(metrics.cosine(x, guess)), abs=1e-9)


def test_mse_is_per_entry_and_not_divided_again_by_tokens() -> None:
    x = torch.zeros(7, 3)
    assert float(metrics.mse(x, x + 2)) == 4.0


def test_constant_activations() -> None:
    x = torch.ones(4, 3)
    assert float(metrics.fvu(x, x)) == 0.0
    assert math.isinf(float(metrics.fvu(x, x + 1)))


def some_sae(d_in: int, k: int = 3) -> SAE:
    sae = SAE(TopKConfig(k=k), d_in, 20, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    for p in sae.parameters():
        p.data.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) / 3)
    return sae


@pytest.mark.slow
@given(x=activations(), cut=st.integers(1, 29))
@settings(deadline=None)
def test_evaluation_in_parts_equals_the_whole(x: Tensor, cut: int) -> None:
    sae = some_sae(x.shape[1])
    whole, parts = Evaluation(), Evaluation()
    whole.update(x, sae)
    for part in x.split(cut):
        parts.update(part, sae)
    latents = sae.encode(x)
    reconstruction = sae.decode(latents)
    result = whole.result()
    for name, value in parts.result().as_dict().items():
        if name != "explained_variance_legacy":  # about the mean of a batch, so that batches matter
            assert value == pytest.approx(result.as_dict()[name], rel=1e-9), name
    assert result.l0 == metrics.l0(latents)
    assert result.dead_latents == metrics.dead_latents(latents)
    assert result.fvu == pytest.approx(float(metrics.fvu(x, reconstruction)), rel=1e-9)
    assert result.mse == pytest.approx(float(metrics.mse(x, reconstruction)), rel=1e-9)
    assert result.cosine == pytest.approx(float(metrics.cosine(x, reconstruction)), rel=1e-9)
    torch.testing.assert_close(parts.frequency, (latents.dense() > 0).double().mean(0))
    torch.testing.assert_close(parts.mean, x.mean(0))


@given(x=activations())
@settings(deadline=None)
def test_every_number_is_its_formula(x: Tensor) -> None:
    sae = some_sae(x.shape[1])
    evaluation = Evaluation()
    evaluation.update(x, sae)
    z, y = sae.encode(x).dense(), sae(x)
    error, n, d = (x - y).square().sum(), *x.shape
    often = (z != 0).double().mean(0)
    legacy = 1 - (x - y).square().sum(1) / (x - x.mean(0)).square().sum(1)
    size = x.square().sum()
    expected = {
        "l0": (z != 0).sum() / n,
        "l1": z.abs().sum() / n,
        "explained_variance_legacy": legacy.mean(),
        "explained_variance_about_zero": 1 - error / size,
        "explained_variance_sae_bench": 1 - error / (size - n * x.square().mean() ** 2),
        "mse_per_token": error / n,
        "l2_norm_in": x.norm(dim=1).mean(),
        "l2_norm_out": y.norm(dim=1).mean(),
        "l2_ratio": (y.norm(dim=1) / x.norm(dim=1)).mean() if float(x.norm(dim=1).min()) > 1e-4 else None,
        "relative_reconstruction_bias": y.square().sum() / (x * y).sum(),
        "projection": (x * y).sum() / size,
        "dead_latents": (often == 0).sum(),
        "dense_latents": (often > 0.1).sum(),
        "dense_fraction": (often > 0.1).double().mean(),
        "frequent_fraction": (often > 0.01).double().mean(),
    }
    assert d == evaluation.mean.shape[0]
    for name, value in expected.items():
        if value is not None:
            assert getattr(evaluation.result(), name) == pytest.approx(float(value), rel=1e-7, abs=1e-9), name


def test_shrinkage_is_seen() -> None:
    """A dictionary that gives back 0.8·x: every measure of shrinkage says so."""
    x = torch.randn(40, 5, dtype=torch.float64)
    evaluation = Evaluation()
    evaluation.update_with(x, some_sae(5).encode(x), 0.8 * x)
    result = evaluation.result()
    for name in ("l2_ratio", "relative_reconstruction_bias", "projection"):
        assert getattr(result, name) == pytest.approx(0.8), name


def test_a_transcoder_is_measured_against_its_target() -> None:
    x, target = torch.randn(30, 5, dtype=torch.float64), torch.randn(30, 5, dtype=torch.float64)
    sae = some_sae(5)
    evaluation = Evaluation()
    evaluation.update(x, sae, target)
    assert evaluation.result().fvu == pytest.approx(float(metrics.fvu(target, sae(x))))


def test_evaluation_of_a_dictionary_that_predicts_the_mean() -> None:
    x = torch.randn(50, 6, dtype=torch.float64) + 3
    sae = SAE(TopKConfig(k=2), 6, 10, dtype=torch.float64)
    sae.b_dec.data.copy_(x.mean(0))
    evaluation = Evaluation()
    evaluation.update(x, sae)
    result = evaluation.result()
    assert result.explained_variance == 0.0
    assert result.l0 == 0
    assert result.dead_latents == 10
    assert result.dead_fraction == 1.0


def test_evaluating_nothing_is_refused() -> None:
    evaluation = Evaluation()
    evaluation.update(torch.zeros(0, 4, dtype=torch.float64), some_sae(4))
    with pytest.raises(SAEError, match="no tokens"):
        evaluation.result()


def test_every_number_shown_has_its_formula() -> None:
    shown: set[str] = set()
    for architecture in (TopKConfig(k=2), StandardConfig()):
        trainer = Trainer(TrainerConfig(architecture=architecture, d_sae=16), 4)
        shown |= trainer.step(torch.randn(32, 4)).row().keys()
    evaluation = Evaluation()
    evaluation.update(torch.randn(9, 4, dtype=torch.float64), some_sae(4))
    shown |= evaluation.result().as_dict().keys()
    assert shown - {"step", "tokens", "n_tokens"} <= METRICS.keys()
    assert all(info.title and info.formula and info.description for info in METRICS.values())


def test_step_metrics_equal_the_functions() -> None:
    """What a training reports is what anyone gets for its weights on those activations."""
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)) * 5 + 1
    trainer = Trainer(TrainerConfig(architecture=TopKConfig(k=3), d_sae=24), 6)
    trainer.step(x)
    before = trainer.finish()
    shown = trainer.step(x)
    evaluation = Evaluation()
    evaluation.update(x, before)
    result = evaluation.result()
    for name in ("l0", "fvu", "explained_variance", "mse", "cosine"):
        assert getattr(shown, name) == pytest.approx(getattr(result, name), rel=1e-4), name
