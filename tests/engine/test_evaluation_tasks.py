"""Spelling, absorption, probing, and what they are made of."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio.engine import EVALUATION_METRICS, EvaluationSettings, evaluate
from mistudio.engine.evaluation import absorption, spelling
from mistudio.engine.evaluation.logistic import accuracy, f1_score, fit
from mistudio.engine.evaluation.probe_sets import NAMES, probe_sets
from mistudio.engine.evaluation.probing import k_sparse_accuracy, one_against_rest
from mistudio.lm import LanguageModel, load_language_model
from mistudio.sae import SAE, Latents, StandardConfig

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def model(tiny_llama_folder: Path) -> LanguageModel:
    return load_language_model(tiny_llama_folder, device="cpu")


@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), balanced=st.booleans(), far=st.floats(0.0, 8.0))
@settings(deadline=None, max_examples=40)
def test_logistic_regression_stands_at_the_optimum(seed: int, k: int, balanced: bool, far: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(50, generator=generator) < 0.3
    y[:2] = torch.tensor([True, False])
    x = torch.randn(50, k, generator=generator, dtype=torch.float64) + far * y[:, None]
    weights, bias = fit(x, y, balanced=balanced)
    w = weights.clone().requires_grad_()
    b = torch.tensor(bias, dtype=torch.float64, requires_grad=True)
    share = y.double().mean()
    sample = torch.where(y, 0.5 / share, 0.5 / (1 - share)) if balanced else torch.ones(50)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y.double(), reduction="none")
    ((sample * losses).sum() + 0.5 * w.square().sum()).backward()
    assert w.grad is not None and b.grad is not None
    assert float(w.grad.abs().max()) < 1e-3 and abs(float(b.grad)) < 1e-3


def test_scores_of_predictions() -> None:
    y = torch.tensor([True, True, False, False])
    assert f1_score(y, y) == 1
    assert f1_score(~y, y) == 0
    assert f1_score(torch.tensor([True, False, True, False]), y) == 0.5
    assert f1_score(torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)) == 0
    assert accuracy(torch.tensor([[1.0], [2.0], [-1.0], [3.0]]), y, torch.tensor([1.0]).double(), 0.0) == 0.75


def test_words_are_tokens_of_letters(model: LanguageModel) -> None:
    words = spelling.words_of(model.tokenizer)
    assert len(words) > 60
    for word in words:
        bare = word.text.removeprefix(" ")
        assert bare.isascii() and bare.isalpha()
        assert model.tokenizer(word.text, add_special_tokens=False)["input_ids"] == [word.id]
        assert spelling.LETTERS[word.letter] == bare[0].lower()
    assert len({word.id for word in words}) == len(words)


def test_words_are_shown_after_examples(model: LanguageModel) -> None:
    """Activations are those of whole prompts, no word is among its own examples, halves share no word."""
    words = spelling.words_of(model.tokenizer)
    assert (
        spelling.example_text(words[:2]).splitlines()[1].startswith(f"{words[0].text} has the first letter: ")
    )
    train, test = spelling.spelling_data(model, [HOOK], words=60, prompts=3, seed=1)
    assert len(train.words) == 48 and len(test.words) == 12
    assert not {w.id for w in train.words} & {w.id for w in test.words}
    draw = random.Random(1)
    draw.shuffle(words)
    chosen = words[:48]
    lists = [draw.sample(chosen, 10) for _ in range(3)]
    prompts = [model.tokenizer(spelling.example_text(examples))["input_ids"] for examples in lists]
    seen = 0
    for word, activation in zip(train.words, train.activations[HOOK], strict=True):
        fits = []
        for prompt, examples in zip(prompts, lists, strict=True):
            ids = torch.tensor([[0, *prompt, word.id]])
            whole = model.activations(ids, [HOOK])[HOOK][0, -1]
            fits.append(
                bool(torch.allclose(whole, activation, rtol=1e-3, atol=1e-4)) and word not in examples
            )
        seen += any(fits)
    assert seen == 48


def latents_of(z: torch.Tensor) -> Latents:
    return Latents.from_dense(z)


def letter_case(split: bool) -> tuple[Latents, torch.Tensor]:
    """Latent 3 is on for words of letter 2 (or 3 and 5 for half of them each); others are on at random."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 26, (1_300,), generator=generator)
    z = torch.rand(1_300, 2_000, generator=generator) * (torch.rand(1_300, 2_000, generator=generator) < 0.01)
    z[:, [3, 5]] = 0
    mine = (y == 2).nonzero().squeeze(1)
    z[mine, 3] = 2.0
    if split:
        z[mine[::2], 3] = 0
        z[mine[::2], 5] = 2.0
    return latents_of(z), y


@pytest.mark.slow
@pytest.mark.parametrize(("split", "expected"), [(False, {3}), (True, {3, 5})])
def test_main_latents_are_found_and_splitting_is_seen(split: bool, expected: set[int]) -> None:
    latents, y = letter_case(split)
    weights = absorption.train_sparse_probe(latents, y, seed=0)
    ranked = weights[2].topk(10).indices
    main = absorption.main_latents(latents, y == 2, latents, y == 2, ranked)
    assert set(main.tolist()) == expected


