"""The Triton kernels in Triton's own interpreter, against PyTorch: no GPU is needed to test what they compute."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistudio.sae import kernels, native
from mistudio.sae.kernels import ByLatent
from mistudio.sae.latents import Latents

NAME = "mistudio.sae.triton_kernels"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton is made for Linux only")


@pytest.fixture(scope="module")
def interpreted() -> Iterator[ModuleType]:
    """The module with its kernels in the interpreter, on which Triton decides while it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for name in [name for name in sys.modules if name.split(".")[0] == "triton"]:
            if not name.startswith("triton._C"):  # the compiled part is loaded once
                del sys.modules[name]
        patch.delitem(sys.modules, NAME, raising=False)
        yield importlib.import_module(NAME)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Latents, Tensor, Tensor]:
    """Latents with tokens that have none or many, rows [N, d] and weights [m, d]."""
    n, m = draw(st.integers(0, 4)), draw(st.integers(1, 40))
    d = draw(st.sampled_from([1, 7, 16, 40, 300]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    keep = torch.rand(n, m, generator=generator) < torch.rand(n, 1, generator=generator)
    latents = Latents.from_dense(torch.rand(n, m, generator=generator) * keep)
    return latents, torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)


@pytest.mark.slow
@given(problem=problems())
@settings(max_examples=25, deadline=None)
def test_equal_the_dense_products(interpreted: ModuleType, problem: tuple[Latents, Tensor, Tensor]) -> None:
    latents, rows, W = problem
    z = latents.dense()
    decoded = interpreted.weighted_sums(latents.offsets, latents.indices, latents.values, W)
    torch.testing.assert_close(decoded, z @ W)
    dots = interpreted.products(latents.offsets, latents.indices, rows, W)
    torch.testing.assert_close(dots, (rows @ W.T)[latents.tokens, latents.indices])
    by_latent = ByLatent.of(latents)
    gradient = interpreted.weighted_sums(
        by_latent.offsets, by_latent.tokens, latents.values, rows, by_latent.order
    )
    torch.testing.assert_close(gradient, z.T @ rows)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_summed_in_float32(interpreted: ModuleType, dtype: torch.dtype) -> None:
    z = torch.rand(2, 600, generator=torch.Generator().manual_seed(0)).to(dtype)
    latents = Latents.from_dense(z)
    W = torch.ones(600, 16, dtype=dtype)
    found = interpreted.weighted_sums(latents.offsets, latents.indices, latents.values, W)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.float(), z.float().sum(1, keepdim=True).expand(-1, 16), rtol=1e-2, atol=0
    )


def test_are_what_kernels_uses_where_they_serve(
    interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the tensors of this test were on a GPU."""
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(4, 12, generator=generator)
    latents = Latents.from_dense(z * (z > 0.5))
    rows, W = torch.randn(4, 20, generator=generator), torch.randn(12, 20, generator=generator)
    by_latent = ByLatent.of(latents)
    monkeypatch.setattr(native, "library", lambda: None)

    def everything() -> list[Tensor]:
        return [
            kernels.decode(latents, W),
            kernels.products(latents, rows, W),
            by_latent.weight_gradients(latents.values, rows),
        ]

    expected = everything()
    calls: list[str] = []

    def counted(name: str) -> Any:
        plain = getattr(interpreted, name)

        def call(*arguments: Any) -> Tensor:
            calls.append(name)
            return plain(*arguments)

        return call

    monkeypatch.setattr(kernels, "triton_kernels", interpreted)
    monkeypatch.setattr(interpreted, "serves", lambda _: True)
    for name in ("weighted_sums", "products"):
        monkeypatch.setattr(interpreted, name, counted(name))
    found = everything()
    assert calls == ["weighted_sums", "products", "weighted_sums"]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
def test_needs_no_triton_to_be_imported() -> None:
    code = (
        "import sys, importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name == 'triton' else found(name, *a)\n"
        "import torch; from mistudio.sae import triton_kernels\n"
        "assert triton_kernels.triton is None and not triton_kernels.serves(torch.zeros(2, 2))\n"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
