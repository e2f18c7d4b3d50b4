"""Steering the real model: a direction that means something must show in the text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mistudio.lm import load_language_model
from mistudio.sae import SAE, StandardConfig
from mistudio.steering.compare import Edit, steer

pytestmark = pytest.mark.slow
HOOK = "blocks.12.hook_resid_post"


def test_a_direction_of_war_makes_the_text_one_of_war(smollm2_folder: Path) -> None:
    model = load_language_model(smollm2_folder, device="cpu")

    def mean(texts: list[str]) -> torch.Tensor:
        found = [
            model.activations(torch.tensor([model.tokenizer(t)["input_ids"]]), [HOOK])[HOOK][0, 1:]
            for t in texts
        ]
        return torch.cat(found).mean(0)

    war = mean(
        [
            "The soldiers fought a bloody war.",
            "Armies and battles of the war.",
            "The war killed many soldiers.",
        ]
    )
    plain = mean(
        ["The children baked a sweet cake.", "Gardens and rivers of the land.", "The shop sold many apples."]
    )
    direction = war - plain
    sae = SAE(StandardConfig(), model.d_model, 1, metadata={"hook_name": HOOK})
    sae.W_enc[0], sae.W_dec[0] = direction / direction.norm() ** 2, direction
    sae.b_enc[0] = -float(sae.W_enc[0] @ plain)  # 0 on plain text, 1 on text of war

    both = steer(model, sae, "In the morning we", [Edit(0, 2.0)], max_new_tokens=24)
    assert both.unsteered is not None
    words = ("war", "soldier", "battle", "army", "troop", "enem", "fight", "attack", "fought", "military")
    assert any(word in both.steered.text.lower() for word in words), both.steered.text
    assert not any(word in both.unsteered.text.lower() for word in words), both.unsteered.text
    assert both.steered.perplexity and both.unsteered.perplexity
    assert both.steered.perplexity > both.unsteered.perplexity
    clamped = steer(model, sae, "In the morning we", [Edit(0, 2.5, "clamp")], max_new_tokens=24)
    assert any(word in clamped.steered.text.lower() for word in words), clamped.steered.text
