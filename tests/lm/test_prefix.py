"""Running a shared text once gives what whole passes give."""

from __future__ import annotations

import pytest
import torch

from mistudio.lm.model import LanguageModel
from mistudio.lm.prefix import SharedTexts

TEXT = [0, *range(5, 40)]
ENDS = torch.tensor([41, 7, 88, 3])
HOOKS = ["blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"]


def test_every_family(tiny: LanguageModel) -> None:
    found = SharedTexts(tiny, HOOKS).followed_by(TEXT, ENDS)
    whole = torch.cat([torch.tensor(TEXT).expand(4, -1), ENDS[:, None]], 1)
    for name, expected in tiny.activations(whole, HOOKS).items():
        torch.testing.assert_close(found[name], expected[:, -1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["llama"], scope="session")
def test_the_text_is_run_once(tiny: LanguageModel) -> None:
    texts = SharedTexts(tiny, HOOKS)
    texts.followed_by(TEXT, ENDS[:1])
    seen: list[int] = []
    handle = tiny.blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"]).shape[1]),
        with_kwargs=True,
    )
    try:
        texts.followed_by(TEXT, ENDS)
    finally:
        handle.remove()
    assert seen == [len(TEXT), 1]
