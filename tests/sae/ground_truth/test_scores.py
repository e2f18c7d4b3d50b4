"""Our scores are SAELens' own, computed by its package on the same dictionary and samples."""

import pytest
import torch

from mistudio.sae import SAE, Latents, SAEError, StandardConfig
from mistudio.sae.ground_truth import HierarchyConfig, Scoring, World, WorldConfig, score


def small_world(**changes: object) -> World:
    settings = {"n_features": 200, "d": 32, "hierarchy": HierarchyConfig(roots=4), "seed": 3}
    return World(WorldConfig.model_validate({**settings, **changes}))


def half_right_dictionary(world: World, seed: int = 0) -> SAE:
    """Some latents at features (a few at the same), some anywhere, one that never fires."""
    generator = torch.Generator().manual_seed(seed)
    sae = SAE(StandardConfig(), world.d, 96)
    directions = torch.randn(96, world.d, generator=generator)
    directions[:60] = world.directions[:60] + 0.1 * directions[:60]
    directions[60:64] = -world.directions[:4]
    directions *= torch.rand(96, 1, generator=generator) + 0.5
    sae.W_dec.copy_(directions)
    sae.W_enc.copy_(directions)
    sae.b_enc.fill_(-1.5)
    sae.b_enc[95] = -1e6
    sae.b_dec.copy_(world.bias)
    return sae


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_every_score_is_what_saelens_computes(seed: int) -> None:
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.synthetic import ActivationGenerator, FeatureDictionary, eval_sae_on_synthetic_data

    world = small_world(bias_norm=2.0)

    class Replay(ActivationGenerator):
        """SAELens' generator, giving out the samples of our world from the thousandth on."""

        at = 1000

        def sample(self, batch_size: int) -> torch.Tensor:
            self.at += batch_size
            return world.sample(batch_size, self.at - batch_size).features.dense()

    ours = half_right_dictionary(world, seed)
    theirs = StandardSAE(StandardSAEConfig(d_in=world.d, d_sae=96, apply_b_dec_to_input=True))
    theirs.load_state_dict(
        {"W_enc": ours.W_enc.T, "W_dec": ours.W_dec, "b_enc": ours.b_enc, "b_dec": ours.b_dec}
    )
    features = FeatureDictionary(world.n_features, world.d, bias=True, initializer=None)
    with torch.no_grad():
        features.feature_vectors.copy_(world.directions)
        features.bias.copy_(world.bias)

    expected = eval_sae_on_synthetic_data(
        theirs, features, Replay(world.n_features, 0.1), 5000, batch_size=700
    )
    found = score(ours, world, 5000, batch_size=640, start=1000)

    assert (
        0.2 < expected.mcc < 0.95 and 0.1 < expected.classification.f1_score < 0.95
    )  # an example with contrast
    for name, theirs_value in {
        "f1": expected.classification.f1_score,
        "precision": expected.classification.precision,
        "recall": expected.classification.recall,
        "accuracy": expected.classification.accuracy,
        "mcc": expected.mcc,
        "uniqueness": expected.uniqueness,
        "explained_variance": expected.explained_variance,
        "shrinkage": expected.shrinkage,
        "l0": expected.sae_l0,
        "true_l0": expected.true_l0,
    }.items():
        assert getattr(found, name) == pytest.approx(theirs_value, abs=1e-4), name
    assert found.dead == expected.dead_latents >= 1
    assert found.n_samples == 5000


def test_the_features_themselves_score_full_marks() -> None:
    world = small_world()
    scoring = Scoring(world.directions * 3, world.directions)
    for start in (0, 20_000):
        sample = world.sample(20_000, start)
        scoring.update(sample.x, sample.x, sample.features, sample.features)
    found = scoring.result()
    assert found.mcc == pytest.approx(1, abs=1e-5)
    assert found.f1 == found.precision == found.recall == found.accuracy == found.uniqueness == 1
    assert found.explained_variance == 1
    assert found.shrinkage == pytest.approx(1)
    assert found.l0 == found.true_l0


def test_the_mean_explains_no_variance() -> None:
    world = small_world()
    sample = world.sample(4000)
    nothing = Latents.from_dense(torch.zeros(4000, 5))
    scoring = Scoring(torch.randn(5, world.d), world.directions)
    scoring.update(sample.x, sample.x.mean(0).expand_as(sample.x), nothing, sample.features)
    found = scoring.result()
    assert found.explained_variance == pytest.approx(0, abs=1e-6)
    assert (found.f1, found.l0, found.dead) == (0, 0, 5)


def test_what_does_not_fit_is_refused() -> None:
    world = small_world()
    with pytest.raises(SAEError, match=r"width 7.*width 32"):
        Scoring(torch.randn(5, 7), world.directions)
    scoring = Scoring(torch.randn(5, 32), world.directions)
    with pytest.raises(SAEError, match="nothing to score"):
        scoring.result()
    sample = world.sample(4)
    with pytest.raises(SAEError, match="Expected 5 latents and 200 features; got 200 and 200"):
        scoring.update(sample.x, sample.x, sample.features, sample.features)
