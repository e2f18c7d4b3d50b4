"""Weights laid out for oneDNN give the plain layers' results, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mistudio.lm import load_language_model
from mistudio.lm.model import LanguageModel
from mistudio.lm.packed import PackedLayers, rotary
from tests.lm.conftest import FAMILIES, tiny_hf


@pytest.fixture(scope="module")
def model(tiny_llama_folder: Path):
    return load_language_model(tiny_llama_folder, device="cpu")


def test_the_same_up_to_rounding(model):
    tokens = torch.randint(3, 500, (16, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model.decoder(input_ids=tokens, use_cache=False).last_hidden_state
        with PackedLayers().over(model.blocks, tokens.numel()):
            assert "forward" in vars(model.blocks[0].mlp)
            assert "forward" in vars(model.blocks[0].self_attn)
            packed = model.decoder(input_ids=tokens, use_cache=False).last_hidden_state
    torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-5)
    assert not any("forward" in vars(m) for block in model.blocks for m in block.modules())


def test_few_rows_and_other_types_stay_plain(model):
    with PackedLayers().over(model.blocks, 16):
        assert "forward" not in vars(model.blocks[0].mlp)
    half = torch.nn.Sequential(torch.nn.Linear(8, 8).bfloat16())
    with PackedLayers().over([half], 4096):
        assert "forward" not in vars(half[0])


def test_a_changed_weight_is_laid_out_anew():
    layer = torch.nn.Linear(8, 8)
    block, packed, x = torch.nn.Sequential(layer), PackedLayers(), torch.randn(600, 8)
    with torch.no_grad():
        with packed.over([block], 600):
            before = block(x)
        layer.weight.mul_(2)
        with packed.over([block], 600):
            after = block(x)
        torch.testing.assert_close(after, layer(x))
    assert not torch.allclose(before, after)


def test_a_hook_inside_an_mlp_is_still_called(model):
    seen = []
    handle = model.blocks[0].mlp.act_fn.register_forward_hook(lambda *_: seen.append(1))
    tokens = torch.randint(3, 500, (16, 64))
    with torch.no_grad(), PackedLayers().over(model.blocks, tokens.numel()):
        model.decoder(input_ids=tokens, use_cache=False)
    handle.remove()
    assert seen


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_the_same(family: str):
    model = LanguageModel(tiny_hf(family))
    tokens = torch.randint(3, 90, (16, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = model.decoder(input_ids=tokens, use_cache=False).last_hidden_state
        with PackedLayers().over(model.blocks, 4096):
            packed = model.decoder(input_ids=tokens, use_cache=False).last_hidden_state
    torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_rotary_turns_halves_of_a_head_against_each_other(batch: int):
    heads, tokens, d = 4, 7, 10
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(3, tokens, heads, d, generator=generator, dtype=torch.float64).transpose(1, 2)
    k = torch.randn(3, 2, tokens, d, generator=generator, dtype=torch.float64)
    angle = torch.randn(batch, tokens, d // 2, generator=generator, dtype=torch.float64).repeat(1, 1, 2)
    for x, turned in zip((q, k), rotary(q, k, angle.cos(), angle.sin()), strict=True):
        pairs = torch.complex(x[..., : d // 2], x[..., d // 2 :])
        wanted = pairs * torch.exp(1j * angle[:, None, :, : d // 2])
        torch.testing.assert_close(turned, torch.cat((wanted.real, wanted.imag), -1))