def test_the_sparse_probe_equals_its_dense_form() -> None:
    """The loss that is lowered at the cost of active latents is the one on dense latents."""
    latents, _ = letter_case(split=True)
    rows = torch.tensor([5, 900, 17])
    values, indices, offsets = absorption._rows(latents, rows)
    z = Latents(values, indices, offsets, latents.d_sae).dense()
    assert torch.equal(z, latents.dense()[rows])
    assert torch.equal(absorption._columns(latents, torch.tensor([7, 3])), latents.dense()[:, [7, 3]])


@pytest.mark.slow
def test_letter_probes_find_letters() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 26, (1_500,), generator=generator)
    directions = torch.randn(26, 24, generator=generator)
    x = 3 * directions[y] + 0.3 * torch.randn(1_500, 24, generator=generator)
    weight, bias = absorption.train_letter_probe(x, y, seed=0)
    scores = x @ weight.T + bias
    assert min(f1_score(scores[:, i] > 0, y == i) for i in range(26)) > 0.9


def absorbing_sae() -> SAE:
    """Latent 0 stands for the letter, latent 1 for one word and carries the letter with it."""
    sae = SAE(StandardConfig(), 4, 3)
    sae.W_dec.copy_(torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1.0, 0]]))
    sae.W_enc.copy_(torch.tensor([[1.0, -4 / 3, 0, 0], [0, 1 / 0.6, 0, 0], [0, 0, 1.0, 0]]))
    return sae


def test_absorption_of_a_dictionary_built_to_absorb() -> None:
    sae, probe = absorbing_sae(), torch.tensor([2.0, 0, 0, 0])
    letter, word, both = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [1.8, 0.6, 0, 0]])
    full, fraction = absorption.absorption(sae, torch.stack([letter, word, both]), probe, torch.tensor([0]))
    assert full.tolist() == [False, True, False]
    # The last: ⟨x, p⟩ = 1.8 = 1 (main) + 0.8 (absorbed).
    assert fraction.tolist() == pytest.approx([0, 1, 0.8 / 1.8])
    # Longer directions with weaker latents are the same dictionary.
    sae.W_dec *= 5
    sae.W_enc /= 5
    again = absorption.absorption(sae, torch.stack([letter, word, both]), probe, torch.tensor([0]))
    assert torch.equal(again[0], full)
    torch.testing.assert_close(again[1], fraction)


def test_the_probe_sets_are_whole() -> None:
    sets = probe_sets()
    assert [s.name for s in sets] == list(NAMES)
    for one in sets:
        assert list(one.train) == list(one.test) and len(one.train) >= 4
        for label in one.train:
            assert len(one.train[label]) == 100 and len(one.test[label]) == 50
            assert not set(one.train[label]) & set(one.test[label])
            assert all(len(text) == 600 for text in one.train[label] + one.test[label])


@given(sizes=st.lists(st.integers(3, 20), min_size=2, max_size=5), seed=st.integers(0, 100))
@settings(deadline=None)
def test_a_class_is_set_against_as_many_of_the_others(sizes: list[int], seed: int) -> None:
    half = {str(i): torch.full((max(sizes), 1), float(i)) for i in range(len(sizes))}
    x, y = one_against_rest(half, "1", torch.Generator().manual_seed(seed))
    n = max(sizes)
    assert len(x) == 2 * n and int(y.sum()) == n
    assert bool((x[y] == 1).all()) and not bool((x[~y] == 1).any())
    counts = [int((x == i).sum()) for i in range(len(sizes)) if i != 1]
    assert max(counts) - min(counts) <= len(counts) or n < len(counts)


def test_the_strongest_difference_is_chosen() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 30, generator=generator)
    y = torch.arange(200) < 100
    x[y, 11] += 6
    x[y, 4] += 1
    assert k_sparse_accuracy((x, y), (x, y), 1) > 0.98
    x[:, 11] = 0
    assert 0.6 < k_sparse_accuracy((x, y), (x, y), 1) < 0.8


@pytest.mark.slow
def test_both_tasks_run_on_a_small_model(model: LanguageModel) -> None:
    """A random model cannot spell: that is said, and no score is given. Its texts can be told apart all the same."""
    lossless = SAE(StandardConfig(), 32, 64, metadata={"hook_name": HOOK})
    lossless.W_enc.copy_(torch.cat([torch.eye(32), -torch.eye(32)]))
    lossless.W_dec.copy_(lossless.W_enc)
    chosen = EvaluationSettings(
        tokens=100,
        spliced_tokens=0,
        absorption=True,
        probing=True,
        words=200,
        spelling_prompts=2,
        probe_texts=10,
        probe_context=24,
    )
    transcoder = SAE(
        StandardConfig(), 32, 64, metadata={"hook_name": HOOK, "hook_name_out": "blocks.2.hook_mlp_out"}
    )
    reports = evaluate(
        {"sae": lossless, "transcoder": transcoder}, model, [list(range(3, 103))], settings=chosen
    )
    report = reports["sae"]
    assert set(report.metrics) <= set(EVALUATION_METRICS)
    assert report.metrics["absorption_full"] is None
    assert any("No absorption score" in note for note in report.notes)
    assert any("one hook point only" in note for note in reports["transcoder"].notes)
    assert [s.name for s in report.probe_sets] == list(NAMES)
    for one in report.probe_sets:
        assert all(0 <= value <= 1 for value in one.latents.values())
    # Python and TypeScript against prose: even a random model's channels tell.
    assert report.probe_sets[2].all_channels > 0.6
    assert (
        report.metrics["sparse_probing_model_top_1"]
        == reports["transcoder"].metrics["sparse_probing_model_top_1"]
    )
