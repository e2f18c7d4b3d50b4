"""Generation against transformers.generate, and what interventions do to it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mistudio.lm import GenerationRow, HookNotFound, LanguageModelError, TokensRefused, add_direction
from mistudio.lm.generation import generate, generate_batch
from mistudio.lm.interventions import Positions
from mistudio.lm.model import LanguageModel
from tests.lm.conftest import PARALLEL

PROMPT = [5, 17, 42, 8, 30, 11, 64, 3, 9, 21]


class Words:
    """Decodes ids as numbers: enough of a tokenizer for checkpoints that have none."""

    all_special_ids: tuple[int, ...] = ()
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012
    chat_template = None

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(f" {i}" for i in ids)


@pytest.fixture
def speaking(tiny: LanguageModel) -> LanguageModel:
    return LanguageModel(tiny.hf, Words(), source="tiny")


def greedy(model: LanguageModel, prompt: list[int], n: int) -> list[int]:
    tokens = torch.tensor([prompt])
    out = model.hf.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=n, do_sample=False)
    return out[0, len(prompt) :].tolist()


def ids_of(model: LanguageModel, prompt: Any, n: int = 20, **options: Any) -> list[int]:
    return [t.token for t in generate(model, prompt, max_new_tokens=n, **options)]


def test_greedy_equals_transformers(speaking: LanguageModel) -> None:
    assert ids_of(speaking, PROMPT, 30) == greedy(speaking, PROMPT, 30)


def test_alternatives_are_the_most_probable_tokens_at_each_place(speaking: LanguageModel) -> None:
    written = list(
        generate(speaking, PROMPT, max_new_tokens=3, temperature=1.0, top_p=0.5, seed=3, alternatives=4)
    )
    tokens = torch.tensor([PROMPT + [t.token for t in written]])
    logprobs = torch.log_softmax(speaking.logits(tokens)[0].float(), -1)
    for step, token in enumerate(written):
        best = logprobs[len(PROMPT) - 1 + step].topk(4)
        assert [id for id, _ in token.alternatives] == best.indices.tolist()
        torch.testing.assert_close(
            torch.tensor([p for _, p in token.alternatives]), best.values, rtol=1e-4, atol=1e-4
        )
    assert next(iter(generate(speaking, PROMPT, max_new_tokens=1))).alternatives == ()


def test_interventions_that_do_nothing_change_nothing(speaking: LanguageModel) -> None:
    expected = list(generate(speaking, PROMPT, max_new_tokens=4))
    direction = torch.randn(speaking.d_model, generator=torch.Generator().manual_seed(0))
    for hook in speaking.hook_points():
        if hook.layer == 1:
            for idle in (lambda h, _: h, add_direction(direction, 0.0)):
                changed = generate(speaking, PROMPT, max_new_tokens=4, interventions={hook.name: idle})
                assert list(changed) == expected


def test_interventions_reach_the_logits_as_they_should(speaking: LanguageModel, family: str) -> None:
    tokens = torch.tensor([PROMPT])
    step = add_direction(torch.randn(speaking.d_model, generator=torch.Generator().manual_seed(3)), 2.0)
    plain = speaking.logits(tokens)

    def steered(hook: str) -> torch.Tensor:
        return speaking.logits(tokens, interventions={hook: step})

    post = steered("blocks.0.hook_resid_post")
    assert not torch.allclose(post, plain, atol=1e-2)
    # The same residual stream under another name, and the same sum added by another part.
    torch.testing.assert_close(steered("blocks.1.hook_resid_pre"), post)
    torch.testing.assert_close(steered("blocks.0.hook_mlp_out"), post, rtol=1e-4, atol=1e-4)
    if family not in PARALLEL:
        middle = steered("blocks.1.hook_resid_mid")
        torch.testing.assert_close(middle, steered("blocks.1.hook_attn_out"), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(middle, post, atol=1e-2)
    assert torch.equal(speaking.logits(tokens), plain)


def test_an_intervention_is_told_where_it_is(speaking: LanguageModel) -> None:
    seen: list[Positions] = []

    def note(h: torch.Tensor, positions: Positions) -> torch.Tensor:
        assert h.shape == (1, positions.length, speaking.d_model)
        seen.append(positions)
        return h

    rows = [GenerationRow(PROMPT[:3], {"blocks.1.hook_resid_post": note}), GenerationRow(PROMPT)]
    list(generate_batch(speaking, rows, max_new_tokens=4))
    assert [(p.start, p.length, p.prompt_length) for p in seen] == [
        (0, 3, 3),
        (3, 1, 3),
        (4, 1, 3),
        (5, 1, 3),
    ]
    assert seen[0].where("prompt").all() and not seen[0].where("generated").any()
    assert seen[1].where("generated").all()


def test_where_limits_an_intervention(speaking: LanguageModel) -> None:
    direction = torch.randn(speaking.d_model, generator=torch.Generator().manual_seed(5))
    hook = "blocks.0.hook_resid_post"

    def first(where: Any) -> float:
        step = {hook: add_direction(direction, 3.0, where)}
        return next(generate(speaking, PROMPT, max_new_tokens=2, interventions=step)).logprob

    plain = next(generate(speaking, PROMPT, max_new_tokens=2)).logprob
    assert first("generated") == plain and first("prompt") == first("all") != plain


def test_rows_run_in_step_and_do_not_touch_each_other(speaking: LanguageModel) -> None:
    step = add_direction(torch.randn(speaking.d_model, generator=torch.Generator().manual_seed(3)), 4.0)
    hook = "blocks.1.hook_resid_post"
    rows = [GenerationRow(PROMPT), GenerationRow(PROMPT, {hook: step}), GenerationRow(PROMPT[4:])]
    out: list[list[int]] = [[], [], []]
    for tokens in generate_batch(speaking, rows, max_new_tokens=10):
        assert len({t.row for t in tokens}) == len(tokens)
        for t in tokens:
            out[t.row].append(t.token)
    assert out[0] == ids_of(speaking, PROMPT, 10)
    assert out[1] == ids_of(speaking, PROMPT, 10, interventions={hook: step}) != out[0]
    assert out[2] == ids_of(speaking, PROMPT[4:], 10)


def test_two_texts_at_once_do_not_share_interventions(speaking: LanguageModel) -> None:
    step = {"blocks.1.hook_resid_post": add_direction(torch.ones(speaking.d_model), 5.0)}
    steered = generate(speaking, PROMPT, max_new_tokens=8, interventions=step)
    next(steered)
    plain = ids_of(speaking, PROMPT, 8)
    assert plain == greedy(speaking, PROMPT, 8)
    steered.close()
    assert ids_of(speaking, PROMPT, 8) == plain


@pytest.mark.slow
def test_sampling_is_seeded_and_follows_the_distribution(speaking: LanguageModel) -> None:
    options: dict[str, Any] = {"temperature": 1.3, "top_p": 0.9, "seed": 4}
    torch.manual_seed(1)
    once = ids_of(speaking, PROMPT, **options)
    torch.manual_seed(2)
    assert ids_of(speaking, PROMPT, **options) == once
    assert ids_of(speaking, PROMPT, **{**options, "seed": 5}) != once
    rows = [GenerationRow(PROMPT, seed=s) for s in range(200)]
    (drawn,) = generate_batch(speaking, rows, max_new_tokens=1, temperature=1.0)
    probabilities = torch.softmax(speaking.logits(torch.tensor([PROMPT]))[0, -1], -1)
    top = int(probabilities.argmax())
    share, p = sum(t.token == top for t in drawn) / 200, float(probabilities[top])
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / 200)
    for t in drawn:
        assert t.logprob == pytest.approx(math.log(float(probabilities[t.token])), abs=1e-3)
    (nucleus,) = generate_batch(speaking, rows, max_new_tokens=1, temperature=1.0, top_p=1e-6)
    assert {t.token for t in nucleus} == {top}


def test_a_row_ends_for_the_reason_it_gives(tiny_llama: LanguageModel) -> None:
    *_, last = generate(tiny_llama, [5] * 250, max_new_tokens=50)
    assert last.finish == "context" and last.position == 255
    *_, last = generate(tiny_llama, [5, 6], max_new_tokens=3)
    assert last.finish == "length"
    text = "".join(t.text for t in generate(tiny_llama, [5, 6], max_new_tokens=30))
    out = list(generate(tiny_llama, [5, 6], max_new_tokens=30, stop=[text[5:8]]))
    assert out[-1].finish == "stop" and "".join(t.text for t in out) == text[: text.index(text[5:8])]
    end = tiny_llama.hf.generation_config.eos_token_id
    towards_end = add_direction(tiny_llama.unembedding[end] * 1e4, 1.0)
    out = list(generate(tiny_llama, [5, 6], interventions={"blocks.2.hook_resid_post": towards_end}))
    assert [(t.token, t.text, t.finish) for t in out] == [(end, "", "eos")]


def test_what_cannot_be_generated_is_refused_at_once(tiny_llama: LanguageModel) -> None:
    for bad in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            generate(tiny_llama, [5], **bad)
    with pytest.raises(TokensRefused, match="prompt is empty"):
        generate(tiny_llama, "")
    with pytest.raises(TokensRefused, match="fill this model's context"):
        generate(tiny_llama, [5] * 256)
    with pytest.raises(HookNotFound):
        generate(tiny_llama, [5], interventions={"blocks.9.hook_resid_post": lambda h, _: h})
    with pytest.raises(LanguageModelError, match="no chat template"):
        generate(tiny_llama, [{"role": "user", "content": "hello"}])
    with pytest.raises(ValueError, match="must keep the shape"):
        list(generate(tiny_llama, [5], interventions={"blocks.0.hook_resid_post": lambda h, _: h[..., :1]}))
    assert ids_of(tiny_llama, [5], 4) == greedy(tiny_llama, [5], 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "prompt",
    [
        "Once upon a time, there was a little girl who",
        [{"role": "user", "content": "Which animals live in the sea? Answer with emoji too."}],
    ],
)
def test_the_real_model_writes_what_transformers_writes(smollm2: LanguageModel, prompt: Any) -> None:
    from mistudio.lm.generation import prompt_tokens

    ids = prompt_tokens(smollm2, prompt)
    expected = greedy(smollm2, ids, 40)
    out = list(generate(smollm2, prompt, max_new_tokens=40))
    assert [t.token for t in out] == expected
    assert "".join(t.text for t in out) == smollm2.tokenizer.decode(expected, skip_special_tokens=True)
