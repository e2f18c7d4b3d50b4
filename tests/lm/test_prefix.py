"""Running a shared text once gives what whole passes give."""

from __future__ import annotations

import pytest
import torch

from mistudio.lm.model import LanguageModel
from mistudio.lm.prefix import Prefix

TEXT = [0, *range(5, 40)]
ENDS = torch.tensor([41, 7, 88, 3])
HOOKS = ["blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"]


def test_every_family(tiny: LanguageModel) -> None:
    found = Prefix(tiny, TEXT, HOOKS).followed_by(ENDS)
    whole = torch.cat([torch.tensor(TEXT).expand(4, -1), ENDS[:, None]], 1)
    for name, expected in tiny.activations(whole, HOOKS).items():
        torch.testing.assert_close(found[name], expected[:, -1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["llama"], scope="session")
def test_the_text_is_run_once(tiny: LanguageModel) -> None:
    prefix = Prefix(tiny, TEXT, HOOKS)
    prefix.followed_by(ENDS[:1])
    seen: list[int] = []
    handle = tiny.blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"]).shape[1]),
        with_kwargs=True,
    )
    try:
        prefix.followed_by(ENDS)
    finally:
        handle.remove()
    assert seen == [1]
