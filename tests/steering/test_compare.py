"""Side-by-side generation on a tiny model: what differs, and what must not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mistudio.lm import HookNotFound, LanguageModel, TokensRefused, load_language_model
from mistudio.sae import SAE, TopKConfig
from mistudio.steering.compare import Edit, PlacedSAE, SteeringRefused, plan, steer

HOOK = "blocks.1.hook_resid_post"
PROMPT = "def settings(data_dir"


@pytest.fixture(scope="module")
def model(tiny_llama_folder: Path) -> LanguageModel:
    return load_language_model(tiny_llama_folder, device="cpu")


def make_sae(d_in: int = 32, d_sae: int = 24, hook: str = HOOK, **metadata: object) -> SAE:
    """A random TopK dictionary at a hook point."""
    generator = torch.Generator().manual_seed(5)
    sae = SAE(TopKConfig(k=4), d_in, d_sae, metadata={"hook_name": hook, **metadata})
    sae.W_enc.data = torch.randn(d_sae, d_in, generator=generator)
    sae.W_dec.data = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)
    return sae


@given(
    index=st.integers(0, 23),
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    seed=st.integers(0, 1000),
    prompt=st.text(alphabet="abcdef _(", min_size=1, max_size=30),
)
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_strength_zero_changes_nothing(
    model: LanguageModel, index: int, temperature: float, seed: int, prompt: str
) -> None:
    both = steer(
        model, make_sae(), prompt, [Edit(index, 0.0)], max_new_tokens=8, temperature=temperature, seed=seed
    )
    assert both.unsteered is not None
    assert [t.token for t in both.steered.tokens] == [t.token for t in both.unsteered.tokens]
    assert both.steered.text == both.unsteered.text
    assert both.steered.perplexity == pytest.approx(both.unsteered.perplexity)


def test_clamping_to_the_present_value_changes_nothing(model: LanguageModel) -> None:
    sae = make_sae()
    x = model.activations(torch.tensor([model.tokenizer(PROMPT)["input_ids"]]), [HOOK])[HOOK]
    silent = (~sae.encode(x[0]).fired()).nonzero()[0, 0]
    both = steer(model, sae, PROMPT, [Edit(int(silent), 0.0, "clamp")], where="prompt", max_new_tokens=1)
    assert both.unsteered is not None
    assert both.steered.tokens[0].logprob == pytest.approx(both.unsteered.tokens[0].logprob, abs=1e-6)


def test_a_strong_feature_changes_the_text_and_the_model_is_unharmed(model: LanguageModel) -> None:
    alone = steer(model, make_sae(), PROMPT, [Edit(3, 0.0)], max_new_tokens=12)
    both = steer(model, make_sae(), PROMPT, [Edit(3, 60.0)], max_new_tokens=12)
    assert both.unsteered is not None and alone.unsteered is not None
    assert both.steered.text != both.unsteered.text
    assert [t.token for t in both.unsteered.tokens] == [t.token for t in alone.unsteered.tokens]


def test_the_steered_side_alone_writes_the_same_as_in_company(model: LanguageModel) -> None:
    options = {"max_new_tokens": 10, "temperature": 1.0, "seed": 7}
    together = steer(model, make_sae(), PROMPT, [Edit(3, 9.0)], **options)
    alone = steer(model, make_sae(), PROMPT, [Edit(3, 9.0)], unsteered=False, **options)
    assert alone.unsteered is None
    assert [t.token for t in alone.steered.tokens] == [t.token for t in together.steered.tokens]


def test_perplexity_is_that_of_the_unsteered_model(model: LanguageModel) -> None:
    both = steer(model, make_sae(), PROMPT, [Edit(3, 60.0)], max_new_tokens=9)
    assert both.unsteered is not None and both.unsteered.perplexity and both.steered.perplexity
    # The unsteered side was written by that very model, so the log probabilities of its tokens say the same.
    mean = sum(t.logprob for t in both.unsteered.tokens) / len(both.unsteered.tokens)
    assert both.unsteered.perplexity == pytest.approx(math.exp(-mean), rel=1e-4)
    tokens = torch.tensor([both.prompt + [t.token for t in both.steered.tokens]])
    loss = model.hf(
        tokens, labels=torch.where(torch.arange(tokens.shape[1]) < len(both.prompt), -100, tokens)
    ).loss
    assert both.steered.perplexity == pytest.approx(float(loss.exp()), rel=1e-4)


def test_special_tokens_are_spared_unless_asked(model: LanguageModel) -> None:
    bos = model.tokenizer.bos_token_id
    prompt = [bos, *model.tokenizer(PROMPT)["input_ids"]]

    def changed(steer_special_tokens: bool) -> torch.Tensor:
        planned = plan(
            model,
            {"sae": PlacedSAE(make_sae())},
            prompt,
            {"sae": [Edit(3, 5.0)]},
            steer_special_tokens=steer_special_tokens,
        )
        seen = []
        tokens = torch.tensor([planned.prompt])

        def watch(activations: torch.Tensor, positions: object) -> torch.Tensor:
            new = planned.interventions[HOOK](activations, positions)  # type: ignore[arg-type]
            seen.append((new - activations).norm(dim=-1)[0] > 0)
            return new

        model.logits(tokens, interventions={HOOK: watch})
        return seen[0]

    assert changed(False).tolist() == [False] + [True] * (len(prompt) - 1)
    assert changed(True).all()


def test_a_text_begins_as_the_dictionary_learned_it(model: LanguageModel) -> None:
    bos = model.tokenizer.bos_token_id
    with_bos = steer(model, make_sae(prepend_bos=True), PROMPT, [Edit(0, 1.0)], max_new_tokens=1)
    without = steer(model, make_sae(), PROMPT, [Edit(0, 1.0)], max_new_tokens=1)
    assert with_bos.prompt == [bos, *without.prompt]


def test_two_dictionaries_at_one_hook_point_work_together(model: LanguageModel) -> None:
    one, two = make_sae(), make_sae(d_sae=30)
    both = steer(
        model,
        {"a": PlacedSAE(one), "b": PlacedSAE(two)},
        PROMPT,
        {"a": [Edit(3, 4.0)], "b": [Edit(25, 2.0)]},
        max_new_tokens=1,
    )
    direction = 4.0 * one.W_dec[3] + 2.0 * two.W_dec[25]
    tokens = torch.tensor([both.prompt])
    logits = model.logits(tokens, interventions={HOOK: lambda x, _: x + direction})[0, -1]
    wanted = torch.log_softmax(logits, -1)[both.steered.tokens[0].token]
    assert both.steered.tokens[0].logprob == pytest.approx(float(wanted), abs=1e-5)


def test_what_does_not_fit_is_refused_before_anything_is_written(model: LanguageModel) -> None:
    with pytest.raises(
        SteeringRefused, match=r"width 48, but blocks\.1\.hook_resid_post of this model has width 32"
    ):
        steer(model, make_sae(d_in=48), PROMPT, [Edit(0, 1.0)])
    with pytest.raises(HookNotFound):
        steer(model, make_sae(hook="blocks.9.hook_resid_post"), PROMPT, [Edit(0, 1.0)])
    with pytest.raises(SteeringRefused, match="does not say which hook point"):
        steer(model, make_sae(hook=""), PROMPT, [Edit(0, 1.0)])
    with pytest.raises(SteeringRefused, match="no latent 24"):
        steer(model, make_sae(), PROMPT, [Edit(24, 1.0)])
    transcoder = make_sae()
    transcoder.metadata["hook_name_out"] = "blocks.2.hook_mlp_out"
    with pytest.raises(SteeringRefused, match="is a transcoder"):
        steer(model, transcoder, PROMPT, [Edit(0, 1.0)])
    with pytest.raises(TokensRefused, match="empty"):
        steer(model, make_sae(), [], [Edit(0, 1.0)])
