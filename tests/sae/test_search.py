"""The candidate search must give what the plain float32 product gives, whatever the data."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistudio.sae import kernels, native, search
from mistudio.sae.latents import Latents


@pytest.fixture(autouse=True, scope="module", params=["PyTorch", "C++ where it compiles"])
def _search_on_any_machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """bfloat16 products exist everywhere; only their speed differs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "searches_in_bfloat16", lambda *_: True)
        if request.param == "PyTorch":
            patch.setattr(native, "library", lambda: None)
        yield


def assert_strongest(x: Tensor, W: Tensor, b: Tensor, k: int, norms: Tensor | None = None) -> None:
    """Every token's latents are its k largest positive ones, up to float32's rounding."""
    latents = search.encode_top_k(x, W, b, k, norms)
    pre = torch.addmm(b.double(), x.double(), W.double().T)
    tolerance = 1e-5 * (x.double().norm(dim=1) * W.double().norm(dim=1).max() + b.abs().max()) + 1e-30
    ranked = latents.values
    if norms is not None:
        pre, ranked, tolerance = pre * norms, ranked * norms[latents.indices], tolerance * norms.max() * 2
    strongest = pre.topk(k, dim=1).values
    for n in range(x.shape[0]):
        part = slice(int(latents.offsets[n]), int(latents.offsets[n + 1]))
        indices, values = latents.indices[part], ranked[part]
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


@pytest.mark.slow
@given(problem=problems(), weighted=st.booleans())
@settings(max_examples=300, deadline=None)
def test_equals_the_plain_product(problem: tuple[Tensor, Tensor, Tensor, int], weighted: bool) -> None:
    m = problem[1].shape[0]
    norms = torch.rand(m, generator=torch.Generator().manual_seed(m)) + 0.5
    assert_strongest(*problem, norms if weighted else None)


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
    monkeypatch.setattr(native, "library", lambda: None)  # which looks at as many candidates as it takes
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


def dense_latents(latents: Latents) -> Tensor:
    """Values [N, m], NaN where an entry is not among the latents."""
    out = torch.full((latents.n_tokens, latents.d_sae), float("nan"), dtype=latents.values.dtype)
    out[latents.tokens, latents.indices] = latents.values
    return out


