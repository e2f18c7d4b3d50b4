"""Weights laid out for oneDNN give the plain layers' results, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mistudio.lm import load_language_model
from mistudio.lm.packed import PackedLayers


@pytest.fixture(scope="module")
def model(tiny_llama_folder: Path):
    return load_language_model(tiny_llama_folder, device="cpu")


def test_the_same_up_to_rounding(model):
    tokens = torch.randint(3, 500, (16, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model.decoder(input_ids=tokens, use_cache=False).last_hidden_state
        with PackedLayers().over(model.blocks, tokens.numel()):
            assert "forward" in vars(model.blocks[0].mlp)
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
