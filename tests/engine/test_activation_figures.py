"""Figures about activations: against the same figures computed in one go by numpy, in float64."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from mistudio.engine.activation_figures import HookSummary, outliers_of_the_model
from mistudio.engine.activation_metrics import ACTIVATION_METRICS
from mistudio.engine.activation_sums import TOP, HookSums

N, D = 3000, 48


def rows(seed: int = 0) -> torch.Tensor:
    """Gaussian activations with a loud dimension, a far one, a sparse one, a constant one, and massive values."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, (N, D)) * draw.uniform(0.5, 2, D)
    x[:, 3] = draw.normal(300, 2, N)
    x[:, 5] = np.where(draw.random(N) < 0.1, 8.0, 0.0)
    x[:, 6] = 2.0
    x[::100, 7] = -4000.0
    x[11] = 0
    return torch.from_numpy(x.astype(np.float32))


def origins(n: int = N) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    index = torch.arange(n)
    return index // 50, index % 50, index * 7 % 1000


def summed(x: torch.Tensor, chunks: int = 1, *, store: bool = False) -> dict[str, Any]:
    sums = HookSums(x.shape[1])
    where = origins(len(x))
    for part in torch.arange(len(x)).chunk(chunks):
        if store:
            sums = HookSums(x.shape[1], json.loads(json.dumps(sums.state())))
        sums.add(x[part], *(one[part] for one in where))
    return json.loads(json.dumps(sums.state()))


def kurtosis(x: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    centred = x - x.mean(axis, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (centred**4).mean(axis) / (centred**2).mean(axis) ** 2


def test_figures_are_what_their_definitions_say() -> None:
    tensor = rows()
    summary = HookSummary(summed(tensor, 7))
    figures, plots = summary.figures(0.25), summary.plots()
    x = tensor.double().numpy()
    norms = np.linalg.norm(x, axis=1)
    near = lambda value: pytest.approx(float(value), rel=1e-4)  # noqa: E731
    assert figures.error == 0.25
    assert figures.mean == near(x.mean()) and figures.std == near(x.std())
    assert figures.mean_norm == near(norms.mean()) and figures.std_norm == near(norms.std())
    assert figures.max_norm == near(norms.max())
    assert figures.rms == near(np.sqrt((x**2).mean()))
    assert figures.mean_share == near((x.mean(0) ** 2).sum() / (x**2).mean(0).sum())
    spread = np.delete(x, 11, axis=0)  # a token of zeros has neither kurtosis nor sparsity
    assert figures.token_kurtosis == near(kurtosis(spread, 1).mean())
    l1, l2 = np.abs(spread).sum(1), np.linalg.norm(spread, axis=1)
    assert figures.hoyer == near(((np.sqrt(D) - l1 / l2) / (np.sqrt(D) - 1)).mean())
    square = (x**2).mean(0)
    assert figures.rms_kurtosis == near((square**2).mean() / square.mean() ** 2)
    assert figures.zeros == near((x == 0).mean())
    assert figures.peak == 4000
    for name, values in (("mean", x.mean(0)), ("std", x.std(0)), ("peak", np.abs(x).max(0))):
        np.testing.assert_allclose(getattr(plots, name), values, rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(plots.share, (np.abs(x) >= 6).mean(0), atol=1e-6)
    np.testing.assert_allclose(np.array(plots.kurtosis, float)[:6], kurtosis(x, 0)[:6], rtol=1e-3)
    assert figures.dimension_kurtosis == pytest.approx(float(np.nanmedian(kurtosis(x, 0))), rel=1e-3)


def test_norms_are_counted_once_and_percentiles_are_within_a_bin() -> None:
    tensor = rows()
    summary = HookSummary(summed(tensor, 3))
    plots, figures = summary.plots(), summary.figures(0)
    norms = np.linalg.norm(tensor.double().numpy(), axis=1)
    assert sum(plots.norm_counts) == N and len(plots.norm_edges) == len(plots.norm_counts) + 1
    for percent, value in figures.norm_percentiles.items():
        exact = np.percentile(norms, float(percent), method="inverted_cdf")
        assert 2 ** (-1 / 16) <= value / exact <= 2 ** (1 / 16), percent
    assert plots.position_starts == [0, 1, 2, 4, 8, 16, 32]
    positions = np.arange(N) % 50
    assert plots.position_norms[0] == pytest.approx(norms[positions == 0].mean(), rel=1e-4)
    assert plots.position_norms[4] == pytest.approx(
        norms[(positions >= 8) & (positions < 16)].mean(), rel=1e-4
    )
    assert sum(plots.position_counts) == N


def test_outliers_and_massive_activations_are_found_by_their_rules() -> None:
    summary = HookSummary(summed(rows(), 4))
    figures, plots = summary.figures(0), summary.plots()
    found = {one.dimension: one for one in plots.outliers}
    assert set(found) == {3, 5}  # 300 everywhere; 8 at a tenth of the tokens
    assert found[3].loud and found[3].far and found[5].loud and not found[5].far
    assert figures.loud_dimensions == 2 and figures.far_dimensions == 1
    assert figures.massive_values == figures.massive_tokens == N // 100 - 0
    assert figures.massive_dimensions == 1 and plots.massive_dimensions == {7: N // 100}
    assert len(plots.largest) == TOP
    first = plots.largest[0]
    assert first.value == -4000 and first.dimension == 7 and first.massive
    row = first.sequence * 50 + first.position
    assert row % 100 == 0 and first.token == row * 7 % 1000


def test_a_dimension_that_is_loud_in_some_layers_is_the_models() -> None:
    loud, quiet = rows(), rows() * 0 + 0.1
    loud_state, quiet_state = summed(loud), summed(quiet)
    hooks = {f"blocks.{layer}.hook_resid_post": HookSummary(quiet_state) for layer in range(8)}
    hooks["blocks.1.hook_resid_post"] = HookSummary(loud_state)
    assert outliers_of_the_model(hooks) == []  # one of eight is less than a quarter
    hooks["blocks.6.hook_resid_post"] = HookSummary(loud_state)
    assert [(one.dimension, one.hooks, one.of) for one in outliers_of_the_model(hooks)] == [
        (3, 2, 8),
        (5, 2, 8),
    ]


def test_stored_and_taken_up_again_the_bits_are_the_same() -> None:
    assert summed(rows(), 6, store=True) == summed(rows(), 6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_and_few_rows_give_figures(dtype: torch.dtype) -> None:
    one = HookSummary(summed(rows()[:1].clamp(-1000, 1000).to(dtype)))
    figures, plots = one.figures(0), one.plots()
    assert figures.mean_norm > 0 and figures.dimension_kurtosis is None
    assert plots.kurtosis == [None] * D and len(plots.largest) == 1
    constant = HookSummary(summed(torch.full((10, 4), 0.0, dtype=dtype))).figures(0)
    assert constant.zeros == 1 and constant.token_kurtosis is None and constant.hoyer is None
    assert constant.rms_kurtosis is None


def test_every_figure_is_explained() -> None:
    figures = HookSummary(summed(rows())).figures(0)
    assert set(vars(figures)) <= set(ACTIVATION_METRICS)
    for info in ACTIVATION_METRICS.values():
        assert info.title and info.formula and info.description.endswith((".", ")"))
