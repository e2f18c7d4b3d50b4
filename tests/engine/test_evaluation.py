"""One call measures dictionaries with their model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.engine import EVALUATION_METRICS, EvaluationSettings, Report, evaluate
from mistudio.engine.errors import ActivationsRefused
from mistudio.engine.evaluation import structure
from mistudio.engine.evaluation.core import NothingToEvaluate
from mistudio.engine.evaluation.sites import DictionaryMisplaced
from mistudio.lm import HookNotFound, LanguageModel, load_language_model
from mistudio.sae import SAE, StandardConfig, TopKConfig, metrics

D = 32
HOOK = "blocks.1.hook_resid_post"
SETTINGS = EvaluationSettings(tokens=2_000, spliced_tokens=300, batch_size=4)


@pytest.fixture(scope="module")
def model(tiny_llama_folder: Path) -> LanguageModel:
    return load_language_model(tiny_llama_folder, device="cpu")


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    ids = torch.randint(3, 512, (12, 20), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 0  # the beginning of the text: a special token
    return ids


def some_sae(k: int = 4, hook: str = HOOK, **others: Any) -> SAE:
    sae = SAE(TopKConfig(k=k), D, 80, metadata={"hook_name": hook}, **others)
    generator = torch.Generator().manual_seed(k)
    for parameter in sae.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return sae


def identity(hook: str = HOOK, d: int = D) -> SAE:
    """x = relu(x) - relu(-x): a dictionary that loses nothing."""
    sae = SAE(StandardConfig(), d, 2 * d, metadata={"hook_name": hook})
    sae.W_enc.copy_(torch.cat([torch.eye(d), -torch.eye(d)]))
    sae.W_dec.copy_(sae.W_enc)
    return sae


def counted(model: LanguageModel, tokens: torch.Tensor, hook: str) -> torch.Tensor:
    return model.activations(tokens, [hook])[hook][:, 1:].flatten(0, 1)


def test_a_dictionary_that_loses_nothing(model: LanguageModel, tokens: torch.Tensor) -> None:
    found = evaluate(identity(), model, tokens, settings=SETTINGS).metrics
    assert found["fvu"] == pytest.approx(0, abs=1e-9)
    assert found["ce_loss_with_sae"] == pytest.approx(found["ce_loss_without_sae"], rel=1e-6)
    assert found["kl_div_with_sae"] == pytest.approx(0, abs=1e-6)
    assert found["ce_loss_score"] == pytest.approx(1, abs=1e-4)
    assert found["kl_div_score"] == pytest.approx(1, abs=1e-4)
    assert found["encoder_decoder_cosine"] == pytest.approx(1)
    assert found["max_decoder_cosine"] == pytest.approx(0, abs=1e-6)


def test_a_dictionary_of_zeros_is_zero_ablation(model: LanguageModel, tokens: torch.Tensor) -> None:
    empty = SAE(TopKConfig(k=2), D, 8, metadata={"hook_name": HOOK})
    settings = SETTINGS.model_copy(update={"skip_special": False})
    found = evaluate(empty, model, tokens, settings=settings).metrics
    assert found["ce_loss_with_sae"] == pytest.approx(found["ce_loss_with_ablation"])
    assert found["kl_div_with_sae"] == pytest.approx(found["kl_div_with_ablation"])
    assert found["ce_loss_score"] == 0
    assert found["l0"] == 0 and found["dead_fraction"] == 1


def test_a_dictionary_of_the_mean_is_mean_ablation(model: LanguageModel, tokens: torch.Tensor) -> None:
    constant = SAE(TopKConfig(k=2), D, 8, metadata={"hook_name": HOOK})
    settings = SETTINGS.model_copy(update={"skip_special": False, "spliced_tokens": 2_000})
    constant.b_dec.copy_(model.activations(tokens, [HOOK])[HOOK].flatten(0, 1).mean(0))
    found = evaluate(constant, model, tokens, settings=settings).metrics
    assert found["explained_variance"] == pytest.approx(0, abs=1e-6)
    assert found["ce_loss_with_sae"] == pytest.approx(found["ce_loss_with_mean"])
    assert found["ce_loss_score_mean"] == pytest.approx(0, abs=1e-4)
    assert found["kl_div_score_mean"] == pytest.approx(0, abs=1e-4)


def test_the_numbers_are_those_of_the_functions(model: LanguageModel, tokens: torch.Tensor) -> None:
    sae = some_sae()
    report = evaluate(sae, model, tokens, settings=SETTINGS)
    x = counted(model, tokens, HOOK)
    assert report.tokens == len(x)
    assert report.metrics["fvu"] == pytest.approx(float(metrics.fvu(x, sae(x))), rel=1e-4)
    assert report.metrics["l0"] == metrics.l0(sae.encode(x))
    assert report.metrics["dead_latents"] == metrics.dead_latents(sae.encode(x))
    alive = report.d_sae - int(report.metrics["dead_latents"] or 0)
    assert sum(report.histograms["log_frequency"].counts) == alive
    assert sum(report.histograms["max_decoder_cosine"].counts) == 80
    cosines = torch.nn.functional.normalize(sae.W_dec, dim=1)
    cosines = (cosines @ cosines.T).fill_diagonal_(-1).amax(1)
    assert report.metrics["max_decoder_cosine"] == pytest.approx(float(cosines.mean()), rel=1e-5)
    spliced = tokens[:15]  # 300 tokens are 15 sequences of 20
    assert report.spliced_tokens == min(len(spliced), 12) * 19


def test_many_dictionaries_cost_no_more_passes_than_one(model: LanguageModel, tokens: torch.Tensor) -> None:
    ran = 0

    def count(*_: object) -> None:
        nonlocal ran
        ran += 1

    attention = next(model.blocks[0].children())  # not run where the block is passed over
    handle = attention.register_forward_hook(count)
    try:
        alone = evaluate(some_sae(4), model, tokens, settings=SETTINGS)
        passes, ran = ran, 0
        several = {
            "a": some_sae(4),
            "b": some_sae(8),
            "c": identity(),
            "d": some_sae(4, "blocks.2.hook_mlp_out"),
        }
        together = evaluate(several, model, tokens, settings=SETTINGS)
    finally:
        handle.remove()
    # 3 batches to reconstruct, 3 to splice, and one small pass to see whether blocks may be passed over.
    assert ran == passes == 7
    assert together["a"].metrics == pytest.approx(alone.metrics)
    assert list(together) == list(several)
    assert together["d"].writes == ["blocks.2.hook_mlp_out"]
    assert together["a"].metrics["ce_loss_without_sae"] == together["d"].metrics["ce_loss_without_sae"]


def test_what_is_given_decides_what_comes_back(model: LanguageModel, tokens: torch.Tensor) -> None:
    settings = EvaluationSettings(tokens=100, spliced_tokens=0, batch_size=4)
    assert isinstance(evaluate(some_sae(), model, tokens, settings=settings), Report)
    listed = evaluate([some_sae(3), some_sae(5)], model, tokens, settings=settings)
    assert [r.metrics["l0"] for r in listed] == [3, 5]
    named = evaluate({"x": some_sae(3)}, model, [list(range(3, 30))], settings=settings)
    assert named["x"].tokens == 27 and "ce_loss_score" not in named["x"].metrics


def test_a_transcoder_is_measured_where_it_writes(model: LanguageModel, tokens: torch.Tensor) -> None:
    reads, writes = "blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out"
    transcoder = SAE(
        TopKConfig(k=4),
        D,
        80,
        skip=True,
        apply_b_dec_to_input=False,
        metadata={"hook_name": reads, "hook_name_out": writes},
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in transcoder.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 20)
    settings = SETTINGS.model_copy(update={"spliced_tokens": 2_000})
    report = evaluate(transcoder, model, tokens, settings=settings)
    x, y = counted(model, tokens, reads), counted(model, tokens, writes)
    assert report.reads == [reads] and report.writes == [writes]
    assert report.metrics["fvu"] == pytest.approx(float(metrics.fvu(y, transcoder(x))), rel=1e-4)
    assert "encoder_decoder_cosine" not in report.metrics

    def instead(old: torch.Tensor, _: object) -> torch.Tensor:
        return torch.cat([old[:, :1], transcoder(x).view(12, 19, D)], 1)

    logits = model.logits(tokens, interventions={writes: instead})
    ce = torch.nn.functional.cross_entropy(logits[:, 1:-1].flatten(0, 1), tokens[:, 2:].flatten())
    assert report.metrics["ce_loss_with_sae"] == pytest.approx(float(ce), rel=1e-4)


def test_a_crosscoder_is_spliced_in_at_all_its_layers(model: LanguageModel, tokens: torch.Tensor) -> None:
    hooks = ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]
    lossless = identity(d=2 * D)
    crosscoder = SAE(StandardConfig(), 2 * D, 4 * D, n_sites=2, metadata={"hook_names": hooks})
    crosscoder.W_enc.copy_(lossless.W_enc)
    crosscoder.W_dec.copy_(lossless.W_dec)
    report = evaluate(crosscoder, model, tokens, settings=SETTINGS)
    assert report.reads == hooks
    assert report.metrics["fvu"] == pytest.approx(0, abs=1e-9)
    assert report.metrics["kl_div_with_sae"] == pytest.approx(0, abs=1e-6)
    crosscoder.W_dec[:, D:] = 0  # now the last layer gets zeros
    crosscoder.b_dec.zero_()
    broken = evaluate(crosscoder, model, tokens, settings=SETTINGS)
    assert float(broken.metrics["ce_loss_with_sae"] or 0) == pytest.approx(math.log(512), rel=1e-2)


def test_one_head_of_attention(model: LanguageModel, tokens: torch.Tensor) -> None:
    sae = identity("blocks.1.attn.hook_z", d=8)
    sae.metadata["hook_head_index"] = 2
    report = evaluate(sae, model, tokens, settings=SETTINGS)
    assert report.writes == ["blocks.1.attn.hook_z[2]"]
    assert report.metrics["kl_div_with_sae"] == pytest.approx(0, abs=1e-6)
    assert float(report.metrics["kl_div_with_ablation"] or 0) > 1e-5


def test_the_same_again_gives_the_same_numbers(model: LanguageModel, tokens: torch.Tensor) -> None:
    first, second = (evaluate(some_sae(), model, tokens, settings=SETTINGS) for _ in range(2))
    assert first.metrics == second.metrics


def test_every_number_has_its_formula_and_survives_json(model: LanguageModel, tokens: torch.Tensor) -> None:
    report = evaluate(some_sae(), model, tokens, settings=SETTINGS)
    assert set(report.metrics) <= set(EVALUATION_METRICS)
    for info in EVALUATION_METRICS.values():
        assert info.title and info.formula and info.description
    again = Report.model_validate(json.loads(json.dumps(report.as_dict())))
    assert again.metrics == pytest.approx(report.metrics)
    infinite = report.model_copy(update={"metrics": {"fvu": math.inf}})
    assert infinite.as_dict()["metrics"] == {"fvu": None} and infinite.scalars() == {}


def test_padding_and_sequences_of_one_token_do_not_count(model: LanguageModel, tokens: torch.Tensor) -> None:
    """The same tokens give the same numbers whatever stands beside them in a batch."""
    ragged = [tokens[0], tokens[1, :7], tokens[2, :1], tokens[3, :2]]
    whole = SETTINGS.model_copy(update={"spliced_tokens": 2_000})
    together = evaluate(some_sae(), model, ragged, settings=whole)
    alone = evaluate(some_sae(), model, ragged, settings=whole.model_copy(update={"batch_size": 1}))
    assert together.tokens == together.spliced_tokens == 19 + 6 + 0 + 1
    for name, value in alone.metrics.items():
        if name != "explained_variance_legacy":
            assert together.metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_a_sample_of_wide_dictionaries(monkeypatch: pytest.MonkeyPatch) -> None:
    sae = some_sae()
    exact = structure.max_decoder_cosines(sae)
    monkeypatch.setattr(structure, "EXACT_UP_TO", 30)
    sample = structure.max_decoder_cosines(sae, seed=3)
    assert len(sample) == 30
    assert {round(float(v), 5) for v in sample} <= {round(float(v), 5) for v in exact}


def test_what_cannot_be_measured_is_refused(model: LanguageModel, tokens: torch.Tensor) -> None:
    nowhere = some_sae()
    nowhere.metadata.clear()
    with pytest.raises(DictionaryMisplaced, match="does not say which hook point"):
        evaluate(nowhere, model, tokens)
    assert evaluate(nowhere, model, tokens, hook=HOOK, settings=SETTINGS).reads == [HOOK]
    narrow = SAE(TopKConfig(k=2), 16, 40, metadata={"hook_name": HOOK})
    with pytest.raises(DictionaryMisplaced, match="reads activations of width 16"):
        evaluate(narrow, model, tokens)
    with pytest.raises(HookNotFound):
        evaluate(some_sae(hook="blocks.7.hook_resid_post"), model, tokens)
    with pytest.raises(NothingToEvaluate, match="no tokens"):
        evaluate(some_sae(), model, [])
    with pytest.raises(NothingToEvaluate, match="all special"):
        evaluate(some_sae(), model, [[0, 1, 2]])
    with pytest.raises(NothingToEvaluate, match="no dictionary"):
        evaluate([], model, tokens)
    broken = load_language_model(model.source, device="cpu")
    with torch.no_grad():
        broken.hf.get_input_embeddings().weight[int(tokens[5, 3])] = float("inf")
    with pytest.raises(
        ActivationsRefused, match=r"blocks\.1\.hook_resid_post is NaN in one of the sequences"
    ):
        evaluate(some_sae(), broken, tokens, settings=SETTINGS)
