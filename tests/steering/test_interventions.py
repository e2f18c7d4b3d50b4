"""The mathematics of add and clamp, against definitions written down plainly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.lm import Positions
from mistudio.sae import SAE, Latents, StandardConfig, TopKConfig
from mistudio.steering.interventions import (
    Edit,
    SteeredPositions,
    latent_values,
    steering_intervention,
    steering_vectors,
)

D, M = 12, 20


def random_sae(kind: str, seed: int = 0) -> SAE:
    """A dictionary with random weights in float64."""
    generator = torch.Generator().manual_seed(seed)
    config = TopKConfig(k=5) if kind == "topk" else StandardConfig()
    sae = SAE(config, D, M, dtype=torch.float64)
    for parameter in (sae.W_enc, sae.W_dec, sae.b_enc, sae.b_dec):
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return sae


def orthonormal_sae() -> SAE:
    """A dictionary whose encoder exactly undoes its decoder."""
    basis = torch.linalg.qr(
        torch.randn(D, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ).Q
    sae = SAE(StandardConfig(), D, D, dtype=torch.float64)
    sae.W_enc.data, sae.W_dec.data = basis.clone(), basis.clone()
    return sae


def activations(n: int = 7, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["topk", "standard"])
def test_add_adds_value_times_the_decoder_direction(kind: str) -> None:
    sae, x = random_sae(kind), activations()
    change = steering_vectors(sae, x, [Edit(3, 2.5), Edit(11, -1.0)])
    torch.testing.assert_close(change, (2.5 * sae.W_dec[3] - sae.W_dec[11]).expand(len(x), D))


@pytest.mark.parametrize("kind", ["topk", "standard"])
@settings(deadline=None, max_examples=40)
@given(
    index=st.integers(0, M - 1),
    other=st.integers(0, M - 1),
    value=st.floats(-10, 10),
    seed=st.integers(0, 50),
)
def test_clamp_changes_one_latent_and_leaves_the_error_alone(
    kind: str, index: int, other: int, value: float, seed: int
) -> None:
    sae, x = random_sae(kind, seed), activations(seed=seed)
    edits = [Edit(index, value, "clamp")] + ([Edit(other, 1.5, "clamp")] if other != index else [])
    z = sae.encode(x).dense()
    error = x - sae.decode_dense(z)
    wanted = z.clone()
    for edit in edits:
        wanted[:, edit.index] = edit.value
    torch.testing.assert_close(x + steering_vectors(sae, x, edits), sae.decode_dense(wanted) + error)


@pytest.mark.parametrize("token_norm", ["unit_norm", "layer_norm"])
@pytest.mark.parametrize("mode", ["add", "clamp"])
def test_where_tokens_are_normalised_a_latent_counts_in_units_of_its_token(
    token_norm: Any, mode: Any
) -> None:
    plain, x = random_sae("topk"), activations() * torch.arange(1, 8)[:, None]
    sae = SAE(plain.architecture, D, M, token_norm=token_norm, dtype=torch.float64)
    sae.load_state_dict(plain.state_dict())
    z = sae.encode(x).dense()
    wanted = z.clone()
    wanted[:, 3] = 2.5 + (z[:, 3] if mode == "add" else 0)
    change = steering_vectors(sae, x, [Edit(3, 2.5, mode)])
    torch.testing.assert_close(change, sae.decode_dense(wanted, x) - sae.decode_dense(z, x))


def test_clamped_latents_read_back_as_the_target_where_the_encoder_undoes_the_decoder() -> None:
    sae, x = orthonormal_sae(), activations()
    before = sae.encode(x).dense()
    below_threshold = (sae.centre(x) @ sae.W_enc.T).clamp(max=0)
    after = sae.encode(x + steering_vectors(sae, x, [Edit(4, 3.0, "clamp"), Edit(7, 0.0, "clamp")])).dense()
    # What was silent starts from below its threshold, which the decoder knows nothing of.
    torch.testing.assert_close(after[:, 4], 3.0 + below_threshold[:, 4])
    assert bool((before[:, 4] > 0).any()) and bool((before[:, 7] > 0).any())
    torch.testing.assert_close(after[:, 7], torch.zeros_like(after[:, 7]))
    others = [i for i in range(D) if i not in (4, 7)]
    torch.testing.assert_close(after[:, others], before[:, others])


def test_add_and_clamp_of_different_latents_do_not_disturb_each_other() -> None:
    sae, x = random_sae("topk"), activations()
    both = steering_vectors(sae, x, [Edit(2, 4.0), Edit(9, 1.0, "clamp")])
    apart = steering_vectors(sae, x, [Edit(2, 4.0)]) + steering_vectors(sae, x, [Edit(9, 1.0, "clamp")])
    torch.testing.assert_close(both, apart)


@settings(deadline=None, max_examples=40)
@given(
    values=st.lists(st.lists(st.floats(0, 9), min_size=M, max_size=M), min_size=1, max_size=5),
    indices=st.lists(st.integers(0, M - 1), unique=True, max_size=6),
)
def test_latent_values_are_columns_of_the_dense_latents(
    values: list[list[float]], indices: list[int]
) -> None:
    sae = random_sae("standard")
    dense = torch.tensor(values, dtype=torch.float64)
    sae.encode = lambda x: Latents.from_dense(dense)  # type: ignore[method-assign]
    torch.testing.assert_close(latent_values(sae, torch.zeros(len(values), D), indices), dense[:, indices])


@pytest.mark.parametrize("where", ["all", "prompt", "generated"])
@pytest.mark.parametrize(("start", "length"), [(0, 6), (4, 3), (6, 1)])
def test_only_the_wanted_positions_change(where: str, start: int, length: int) -> None:
    sae = random_sae("topk")
    spared = torch.tensor([True, False, False, True, False])
    intervene = steering_intervention(sae, [Edit(1, 1.0)], SteeredPositions(where, spared))  # type: ignore[arg-type]
    x = torch.randn(2, length, D)
    kept = x.clone()
    changed = intervene(x, Positions(start, length, prompt_length=5))
    assert torch.equal(x, kept), "an intervention must not write into what it is given"
    for i, position in enumerate(range(start, start + length)):
        in_prompt = position < 5
        wanted = where == "all" or (where == "prompt") == in_prompt
        if in_prompt and bool(spared[position]):
            wanted = False
        assert torch.equal(changed[:, i], x[:, i]) != wanted


@settings(deadline=None, max_examples=40)
@given(value=st.floats(-3, 3), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_shape_and_type_of_the_model_are_kept(value: float, dtype: torch.dtype) -> None:
    intervene = steering_intervention(random_sae("topk"), [Edit(0, value, "clamp")], SteeredPositions())
    changed = intervene(torch.randn(1, 4, D, dtype=dtype), Positions(0, 4, 4))
    assert changed.dtype == dtype and changed.shape == (1, 4, D)


def test_latents_that_are_not_there_or_named_twice_are_refused() -> None:
    sae = random_sae("topk")
    with pytest.raises(ValueError, match="no latent 20: they are 0 to 19"):
        steering_intervention(sae, [Edit(20, 1.0)], SteeredPositions())
    with pytest.raises(ValueError, match="edited twice"):
        steering_intervention(sae, [Edit(2, 1.0), Edit(2, 1.0, "clamp")], SteeredPositions())
