"""Every family's hook points against Transformers itself, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mistudio.lm import HookNotFound, estimate
from mistudio.lm.model import LanguageModel
from tests.lm.conftest import FAMILIES, PARALLEL, tiny_hf

TOKENS = torch.randint(3, 97, (3, 20), generator=torch.Generator().manual_seed(0))


def hidden_states(model: LanguageModel, tokens: torch.Tensor) -> Any:
    with torch.no_grad():
        return model.hf(tokens, output_hidden_states=True).hidden_states


def test_residual_hooks_equal_output_hidden_states(tiny: LanguageModel) -> None:
    names = [h.name for h in tiny.hook_points() if h.kind in ("resid_pre", "resid_post")]
    found = tiny.activations(TOKENS, names)
    expected = hidden_states(tiny, TOKENS)
    for layer in range(tiny.n_layers):
        assert torch.equal(found[f"blocks.{layer}.hook_resid_pre"], expected[layer])
        if layer + 1 < tiny.n_layers:
            assert torch.equal(found[f"blocks.{layer}.hook_resid_post"], expected[layer + 1])
    # Transformers' last hidden state has been through the final norm.
    last = found[f"blocks.{tiny.n_layers - 1}.hook_resid_post"]
    assert torch.equal(tiny.final_norm(last), expected[-1])


def test_contributions_add_up_to_the_residual_stream(tiny: LanguageModel, family: str) -> None:
    assert len(tiny.hook_points()) == tiny.n_layers * (6 if family in PARALLEL else 7)
    found = tiny.activations(TOKENS, [h.name for h in tiny.hook_points()])
    for layer in range(tiny.n_layers):
        at = {h.kind: found[h.name] for h in tiny.hook_points() if h.layer == layer}
        assert at.pop("attn_z").shape == (3, 20, tiny.hook_point(f"blocks.{layer}.attn.hook_z").d)
        assert all(tensor.shape == (3, 20, tiny.d_model) for tensor in at.values())
        total = at["resid_pre"] + at["attn_out"] + at["mlp_out"]
        torch.testing.assert_close(total, at["resid_post"])
        if family not in PARALLEL:
            assert torch.equal(at["resid_pre"] + at["attn_out"], at["resid_mid"])
            assert torch.equal(at["resid_mid"] + at["mlp_out"], at["resid_post"])


def test_the_heads_outputs_through_w_o_are_what_attention_adds(tiny: LanguageModel) -> None:
    hook, out = "blocks.1.attn.hook_z", "blocks.1.hook_attn_out"
    found = tiny.activations(TOKENS, [out, hook])
    point = tiny.hook_point(hook)
    assert (point.n_heads, point.d) == (4, found[hook].shape[-1])
    children: dict[str, Any] = dict(tiny.blocks[1].named_children())
    attention = next(m for n, m in children.items() if n in ("self_attn", "attn", "attention"))
    w_o = next(m for n, m in attention.named_children() if n in ("o_proj", "c_proj", "dense"))
    # A norm follows the attention where the block has four (Gemma) or only such (OLMo 2).
    post = "post_feedforward_layernorm" in children
    norm = children["post_attention_layernorm"] if post else torch.nn.Identity()
    with torch.no_grad():
        assert torch.equal(norm(w_o(found[hook])), found[out])
        # W_O head by head, as the field writes it: the heads' contributions and the bias are the whole.
        weight = w_o.weight.T if type(w_o).__name__ != "Conv1D" else w_o.weight
        heads = found[hook].unflatten(-1, (4, -1))
        parts = torch.einsum("bshd,hdm->bsm", heads, weight.unflatten(0, (4, -1)))
        bias = w_o.bias if w_o.bias is not None else 0
        torch.testing.assert_close(norm(parts + bias), found[out], rtol=1e-4, atol=1e-5)


def test_one_head_is_its_slice_of_z(tiny: LanguageModel) -> None:
    heads = [f"blocks.2.attn.hook_z[{i}]" for i in range(4)]
    found = tiny.activations(TOKENS, ["blocks.2.attn.hook_z", *heads])
    assert torch.equal(torch.cat([found[h] for h in heads], dim=-1), found["blocks.2.attn.hook_z"])
    assert tiny.hook_point(heads[3]).d == found[heads[3]].shape[-1]
    with pytest.raises(HookNotFound, match="4 heads, counted from 0") as error:
        tiny.activations(TOKENS, ["blocks.2.attn.hook_z[4]"])
    assert "blocks.2.attn.hook_z[0]" in error.value.hint


def test_a_head_can_be_changed_alone(tiny: LanguageModel) -> None:
    """Zeroing a head is zeroing its slice of z, and only what lies behind it moves."""
    hooks = ["blocks.1.hook_resid_pre", "blocks.1.attn.hook_z", "blocks.1.hook_attn_out"]
    d = tiny.hook_point("blocks.1.attn.hook_z[0]").d

    def without(z: torch.Tensor) -> torch.Tensor:
        return torch.cat([z[..., :d], torch.zeros_like(z[..., d : 2 * d]), z[..., 2 * d :]], dim=-1)

    before = tiny.activations(TOKENS, hooks)
    with tiny.changing({"blocks.1.attn.hook_z[1]": torch.zeros_like}):
        alone = tiny.activations(TOKENS, hooks)
    with tiny.changing({"blocks.1.attn.hook_z": without}):
        sliced = tiny.activations(TOKENS, hooks)
    assert torch.equal(alone[hooks[0]], before[hooks[0]])
    assert torch.equal(alone[hooks[1]], without(before[hooks[1]]))
    assert torch.equal(alone[hooks[2]], sliced[hooks[2]])
    assert not torch.equal(alone[hooks[2]], before[hooks[2]])
    with (
        pytest.raises(ValueError, match="must keep the shape"),
        tiny.changing({"blocks.1.attn.hook_z[1]": lambda z: z[..., :1]}),
    ):
        tiny.activations(TOKENS, hooks)
    after = tiny.activations(TOKENS, hooks)
    assert all(torch.equal(after[hook], before[hook]) for hook in hooks)


def test_a_fingerprint_names_what_a_model_computes(tiny: LanguageModel, family: str) -> None:
    again = LanguageModel(tiny_hf(family), source="elsewhere")
    assert again.fingerprint == tiny.fingerprint
    other = tiny_hf(family)
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(1.001)
    assert LanguageModel(other).fingerprint != tiny.fingerprint
    assert LanguageModel(tiny_hf(family).to(torch.bfloat16)).fingerprint != tiny.fingerprint


def test_mlp_in_is_what_the_mlp_reads(tiny: LanguageModel) -> None:
    found = tiny.activations(TOKENS, ["blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out"])
    mlp = tiny.blocks[1].get_submodule("mlp")
    post_norm = getattr(tiny.blocks[1], "post_feedforward_layernorm", torch.nn.Identity())
    with torch.no_grad():
        assert torch.equal(post_norm(mlp(found["blocks.1.hook_mlp_in"])), found["blocks.1.hook_mlp_out"])


@pytest.mark.parametrize("family", sorted(PARALLEL), scope="session")
def test_a_parallel_block_has_no_middle_and_says_so(tiny: LanguageModel) -> None:
    with pytest.raises(HookNotFound, match="in parallel") as error:
        tiny.activations(TOKENS, ["blocks.0.hook_resid_mid"])
    assert "hook_resid_post" in error.value.hint and "hook_resid_mid" not in error.value.hint


def test_the_pass_stops_at_the_deepest_hook(tiny: LanguageModel) -> None:
    ran: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(tiny.blocks)
    ]
    head = tiny.hf.get_output_embeddings().register_forward_hook(lambda *_: ran.append(99))
    try:
        tiny.activations(TOKENS, ["blocks.1.hook_resid_pre", "blocks.0.hook_mlp_out"])
        assert ran == [0]
        ran.clear()
        tiny.activations(TOKENS, ["blocks.2.hook_resid_post"])
        assert ran == [0, 1, 2]
    finally:
        for handle in [*handles, head]:
            handle.remove()


def hooks_on(model: LanguageModel) -> list[int]:
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.hf.modules()]


def test_nothing_is_left_on_the_model(tiny: LanguageModel) -> None:
    before = hooks_on(tiny)
    tiny.activations(TOKENS, ["blocks.1.hook_mlp_out"])
    with pytest.raises(HookNotFound):
        tiny.activations(TOKENS, ["blocks.1.hook_mlp_out", "blocks.7.hook_mlp_out"])
    assert hooks_on(tiny) == before


def test_padding_changes_nothing_for_real_tokens(tiny: LanguageModel) -> None:
    hooks = ["blocks.0.hook_attn_out", "blocks.2.hook_resid_post"]
    short = tiny.activations(TOKENS[:1, :11], hooks)
    for left in (False, True):
        pad = torch.full((1, 9), 2)
        row = torch.cat([pad, TOKENS[:1, :11]] if left else [TOKENS[:1, :11], pad], dim=1)
        mask = torch.ones(2, 20, dtype=torch.bool)
        mask[0] = torch.arange(20) >= 9 if left else torch.arange(20) < 11
        found = tiny.activations(torch.cat([row, TOKENS[1:2]]), hooks, mask)
        for hook in hooks:
            torch.testing.assert_close(found[hook][0][mask[0]], short[hook][0], rtol=1e-4, atol=1e-5)


def test_module_paths_are_hooks_too(tiny: LanguageModel) -> None:
    path = next(name for name, module in tiny.hf.named_modules() if module is tiny.blocks[1])
    found = tiny.activations(
        TOKENS, [path, f"{path}:in", "blocks.1.hook_resid_post", "blocks.1.hook_resid_pre"]
    )
    assert torch.equal(found[path], found["blocks.1.hook_resid_post"])
    assert torch.equal(found[f"{path}:in"], found["blocks.1.hook_resid_pre"])
    assert tiny.hook_point(path).d == tiny.d_model
    with pytest.raises(HookNotFound, match="has no module"):
        tiny.hook_point(f"{path}.nothing")


def test_the_logit_lens_of_the_last_layer_is_the_model(tiny: LanguageModel) -> None:
    last = tiny.activations(TOKENS, [f"blocks.{tiny.n_layers - 1}.hook_resid_post"])
    torch.testing.assert_close(tiny.logit_lens(next(iter(last.values()))), tiny.logits(TOKENS))


def test_logits_of_directions(tiny: LanguageModel, family: str) -> None:
    directions = torch.randn(5, tiny.d_model, generator=torch.Generator().manual_seed(1))
    plain = tiny.logits_of_directions(directions)
    torch.testing.assert_close(plain, directions @ tiny.hf.get_output_embeddings().weight.T)
    norm = tiny.final_norm
    # Gemma keeps gain - 1; OLMo's norm has none to learn.
    learnt = torch.ones(tiny.d_model) if family == "olmo" else norm.weight
    gain = 1 + learnt if family.startswith("gemma") else learnt
    folded = tiny.logits_of_directions(directions, fold_final_norm=True)
    torch.testing.assert_close(folded, (directions * gain) @ tiny.unembedding.T, rtol=1e-4, atol=1e-4)


def test_a_layer_that_is_not_there_is_refused_with_what_is(tiny: LanguageModel) -> None:
    with pytest.raises(HookNotFound, match="3 layers, counted from 0") as error:
        tiny.hook_point("blocks.3.hook_resid_post")
    assert "blocks.0 to blocks.2" in error.value.hint


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_footprint_counts_the_real_parameters(family: str, tmp_path: Any) -> None:
    hf = tiny_hf(family)
    expected = sum(p.numel() for p in hf.parameters())
    assert estimate(hf.config.to_dict()).parameters == expected
    hf.save_pretrained(tmp_path)
    footprint = estimate(tmp_path, "bfloat16")
    assert (footprint.parameters, footprint.weight_bytes) == (expected, 2 * expected)
    assert (footprint.n_layers, footprint.d_model, footprint.vocab_size) == (3, 32, 97)
    with torch.no_grad():
        cache = hf(TOKENS[:1], use_cache=True).past_key_values
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    if "sliding_window" not in FAMILIES[family][1]:
        assert footprint.kv_cache_bytes_per_token * 20 == held * 2


@pytest.mark.slow
def test_the_real_model_equals_output_hidden_states(smollm2: LanguageModel) -> None:
    tokens = torch.randint(20, 49_000, (2, 48), generator=torch.Generator().manual_seed(0))
    found = smollm2.activations(tokens, [h.name for h in smollm2.hook_points()])
    expected = hidden_states(smollm2, tokens)
    for layer in range(30):
        assert torch.equal(found[f"blocks.{layer}.hook_resid_pre"], expected[layer])
        if layer < 29:
            assert torch.equal(found[f"blocks.{layer}.hook_resid_post"], expected[layer + 1])
        middle = found[f"blocks.{layer}.hook_resid_pre"] + found[f"blocks.{layer}.hook_attn_out"]
        assert torch.equal(middle, found[f"blocks.{layer}.hook_resid_mid"])
    assert torch.equal(smollm2.final_norm(found["blocks.29.hook_resid_post"]), expected[-1])
    # Stopping early must not change a bit of what comes before.
    alone = smollm2.activations(tokens, ["blocks.9.hook_resid_post"])
    assert torch.equal(alone["blocks.9.hook_resid_post"], expected[10])
