"""Running again from a hook point gives what running everything with the same change gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mistudio.lm import HookNotFound, parse_hook
from mistudio.lm.model import LanguageModel
from mistudio.lm.splice import Splicer

TOKENS = torch.randint(3, 97, (3, 14), generator=torch.Generator().manual_seed(0))


def noisy(activations: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return activations + 0.3 * torch.randn(activations.shape, generator=generator)


def test_every_hook_point_of_every_family(tiny: LanguageModel) -> None:
    hooks = [h.name for h in tiny.hook_points() if h.d == tiny.d_model]
    splicer = Splicer(tiny, hooks)
    run = splicer.run(TOKENS)
    assert torch.equal(run.logits, tiny.logits(TOKENS))
    ran: list[int] = []
    handles = [
        next(iter(block.children())).register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, block in enumerate(tiny.blocks)
    ]
    for name in hooks:
        new = noisy(run.activations[name])
        whole = tiny.logits(TOKENS, interventions={name: lambda _, __, new=new: new})
        hook = parse_hook(name)
        first = (hook.layer or 0) + (hook.kind == "resid_post")
        assert first == 0 or splicer.resumes_at(first)
        ran.clear()
        torch.testing.assert_close(run.logits_with({name: new}), whole)
        assert set(ran) == set(range(first, tiny.n_layers)), name
    for handle in handles:
        handle.remove()
    assert torch.equal(tiny.logits(TOKENS), run.logits), "the model is left as it was"


def test_padding_and_several_places_at_once(tiny: LanguageModel) -> None:
    hooks = ["blocks.1.hook_resid_post", "blocks.2.hook_mlp_out"]
    mask = torch.ones_like(TOKENS, dtype=torch.bool)
    mask[1, 9:] = False
    run = Splicer(tiny, hooks).run(TOKENS, mask)
    new = {name: noisy(run.activations[name]) for name in hooks}
    changed: Any = {name: (lambda _, __, t=t: t) for name, t in new.items()}
    whole = tiny.logits(TOKENS, attention_mask=mask, interventions=changed)
    torch.testing.assert_close(run.logits_with(new), whole)


@pytest.mark.parametrize("family", ["llama"], scope="session")
def test_a_model_that_cannot_be_cut_is_run_whole(tiny: LanguageModel) -> None:
    """Blocks that share more than the residual stream: here the last one also reads what the first one made."""
    made: dict[str, Any] = {"mlp": 0.0}
    first, last = tiny.blocks[0].get_submodule("mlp"), tiny.blocks[2].get_submodule("mlp")

    def starts_anew(*_: Any) -> None:
        made["mlp"] = 0.0

    handles = [
        tiny.decoder.register_forward_pre_hook(starts_anew),
        first.register_forward_hook(lambda _, __, out: made.update(mlp=out)),
        last.register_forward_hook(lambda _, __, out: out + made["mlp"]),
    ]
    try:
        name = "blocks.1.hook_resid_post"
        splicer = Splicer(tiny, [name])
        run = splicer.run(TOKENS)
        assert not splicer.resumes_at(2)
        torch.testing.assert_close(run.logits_with({name: run.activations[name]}), run.logits)
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("family", ["llama"], scope="session")
def test_unknown_places_are_refused(tiny: LanguageModel) -> None:
    with pytest.raises(HookNotFound):
        Splicer(tiny, ["blocks.9.hook_resid_post"])


@pytest.mark.parametrize("family", ["llama"], scope="session")
def test_a_module_of_the_model_is_replaced_in_a_whole_pass(tiny: LanguageModel) -> None:
    name = "model.layers.1.mlp.up_proj"
    run = Splicer(tiny, [name]).run(TOKENS)
    new = noisy(run.activations[name])
    whole = tiny.logits(TOKENS, interventions={name: lambda _, __: new})
    torch.testing.assert_close(run.logits_with({name: new}), whole)
