"""Weights in 8 and 4 bits, by bitsandbytes itself on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.lm import ModelLoadError, estimate, load_language_model
from mistudio.lm.quantization import Quantization, quantization_obstacle
from mistudio.lm.selftest import verify_hooks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded-random Llama whose rows are whole blocks of 64, as every real model's are."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("blocks")
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_quantized_model_is_nearly_the_model_and_its_hooks_hold(kind: Quantization, folder: Path) -> None:
    plain = load_language_model(folder, device="cpu")
    small = load_language_model(folder, device="cpu", quantization=kind)
    linear: Any = small.blocks[0].get_submodule("mlp.gate_proj")
    assert type(linear).__name__ == ("Linear8bitLt" if kind == "int8" else "Linear4bit")
    assert [p.name for p in small.hook_points()] == [p.name for p in plain.hook_points()]
    assert verify_hooks(small).passed
    tokens = torch.arange(3, 40).unsqueeze(0)
    hook = "blocks.0.hook_mlp_out"
    ours, theirs = (model.activations(tokens, [hook])[hook].float() for model in (small, plain))
    gap = float((ours - theirs).norm() / theirs.norm())
    # A random model's layers each double the error of the one before: the first says what rounding costs.
    assert 0 < gap < (0.05 if kind == "int8" else 0.5)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_the_forecast_is_what_the_weights_take(kind: Quantization, folder: Path) -> None:
    small = load_language_model(folder, device="cpu", dtype="bfloat16", quantization=kind)
    held = sum(p.numel() * p.element_size() for p in small.hf.parameters())
    if kind == "int4":  # the scales lie beside the parameters
        linear = [m for m in small.hf.modules() if type(m).__name__ == "Linear4bit"]
        held += sum(m.weight.quant_state.absmax.nbytes for m in linear)
    # Norms and biases are counted as if they were quantized.
    norms = sum(p.numel() for p in small.hf.parameters() if p.ndim == 1)
    assert estimate(folder, kind).weight_bytes == pytest.approx(held, abs=2 * norms + 1)


def test_a_machine_that_cannot_says_so() -> None:
    assert quantization_obstacle("none", cuda=False) is None
    assert quantization_obstacle("int8", cuda=False) is None


def test_it_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelLoadError, match="bitsandbytes") as refused:
        load_language_model(tmp_path / "nowhere", device="cpu", quantization="int4")
    assert refused.value.code == "no_quantization"


def test_rows_that_are_no_whole_blocks_are_refused_on_a_cpu(tiny_llama_folder: Path) -> None:
    with pytest.raises(ModelLoadError, match="take multiples of 64") as refused:
        load_language_model(tiny_llama_folder, device="cpu", quantization="int4")
    assert refused.value.code == "no_quantization"
