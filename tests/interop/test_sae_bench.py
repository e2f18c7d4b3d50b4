"""SAEBench 0.6.0 as referee: figures that its own code gave on a small case, and its formulae written out anew.

The package cannot be installed beside us (it pins numpy < 2 and datasets < 4), so `sae_bench_referee` ran it and left
`sae_bench_0_6_0.json`; the case itself is made again here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.nn import functional

from mistudio.engine.evaluation import EvaluationSettings, Report, evaluate
from mistudio.engine.evaluation.absorption import absorption
from mistudio.engine.evaluation.probing import k_sparse_accuracy, one_against_rest
from mistudio.lm.model import LanguageModel
from mistudio.sae import SAE, TopKConfig
from tests.interop import sae_bench_case as case

THEIRS: dict[str, Any] = json.loads(case.FIGURES.read_text())
# Our name: SAEBench's, and what theirs has to be multiplied with.
SAME = {
    **{
        name: (name, 1.0)
        for name in (
            "ce_loss_without_sae",
            "ce_loss_with_sae",
            "ce_loss_with_ablation",
            "ce_loss_score",
            "kl_div_with_sae",
            "kl_div_with_ablation",
            "kl_div_score",
            "l0",
            "l1",
            "l2_norm_in",
            "l2_norm_out",
            "l2_ratio",
            "explained_variance_legacy",
        )
    },
    "explained_variance_sae_bench": ("explained_variance", 1.0),
    "cosine": ("cossim", 1.0),
    "max_decoder_cosine": ("average_max_decoder_cosine_sim", 1.0),
    "encoder_decoder_cosine": ("encoder_decoder_cosine_sim", 1.0),
    "frequent_fraction": ("freq_over_1_percent", 1.0),
    "dense_fraction": ("freq_over_10_percent", 1.0),
}


def our_sae() -> SAE:
    w = case.weights()
    sae = SAE(TopKConfig(k=case.K), case.D, case.D_SAE, metadata={"hook_name": case.HOOK})
    for name in ("W_enc", "W_dec", "b_enc", "b_dec"):
        getattr(sae, name).copy_(getattr(w, name))
    return sae


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel(case.model())


@pytest.fixture(scope="module")
def report(model: LanguageModel) -> Report:
    settings = EvaluationSettings(tokens=10_000, spliced_tokens=10_000, batch_size=case.BATCH)
    return evaluate(our_sae(), model, case.tokens(), settings=settings)


@pytest.mark.parametrize("name", SAME)
def test_core_metrics_are_those_of_the_package(report: Report, name: str) -> None:
    theirs, factor = SAME[name]
    assert report.metrics[name] == pytest.approx(THEIRS["core"][theirs] * factor, rel=1e-3, abs=1e-6)


def test_metrics_that_depend_on_their_batches(report: Report) -> None:
    """Their mse is divided once more by the tokens of each batch; their bias is a mean over batches."""
    counted = case.tokens().view(case.BATCHES, -1)
    per_batch = [int((~torch.isin(b, torch.tensor(case.SPECIAL))).sum()) for b in counted]
    assert report.tokens == sum(per_batch)
    mean_tokens = sum(per_batch) / len(per_batch)
    assert report.metrics["mse_per_token"] == pytest.approx(THEIRS["core"]["mse"] * mean_tokens, rel=1e-2)
    assert report.metrics["relative_reconstruction_bias"] == pytest.approx(
        THEIRS["core"]["relative_reconstruction_bias"], rel=1e-2
    )
    assert 1 - float(report.metrics["dead_fraction"] or 0) == pytest.approx(THEIRS["core"]["frac_alive"])


def test_core_metrics_are_their_formulae(model: LanguageModel, report: Report) -> None:
    """SAEBench's definitions written out densely: every batch once, whole passes, softmax and logarithm."""
    sae = our_sae()
    sums: dict[str, list[torch.Tensor]] = {}

    def note(name: str, values: torch.Tensor) -> None:
        sums.setdefault(name, []).append(values)

    for ids in case.tokens().split(case.BATCH):
        counts = ~torch.isin(ids, torch.tensor(case.SPECIAL))
        x = model.activations(ids, [case.HOOK])[case.HOOK]
        z = sae.encode_dense(x.flatten(0, 1)).view(*ids.shape, -1)
        y = torch.where(counts[..., None], z @ sae.W_dec + sae.b_dec, x)
        p = model.logits(ids).softmax(-1)
        for name, new in (("with_sae", y), ("with_ablation", torch.zeros_like(x))):
            logits = model.logits(ids, interventions={case.HOOK: lambda _, __, new=new: new})
            q = logits.softmax(-1)
            note(f"kl_div_{name}", (p * (p.log() - q.log())).sum(-1)[counts])
            ce = functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
            note(f"ce_loss_{name}", ce[counts[:, :-1]])
        ce = functional.cross_entropy(p.log()[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
        note("ce_loss_without_sae", ce[counts[:, :-1]])
        x, y, z = x[counts], y[counts], z[counts]
        note("l2_ratio", y.norm(dim=1) / x.norm(dim=1))
        note("l0", (z != 0).sum(1).float())
        note("l1", z.sum(1))
        note("cosine", functional.cosine_similarity(x, y))
    expected = {name: float(torch.cat(values).mean()) for name, values in sums.items()}
    zero, spliced, own = (expected[f"ce_loss_{n}"] for n in ("with_ablation", "with_sae", "without_sae"))
    expected["ce_loss_score"] = (zero - spliced) / (zero - own)
    expected["kl_div_score"] = 1 - expected["kl_div_with_sae"] / expected["kl_div_with_ablation"]
    for name, value in expected.items():
        assert report.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_absorption_is_the_package_s_word_by_word() -> None:
    x, probe, main = case.spelling()
    full, fraction = absorption(our_sae(), x, probe, torch.tensor(main))
    theirs = THEIRS["absorption"]
    assert full.double().tolist() == theirs["full"]
    torch.testing.assert_close(
        fraction.double(), torch.tensor(theirs["fraction"]).double(), rtol=1e-4, atol=1e-5
    )
    # The case says something only if it has words of every sort.
    assert 0 < sum(theirs["full"]) < len(x)
    assert len({round(f, 3) for f in theirs["fraction"]}) > 10
    assert {0.0, 1.0} <= set(theirs["fraction"])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_sparse_probes_reach_the_package_s_accuracy(k: int) -> None:
    texts = case.texts()
    generator = torch.Generator().manual_seed(0)
    for label, theirs in THEIRS["probing"][str(k)].items():
        train, test = (one_against_rest(texts[half], label, generator) for half in ("train", "test"))
        # Two classes: every text is used whatever the draw. One text more or less on the right side is rounding.
        assert k_sparse_accuracy(train, test, k) == pytest.approx(theirs, abs=1.01 / len(test[1]))