def rounding(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """What float32's rounding may change in any pre-activation of each token: [N, 1]."""
    scale = x.double().norm(dim=1) * W.double().norm(dim=1).max() + b.abs().max()
    return (1e-5 * scale + 1e-30)[:, None]


@st.composite
def norms_or_none(draw: st.DrawFn, m: int) -> Tensor | None:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return draw(st.sampled_from([None, torch.rand(m, generator=generator) + 0.5]))


@pytest.mark.slow
@given(data=st.data(), problem=problems(), low=st.booleans())
@settings(max_examples=300, deadline=None)
def test_everything_above_a_threshold(
    data: st.DataObject, problem: tuple[Tensor, Tensor, Tensor, int], low: bool
) -> None:
    x, W, b, _ = problem
    norms = data.draw(norms_or_none(W.shape[0]))
    pre = torch.addmm(b.double(), x.double(), W.double().T)
    ranked = pre if norms is None else pre * norms
    level = float(ranked.flatten().sort().values[int(ranked.numel() * data.draw(st.floats(0, 0.99)))])
    threshold: float | Tensor = data.draw(
        st.sampled_from([0.0, level, level + 0.1 * torch.rand(W.shape[0])]), label="threshold"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "searches_in_bfloat16", lambda *_: low)
        latents = search.encode_above(x, W, b, threshold, norms)
    found = dense_latents(latents)
    tolerance = rounding(x, W, b) * 2
    present = ~found.isnan()
    assert int(present.sum()) == latents.values.shape[0]
    assert present[ranked > threshold + tolerance].all()
    assert not present[ranked < threshold - tolerance].any()
    assert ((found - pre).abs() <= tolerance)[present].all()
    if not isinstance(threshold, Tensor) and norms is None:
        assert (latents.values > threshold).all()


@pytest.mark.slow
@given(data=st.data(), problem=problems(), low=st.booleans())
@settings(max_examples=300, deadline=None)
def test_strongest_of_a_batch(
    data: st.DataObject, problem: tuple[Tensor, Tensor, Tensor, int], low: bool
) -> None:
    x, W, b, k = problem
    norms = data.draw(norms_or_none(W.shape[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "searches_in_bfloat16", lambda *_: low)
        patch.setattr(search, "_SAMPLE_TOKENS", data.draw(st.sampled_from([1, 2, 256])))
        rows = data.draw(st.sampled_from([1, 2, 16]))
        patch.setattr(kernels, "block_rows", lambda *_: rows)
        latents = search.encode_batch_top_k(x, W, b, k, norms)
    pre = torch.addmm(b.double(), x.double(), W.double().T)
    ranked = pre if norms is None else pre * norms
    tolerance = 2 * float(rounding(x, W, b).max())
    strongest = ranked.flatten().topk(x.shape[0] * k).values
    found = dense_latents(latents)
    present = ~found.isnan()
    assert int(present.sum()) == latents.values.shape[0] <= strongest.shape[0]
    assert ((found - pre).abs()[present] <= tolerance).all()
    got = ranked[present].sort(descending=True).values
    expected = strongest[strongest > tolerance]
    assert len(got) >= len(expected)
    assert ((got[: len(expected)] - expected).abs() <= 2 * tolerance).all()
    least = search.smallest_ranked(latents, norms)
    assert float(least) == pytest.approx(float(got[-1]) if len(got) else 0.0, abs=2 * tolerance)


def test_strongest_of_a_batch_whose_sample_misleads() -> None:
    """The sampled tokens see nothing, or everything; several blocks; more entries than wanted at once."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(512, 24, generator=generator)
    for loud in ([0, 4, 8, 12], [1, 2, 3]):
        x = torch.randn(4096, 24, generator=generator)
        scale = torch.full((4096,), 0.01)
        for offset in loud:
            scale[offset::16] = 1.0
        x *= scale[:, None]
        latents = search.encode_batch_top_k(x, W, torch.zeros(512), 4)
        expected = (x @ W.T).flatten().topk(4 * 4096).values
        assert latents.values.shape == (4 * 4096,)
        torch.testing.assert_close(latents.values.sort(descending=True).values, expected)


def test_equal_entries_of_a_batch_are_taken_in_order() -> None:
    x, W = torch.ones(6, 8), torch.ones(256, 8)
    latents = search.encode_batch_top_k(x, W, torch.zeros(256), 3)
    assert latents.values.tolist() == [8.0] * 18
    assert latents.tokens.tolist() == [0] * 18
    again = search.encode_batch_top_k(x, W, torch.zeros(256), 3)
    assert torch.equal(latents.indices, again.indices)


@pytest.mark.parametrize("d_sae", [333, 336])
def test_a_dense_batch_is_noticed_early(d_sae: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    W, x = torch.randn(d_sae, 24, generator=generator), torch.randn(2000, 24, generator=generator)
    seen: list[int] = []
    plain = torch.addmm

    def counted(b: Tensor, x: Tensor, W: Tensor, **options: Tensor) -> Tensor:
        seen.append(x.shape[0])
        return plain(b, x, W, **options)

    monkeypatch.setattr(torch, "addmm", counted)
    assert search.encode_above_if_sparse(x, W, torch.zeros(d_sae), 0.0) is None
    assert sum(seen) <= 300
    sparse = search.encode_above_if_sparse(x, W, torch.full((d_sae,), -12.0), 0.0)
    assert sparse is not None
    torch.testing.assert_close(sparse.dense(), (x @ W.T - 12).relu())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "searches_in_bfloat16", lambda _, dtype: dtype == torch.float32)
    generator = torch.Generator().manual_seed(0)
    x, W = (torch.randn(n, 16, generator=generator).to(dtype) for n in (50, 200))
    b = torch.zeros(200, dtype=dtype)
    pre = x @ W.T
    latents = search.encode_batch_top_k(x, W, b, 5)
    assert latents.values.dtype == dtype
    assert latents.values.shape == (250,)
    assert latents.values.min() >= pre.flatten().topk(250).values.min() - 1e-2
    above = search.encode_above(x, W, b, 6.0)
    torch.testing.assert_close(above.dense(), torch.where(pre > 6.0, pre, 0))


def test_no_tokens() -> None:
    empty, W, b = torch.zeros(0, 8), torch.randn(256, 8), torch.zeros(256)
    for latents in (search.encode_batch_top_k(empty, W, b, 2), search.encode_above(empty, W, b, 0.0)):
        assert latents.n_tokens == 0
        assert latents.values.shape == (0,)
        assert search.smallest_ranked(latents) == 0
