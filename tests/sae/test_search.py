"""The candidate search must give what the plain float32 product gives, whatever the data."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistudio.sae import kernels, search


@pytest.fixture(autouse=True, scope="module")
def _search_on_any_machine() -> Iterator[None]:
    """bfloat16 products exist everywhere; only their speed differs."""
    patch = pytest.MonkeyPatch()
    patch.setattr(search, "searches_in_bfloat16", lambda *_: True)
    yield
    patch.undo()


def assert_strongest(x: Tensor, W: Tensor, b: Tensor, k: int) -> None:
    """Every token's latents are its k largest positive ones, up to float32's rounding."""
    latents = search.encode_top_k(x, W, b, k)
    pre = torch.addmm(b.double(), x.double(), W.double().T)
    tolerance = 1e-5 * (x.double().norm(dim=1) * W.double().norm(dim=1).max() + b.abs().max()) + 1e-30
    strongest = pre.topk(k, dim=1).values
    for n in range(x.shape[0]):
        part = slice(int(latents.offsets[n]), int(latents.offsets[n + 1]))
        indices, values = latents.indices[part], latents.values[part]
        assert len(set(indices.tolist())) == len(indices)
        assert ((pre[n, indices] - values).abs() <= tolerance[n]).all()
        expected = strongest[n][strongest[n] > tolerance[n]]
        found = values.double().sort(descending=True).values[: len(expected)]
        assert len(found) == len(expected)
        assert ((found - expected).abs() <= tolerance[n]).all()


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, int]:
    k = draw(st.sampled_from([1, 2, 4]))
    n, m, d = draw(st.integers(1, 6)), draw(st.integers(32 * k, 300)), draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    x = torch.randn(n, d, generator=generator) * draw(st.sampled_from([1e-6, 1.0, 1e4]))
    W = torch.randn(m, d, generator=generator)
    b = torch.randn(m, generator=generator) * draw(st.sampled_from([0.0, 0.1, 10.0]))
    match draw(st.sampled_from(["plain", "near ties", "outlier entry", "long row", "all negative"])):
        case "near ties":
            W = W[:1] * (1 + 1e-4 * torch.rand(m, 1, generator=generator))
        case "outlier entry":
            x[:, 0] += 1000
        case "long row":
            W[m // 2] *= 1e4
        case "all negative":
            b -= 1e6
    return x, W, b, k


@given(problem=problems())
@settings(max_examples=300, deadline=None)
def test_equals_the_plain_product(problem: tuple[Tensor, Tensor, Tensor, int]) -> None:
    assert_strongest(*problem)


def test_most_tokens_need_no_second_look_and_the_rest_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random data is settled in bfloat16; three tokens with a cluster of near ties are done in float32."""
    generator = torch.Generator().manual_seed(0)
    d, m, k = 64, 1024, 8
    W = torch.randn(m, d, generator=generator)
    W /= W.norm(dim=1, keepdim=True)
    cluster = torch.randn(d, generator=generator)
    W[100:164] = cluster / cluster.norm() + 1e-5 * torch.randn(64, d, generator=generator)
    x = torch.randn(100, d, generator=generator)
    x -= (x @ W[100])[:, None] * W[100]
    x[[7, 50, 99]] = cluster * 3
    again: list[int] = []
    plain = kernels.pre_activations

    def counted(x: Tensor, W_enc: Tensor, b_enc: Tensor) -> Iterator[Tensor]:
        again.append(x.shape[0])
        return plain(x, W_enc, b_enc)

    monkeypatch.setattr(kernels, "pre_activations", counted)
    assert_strongest(x, W, torch.zeros(m), k)
    assert again and 3 <= again[0] < 20


def test_blocks_and_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks; and data on which bfloat16 settles nothing."""
    monkeypatch.setattr(kernels, "block_rows", lambda *_: 16)
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(256, 24, generator=generator)
    x = torch.randn(70, 24, generator=generator)
    assert_strongest(x, W, torch.zeros(256), 3)
    assert_strongest(x, W[:1].expand(256, -1) + 1e-4 * W, torch.zeros(256), 3)


def test_not_finite_activations_are_not_hidden() -> None:
    W = torch.randn(256, 8)
    x = torch.ones(3, 8)
    x[1, 0] = float("inf")
    latents = search.encode_top_k(x, W, torch.zeros(256), 2)
    part = latents.values[latents.offsets[1] : latents.offsets[2]]
    assert torch.isinf(part).any()


def test_training_with_the_search_equals_training_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from mistudio.sae import TopKConfig, Trainer, TrainerConfig

    config = TrainerConfig(
        architecture=TopKConfig(k=4), d_sae=512, learning_rate=1e-3, warmup_steps=0, batch_size=256
    )
    curves: list[list[float]] = []
    for on in (True, False):
        monkeypatch.setattr(search, "searches_in_bfloat16", lambda *_, on=on: on)
        trainer = Trainer(config, 32)
        generator = torch.Generator().manual_seed(1)
        curves.append([trainer.step(torch.randn(256, 32, generator=generator)).loss for _ in range(10)])
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)
