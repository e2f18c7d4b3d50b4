"""Hook names: parsed, written, and refused with what there is instead."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio.lm.hooks import BLOCK_KINDS, HookNotFound, format_hook, parse_hook


@given(st.integers(0, 10_000), st.sampled_from(BLOCK_KINDS))
def test_a_written_name_is_read_back(layer: int, kind: str) -> None:
    hook = parse_hook(format_hook(layer, kind))
    assert (hook.layer, hook.kind, str(hook)) == (layer, kind, format_hook(layer, kind))


def test_a_module_path_is_its_output_unless_its_input_is_asked_for() -> None:
    assert parse_hook("model.layers.3.mlp").side == "out"
    hook = parse_hook("model.layers.3.mlp:in")
    assert (hook.kind, hook.module, hook.side) == ("module", "model.layers.3.mlp", "in")
    assert str(hook) == "model.layers.3.mlp:in"


def test_a_head_is_chosen_in_brackets() -> None:
    hook = parse_hook("blocks.7.attn.hook_z[11]")
    assert (hook.kind, hook.layer, hook.head, str(hook)) == ("attn_z", 7, 11, "blocks.7.attn.hook_z[11]")
    assert parse_hook("blocks.7.attn.hook_z").head is None
    with pytest.raises(HookNotFound, match=r"only attn\.hook_z has heads"):
        parse_hook("blocks.7.hook_attn_out[2]")


@given(st.text(max_size=30))
def test_any_text_is_a_hook_or_a_clear_refusal(text: str) -> None:
    try:
        hook = parse_hook(text)
    except HookNotFound as error:
        assert error.message.endswith(".") and error.hint.endswith(".")
    else:
        assert parse_hook(str(hook)) == hook


def test_a_misspelt_kind_is_corrected() -> None:
    with pytest.raises(HookNotFound, match=r"Did you mean 'blocks\.3\.hook_resid_post'"):
        parse_hook("blocks.3.hook_resid_pst")
    for slip in ("blocks.3.hook_z", "blocks.3.hook_attn_z"):
        with pytest.raises(HookNotFound, match=r"Did you mean 'blocks\.3\.attn\.hook_z'"):
            parse_hook(slip)
    with pytest.raises(HookNotFound, match="Write it like"):
        parse_hook("blocks.three.hook_resid_post")


def test_names_configurations_and_headers_need_no_pytorch() -> None:
    program = (
        "import sys, mistudio.lm as lm;"
        "from mistudio.lm import parse_hook, HookPoint, ModelLoadError, estimate, hub_listing;"
        "import mistudio.lm.checkpoint, mistudio.lm.hub, mistudio.lm.footprint;"
        "parse_hook('blocks.1.hook_mlp_out');"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there() -> None:
    import mistudio.lm as lm
    import mistudio.lm.generation
    import mistudio.lm.harvesting  # noqa: F401

    for name in lm.__all__:
        assert getattr(lm, name).__module__ if name not in ("BLOCK_KINDS", "Intervention") else True
        assert not isinstance(getattr(lm, name), type(lm)), f"{name} is shadowed by a module"
    with pytest.raises(AttributeError):
        _ = lm.nothing  # type: ignore[attr-defined]
