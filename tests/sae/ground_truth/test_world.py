"""The world: reproducible to the bit, unit directions, and the statistics that its settings promise."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mistudio.sae import SAEError
from mistudio.sae.ground_truth import HELD_OUT, HierarchyConfig, World, WorldConfig

SMALL = WorldConfig(n_features=300, d=24, hierarchy=HierarchyConfig(roots=4), seed=5)
FLAT = WorldConfig(n_features=60, d=24, hierarchy=None, correlation_rank=0, seed=2)


@pytest.fixture(scope="module")
def world() -> World:
    return World(SMALL)


@pytest.mark.slow
def test_sample_numbers_mean_the_same_everywhere(world: World) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 900), st.integers(1, 700), st.integers(1, 300))
    def check(start: int, n: int, batch: int) -> None:
        whole = world.sample(n, start)
        parts = [world.sample(min(batch, n - i), start + i) for i in range(0, n, batch)]
        assert torch.equal(torch.cat([p.x for p in parts]), whole.x)
        assert torch.equal(torch.cat([p.features.dense() for p in parts]), whole.features.dense())

    check()
    again = World(SMALL)
    assert torch.equal(again.directions, world.directions)
    assert torch.equal(again.sample(100, HELD_OUT).x, world.sample(100, HELD_OUT).x)
    assert torch.equal(torch.cat(list(world.batches(70, 200, 5))), world.sample(200, 5).x)
    assert not torch.equal(World(SMALL.model_copy(update={"seed": 6})).sample(9).x, world.sample(9).x)


def test_the_stream_is_what_it_was() -> None:
    """The same numbers in every release: figures and tests rest on them."""
    sample = World(FLAT).sample(3, 1000)
    assert sample.features.tokens.tolist() == STREAM_TOKENS
    assert sample.features.indices.tolist() == STREAM_INDICES
    torch.testing.assert_close(sample.features.values, torch.tensor(STREAM_VALUES), atol=1e-5, rtol=0)


STREAM_TOKENS = [0, 1, 1, 1, 1, 2, 2, 2]
STREAM_INDICES = [5, 0, 1, 2, 7, 2, 10, 15]
STREAM_VALUES = [6.14222, 4.78766, 5.59402, 4.88659, 4.44761, 3.21588, 4.73363, 3.30775]


def test_activations_are_their_features(world: World) -> None:
    sample = world.sample(500)
    assert sample.x.dtype == torch.float32
    torch.testing.assert_close(sample.x, sample.features.dense() @ world.directions + world.bias)
    torch.testing.assert_close(world.directions.norm(dim=1), torch.ones(300))
    assert float(world.bias.norm()) == pytest.approx(0.5)
    assert bool((sample.features.values > 0).all())


def test_independent_features_fire_at_their_rates() -> None:
    world = World(FLAT)
    n = 60_000
    z = world.sample(n).features.dense()
    rates = (z > 0).double().mean(0).numpy()
    sigma = np.sqrt(world.target_rates * (1 - world.target_rates) / n)
    assert world.target_rates[0] == pytest.approx(0.4) and world.target_rates[-1] == pytest.approx(5e-4)
    assert np.all(np.abs(rates - world.target_rates) < 5 * sigma)
    correlation = np.corrcoef((z > 0).double().numpy().T)[np.triu_indices(60, 1)]
    assert np.abs(correlation).max() < 5 / n**0.5
    first = z[:, 0][z[:, 0] > 0]
    assert float(first.mean()) == pytest.approx(5.0, abs=0.05)


def test_correlated_features_fire_together_as_the_copula_says() -> None:
    """Against P(both) = ∫ Φ₂ over the common part, by a sum over a fine grid for one factor."""
    world = World(FLAT.model_copy(update={"correlation_rank": 1, "correlation_scale": 0.6}))
    n = 100_000
    z = world.sample(n).features.dense() > 0
    common = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    weight = torch.exp(-common.square() / 2)
    weight /= weight.sum()
    given_common = torch.special.ndtr(
        common[:, None] * world._slopes[:, 0].double() - world._offsets.double()
    )
    expected = (given_common * weight[:, None]).T @ given_common
    together = z.T.double() @ z.double() / n
    for i, j in [(0, 1), (0, 2), (1, 3), (2, 5), (4, 9)]:
        p = float(expected[i, j])
        assert float(together[i, j]) == pytest.approx(p, abs=5 * (p / n) ** 0.5)
    marginal = (given_common * weight[:, None]).sum(0).numpy()
    np.testing.assert_allclose(marginal, world.target_rates, rtol=1e-3)


def test_children_need_their_parent_and_exclude_each_other() -> None:
    config = SMALL.model_copy(
        update={"hierarchy": HierarchyConfig(roots=4, branching=3, depth=3, exclusive_share=0.5)}
    )
    world = World(config)
    tree = world.hierarchy
    assert int((tree.parent >= 0).sum()) == 4 * (3 + 9 + 27)
    assert (tree.parent[:4] == -1).all() and (tree.parent[4:16] == np.arange(4).repeat(3)).all()
    parents, sizes = np.unique(tree.parent[tree.exclusive], return_counts=True)
    assert len(parents) == 4 * (1 + 3 + 9) // 2 and (sizes == 3).all()

    z = world.sample(20_000).features.dense().numpy() > 0
    child = np.flatnonzero(tree.parent >= 0)
    assert not (z[:, child] & ~z[:, tree.parent[child]]).any()
    free = 0
    for parent in np.unique(tree.parent[child]):
        together = z[:, tree.parent == parent].sum(1).max()
        free += together > 1
        assert together <= 1 or parent not in parents
    assert free > 0


def test_siblings_win_evenly() -> None:
    """Two exclusive children that always fire with their parent share it half and half."""
    tree = {"roots": 1, "branching": 2, "depth": 1, "compensate_rates": True}
    world = World(
        WorldConfig.model_validate(
            {"n_features": 3, "d": 4, "max_rate": 0.5, "min_rate": 0.4999, "hierarchy": tree, "seed": 1}
        )
    )
    z = world.sample(20_000).features.dense() > 0
    counts = z.sum(0).tolist()
    assert counts[1] + counts[2] == counts[0]
    assert abs(counts[1] - counts[2]) < 5 * counts[0] ** 0.5


def test_a_child_is_scaled_by_its_parent() -> None:
    tree = HierarchyConfig(roots=1, branching=2, depth=1, exclusive_share=0)
    config = WorldConfig(n_features=3, d=4, magnitude_spread=(1.0, 0.0), hierarchy=tree, seed=1)
    for scaled in (True, False):
        hierarchy = tree.model_copy(update={"scale_by_parent": scaled})
        z = World(config.model_copy(update={"hierarchy": hierarchy})).sample(20_000).features.dense()
        both = z[z[:, 1] > 0]
        correlation = float(torch.corrcoef(both[:, :2].T)[0, 1])
        assert (correlation > 0.5) if scaled else (abs(correlation) < 0.1)


@pytest.mark.slow
def test_statistics_are_those_of_saelens(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The same settings in SAELens' own generator: rates and magnitudes agree, level by level of the trees."""
    from sae_lens.synthetic import (
        FoldedNormalMagnitudeConfig,
        LinearMagnitudeConfig,
        LowRankCorrelationConfig,
        SyntheticModel,
        SyntheticModelConfig,
        ZipfianFiringProbabilityConfig,
    )
    from sae_lens.synthetic import HierarchyConfig as TheirHierarchy

    caplog.set_level(logging.ERROR)
    theirs = SyntheticModel(
        SyntheticModelConfig(
            num_features=300,
            hidden_dim=24,
            firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=5e-4),
            hierarchy=TheirHierarchy(
                total_root_nodes=4,
                branching_factor=4,
                max_depth=3,
                mutually_exclusive_portion=1.0,
                compensate_probabilities=True,
                scale_children_by_parent=True,
            ),
            correlation=LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
            mean_firing_magnitudes=LinearMagnitudeConfig(5.0, 4.0),
            std_firing_magnitudes=FoldedNormalMagnitudeConfig(0.5, 0.5),
            bias=0.5,
            seed=5,
        )
    )
    torch.manual_seed(0)
    n = 30_000
    z_theirs = theirs.activation_generator.sample(n)
    z_ours = world.sample(n).features.dense()
    for first, last in [(0, 4), (4, 20), (20, 84), (84, 300)]:
        a, b = z_theirs[:, first:last], z_ours[:, first:last]
        rate_a, rate_b = float((a > 0).sum() / n), float((b > 0).sum() / n)
        assert rate_b == pytest.approx(rate_a, rel=0.08)
        assert float(b[b > 0].mean()) == pytest.approx(float(a[a > 0].mean()), rel=0.03)
    x_theirs = theirs.feature_dict(z_theirs).detach()
    norms = [float(x.norm(dim=1).mean()) for x in (x_theirs, world.sample(n).x)]
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


def test_spreading_makes_directions_less_alike() -> None:
    config = WorldConfig(n_features=64, d=32, hierarchy=None)
    random, spread = World(config.model_copy(update={"spreading_steps": 0})), World(config)
    potential = [float((w.directions @ w.directions.T).square().sum()) for w in (random, spread)]
    assert potential[1] == pytest.approx(64**2 / 32, rel=1e-3) and potential[1] < 0.8 * potential[0]
    assert spread.superposition() < random.superposition()
    orthogonal = World(config.model_copy(update={"n_features": 16, "spreading_steps": 300}))
    assert orthogonal.superposition() < 0.02


def test_the_published_world_keeps_its_proportions() -> None:
    config = WorldConfig.synthsaebench_16k()
    assert (config.n_features, config.d, config.hierarchy and config.hierarchy.roots) == (16_384, 768, 128)


def test_impossible_worlds_are_refused(world: World) -> None:
    with pytest.raises(ValidationError, match="min_rate"):
        WorldConfig(max_rate=0.1, min_rate=0.2)
    with pytest.raises(ValidationError, match="magnitudes"):
        WorldConfig(mean_magnitude=(0.0, 1.0))
    with pytest.raises(SAEError, match="n of at least 1"):
        world.sample(0)
