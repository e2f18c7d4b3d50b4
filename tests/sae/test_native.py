"""The compiled kernels are optional: they give what PyTorch gives, and everything works without them.

What the search finds with and without them is tested in `test_search.py`.
"""

import logging
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.sae import kernels, native, search
from mistudio.sae.latents import Latents

COMPILER = shutil.which("c++") or shutil.which("g++")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of its own, and nothing loaded yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.library.cache_clear()
    yield tmp_path / "mistudio" / "native"
    native.library.cache_clear()


@pytest.mark.slow
def test_is_compiled_once_or_not_at_all(fresh: Path) -> None:
    if COMPILER is None:
        assert native.library() is None
        assert not fresh.exists()
        return
    assert native.library() is not None
    (made,) = fresh.iterdir()
    before = made.stat().st_mtime_ns
    native.library.cache_clear()
    assert native.library() is not None
    assert [path.stat().st_mtime_ns for path in fresh.iterdir()] == [before]


def test_can_be_turned_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTUDIO_NATIVE", "0")
    assert native.library() is None
    assert not native.serves(torch.zeros(2, 3))
    assert not fresh.exists()


@pytest.mark.parametrize("says", ["exit 1", "echo version 1"])
def test_a_compiler_that_does_not_work_is_not_missed(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, says: str
) -> None:
    """One that fails, and one that says it is fine but writes nothing."""
    broken = fresh.parent.parent / "broken-c++"
    broken.write_text(f"#!/bin/sh\n{says}\n")
    broken.chmod(stat.S_IRWXU)
    monkeypatch.setenv("CXX", str(broken))
    with caplog.at_level(logging.INFO, "mistudio.sae.native"):
        assert native.library() is None
    assert "PyTorch's own are used" in caplog.text
    x, W = torch.randn(5, 8), torch.randn(128, 8)
    assert search.encode_top_k(x, W, torch.zeros(128), 2).n_tokens == 5
    assert not list(fresh.glob("*"))


def test_only_what_they_can_read_is_given_to_them() -> None:
    assert not native.serves(torch.zeros(2, 3, dtype=torch.float64))
    assert not native.serves(torch.zeros(2, 3), torch.zeros(3, 2).T)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), d=st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_rounding_is_that_of_pytorch(seed: int, n: int, d: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=generator) * 10 ** (torch.rand(n, 1, generator=generator) * 30 - 15)
    low, norms, errors = search._rounded(rows)
    assert torch.equal(low, rows.bfloat16())
    torch.testing.assert_close(norms, rows.double().norm(dim=1).float(), rtol=1e-5, atol=1e-22)
    lost = (rows.double() - rows.bfloat16().double()).norm(dim=1).float()
    torch.testing.assert_close(errors, lost, rtol=1e-5, atol=1e-22)


def test_rounding_special_values() -> None:
    rows = torch.tensor([[float("inf"), float("nan"), -float("inf"), 3.4e38, -0.0, 1e-45]])
    low, _, _ = search._rounded(rows)
    assert torch.equal(low.nan_to_num(7), rows.bfloat16().nan_to_num(7))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 9), d=st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_products_equal_pytorchs(seed: int, n: int, d: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.rand(n, 20, generator=generator)
    latents = Latents.from_dense(z * (z > 0.6))
    rows, W = torch.randn(n, d, generator=generator), torch.randn(20, d, generator=generator)
    found = kernels.products(latents, rows, W)
    torch.testing.assert_close(found, (rows @ W.T)[latents.tokens, latents.indices], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_results_do_not_depend_on_the_number_of_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "searches_in_bfloat16", lambda *_: True)
    generator = torch.Generator().manual_seed(0)
    x, W = torch.randn(37, 40, generator=generator), torch.randn(512, 40, generator=generator)
    b = torch.randn(512, generator=generator) * 0.1

    def results() -> list[torch.Tensor]:
        found = [search.encode_top_k(x, W, b, 4), search.encode_above(x, W, b, 9.0)]
        found.append(search.encode_batch_top_k(x, W, b, 4))
        tensors = [t for f in found for t in (f.values, f.indices, f.offsets)]
        return [*tensors, kernels.products(found[0], x, W)]

    alone = results()
    torch.set_num_threads(threads)
    together = results()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
