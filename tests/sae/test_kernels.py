import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.sae import kernels
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents


@given(
    n=st.integers(1, 7),
    m=st.integers(1, 300),
    k=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    ties=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_top_k_is_exact(n: int, m: int, k: int, seed: int, ties: bool) -> None:
    k = min(k, m)
    pre = torch.randn(n, m, generator=torch.Generator().manual_seed(seed))
    if ties:
        pre = pre.round()
    values, indices = kernels.top_k(pre, k)
    expected = pre.topk(k).values
    assert torch.equal(values.sort(dim=1, descending=True).values, expected)
    assert torch.equal(pre.gather(1, indices), values)
    assert all(len(set(row)) == k for row in indices.tolist())


@st.composite
def sparse_latents(draw: st.DrawFn) -> Latents:
    n, m = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    keep = torch.rand(n, m, generator=generator) < density
    return Latents.from_dense(torch.rand(n, m, generator=generator, dtype=torch.float64).add(0.1) * keep)


@given(latents=sparse_latents(), seed=st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_sparse_products_equal_dense_ones(latents: Latents, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    d = 5
    W = torch.randn(latents.d_sae, d, generator=generator, dtype=torch.float64)
    g = torch.randn(latents.n_tokens, d, generator=generator, dtype=torch.float64)
    z = latents.dense()
    torch.testing.assert_close(kernels.decode(latents, W), z @ W)
    by_latent = ByLatent.of(latents)
    torch.testing.assert_close(by_latent.weight_gradients(latents.values, g), z.T @ g)
    torch.testing.assert_close(by_latent.sums(latents.values), z.sum(0))
    dv = kernels.products(latents, g, W)
    torch.testing.assert_close(dv, (g @ W.T)[latents.tokens, latents.indices])


@given(latents=sparse_latents())
@settings(max_examples=100, deadline=None)
def test_latents_round_trip(latents: Latents) -> None:
    again = Latents.from_dense(latents.dense())
    assert torch.equal(again.dense(), latents.dense())
    assert (latents.values > 0).all()
    assert latents.offsets[0] == 0
    assert latents.offsets[-1] == latents.values.shape[0]
    halves = [Latents.from_dense(part) for part in latents.dense().split(3)]
    assert torch.equal(Latents.concatenate(halves).dense(), latents.dense())
    assert torch.equal(latents.fired(), (latents.dense() > 0).any(0))


def test_top_k_drops_what_is_not_positive() -> None:
    values = torch.tensor([[1.0, -2.0], [0.0, 3.0], [-1.0, -1.0]])
    latents = Latents.from_top_k(values, torch.tensor([[0, 1], [2, 3], [0, 1]]), 5)
    assert latents.values.tolist() == [1.0, 3.0]
    assert latents.indices.tolist() == [0, 3]
    assert latents.offsets.tolist() == [0, 1, 2, 2]


def test_encoding_does_not_depend_on_the_block() -> None:
    """More tokens than a block holds, and the same tokens one by one."""
    from mistudio.sae import SAE, TopKConfig

    sae = SAE(TopKConfig(k=3), 8, 50_000)
    generator = torch.Generator().manual_seed(0)
    sae.W_enc.data.copy_(torch.randn(50_000, 8, generator=generator))
    x = torch.randn(300, 8, generator=generator)
    assert kernels.block_rows(50_000, x.device, 4) < 300
    together = sae.encode(x)
    assert together.n_tokens == 300
    for n in (0, 150, 299):
        alone = sae.encode(x[n : n + 1])
        part = slice(int(together.offsets[n]), int(together.offsets[n + 1]))
        assert set(alone.indices.tolist()) == set(together.indices[part].tolist())


def test_top_k_tells_close_doubles_apart() -> None:
    pre = torch.zeros(1, 400, dtype=torch.float64)
    pre[0, 37] = 1.0
    pre[0, 5] = 1.0 + 1e-12
    assert kernels.top_k(pre, 1)[1].item() == 5
    half = pre.to(torch.bfloat16) + torch.arange(400, dtype=torch.bfloat16)
    assert kernels.top_k(half, 3)[0].sum() == half.float().topk(3).values.sum()
