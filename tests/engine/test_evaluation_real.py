"""The shortcuts and tasks of evaluations on the real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.engine import EvaluationSettings, evaluate
from mistudio.lm import LanguageModel, load_language_model
from mistudio.lm.splice import Splicer
from mistudio.sae import SAE, StandardConfig

pytestmark = pytest.mark.slow
HOOK = "blocks.6.hook_resid_post"


@pytest.fixture(scope="module")
def model(smollm2_folder: Path) -> LanguageModel:
    return load_language_model(smollm2_folder, device="cpu")


def ids(model: LanguageModel, addresses: list[Any]) -> torch.Tensor:
    found = model.tokenizer(addresses[-1].text, truncation=True, max_length=192)["input_ids"]
    tokens = torch.tensor(found).view(4, 48)
    # Left as it is: the model puts attention there that it does not need.
    tokens[:, 0] = model.tokenizer.bos_token_id
    return tokens


def test_a_splice_equals_the_whole_pass(model: LanguageModel, sotu_addresses: list[Any]) -> None:
    tokens = ids(model, sotu_addresses)[:2]
    splicer = Splicer(model, [HOOK])
    run = splicer.run(tokens)
    new = 0.9 * run.activations[HOOK]
    whole = model.logits(tokens, interventions={HOOK: lambda _, __: new})
    assert splicer.resumes_at(7)
    torch.testing.assert_close(run.logits_with({HOOK: new}), whole, rtol=1e-3, atol=1e-3)


def test_the_model_spells_and_shrinkage_costs_loss(model: LanguageModel, sotu_addresses: list[Any]) -> None:
    lossless = SAE(StandardConfig(), 576, 1152, metadata={"hook_name": HOOK})
    lossless.W_enc.copy_(torch.cat([torch.eye(576), -torch.eye(576)]))
    lossless.W_dec.copy_(lossless.W_enc)
    shrinking = SAE(StandardConfig(), 576, 1152, metadata={"hook_name": HOOK})
    shrinking.W_enc.copy_(lossless.W_enc)
    shrinking.W_dec.copy_(0.5 * lossless.W_dec)
    settings = EvaluationSettings(tokens=192, spliced_tokens=192, absorption=True, words=2_000)
    found = evaluate([lossless, shrinking], model, ids(model, sotu_addresses), settings=settings)
    good, poor = (report.metrics for report in found)
    assert 2 < float(good["ce_loss_without_sae"] or 0) < 5
    assert float(good["ce_loss_score"] or 0) == pytest.approx(1, abs=1e-3)
    assert good["ce_loss_without_sae"] < good["ce_loss_with_mean"] < good["ce_loss_with_ablation"]  # type: ignore[operator]
    assert poor["l2_ratio"] == pytest.approx(0.5, rel=1e-3)
    assert float(poor["ce_loss_with_sae"] or 0) > float(good["ce_loss_with_sae"] or 0) + 0.01
    # The first letter can be read off the residual stream of this model.
    assert float(good["absorption_letters"] or 0) >= 15
