"""Writing text with the model, while interventions change it as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from mistudio.lm.errors import LanguageModelError, TokensRefused
from mistudio.lm.interventions import Intervention, Positions, same_shape
from mistudio.lm.model import Change, LanguageModel
from mistudio.lm.text_stream import TextStream

Message = Mapping[str, str]
Prompt = str | Sequence[int] | Sequence[Message]
Finish = Literal["eos", "stop", "length", "context"]
# Tokens of the prompt that the first generated piece is decoded with.
DECODING_CONTEXT = 6


@dataclass(frozen=True)
class GeneratedToken:
    """One token of one row.

    text: what it adds to the row's text; may be empty while a character or a stop string is incomplete.
    logprob: natural logarithm of its probability under the model as it ran (with the interventions, before
        temperature and top-p).
    alternatives: the most probable tokens at this place with their log probabilities, best first; as many as were
        asked for.
    finish: why the row ended with this token: the end-of-text token (`eos`), a stop string (`stop`),
        `max_new_tokens` (`length`) or the model's context (`context`); None while it goes on.
    """

    row: int
    position: int
    token: int
    text: str
    logprob: float
    finish: Finish | None
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class GenerationRow:
    """One text of a batch: its prompt (text, token ids or chat messages), interventions, and seed (the
    batch's seed if None: rows with equal seeds draw equal random numbers, so that they differ only by what
    is done to them)."""

    prompt: Prompt
    interventions: Mapping[str, Intervention] = field(default_factory=dict[str, Intervention])
    seed: int | None = None


def generate(
    model: LanguageModel,
    prompt: Prompt,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    interventions: Mapping[str, Intervention] | None = None,
    stop: Sequence[str] = (),
    alternatives: int = 0,
) -> Iterator[GeneratedToken]:
    """Continue one prompt, token by token. The arguments are those of `generate_batch`."""
    steps = generate_batch(
        model,
        [GenerationRow(prompt, interventions or {})],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=stop,
        alternatives=alternatives,
    )
    return (token for step in steps for token in step)


def generate_batch(
    model: LanguageModel,
    rows: Sequence[GenerationRow],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    alternatives: int = 0,
) -> Iterator[list[GeneratedToken]]:
    """Continue several prompts in step: each item holds the next token of every row that still runs.

    Temperature 0 is greedy. `top_p` keeps the fewest most probable tokens whose probabilities sum to at
    least that. Sampling inverts the cumulative distribution with one uniform number a token from the row's
    own generator, so a row's text does not depend on its neighbours or on the device's random state.
    Each row's interventions see its own activations only, without padding. `alternatives` is how many of the most
    probable tokens are reported with each.
    Raises TokensRefused for an empty or too long prompt and HookNotFound, before the first token.
    """
    if not rows:
        raise ValueError("Give at least one row to generate.")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}.")
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, not {temperature}.")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}.")
    for name in {name for row in rows for name in row.interventions}:
        model.hook_point(name)
    prompts = [prompt_tokens(model, row.prompt) for row in rows]
    return _steps(model, rows, prompts, max_new_tokens, temperature, top_p, seed, stop, alternatives)


def prompt_tokens(model: LanguageModel, prompt: Prompt) -> list[int]:
    """Token ids of a prompt: text with the tokenizer's own special tokens, messages by its chat template."""
    if isinstance(prompt, str):
        ids: list[int] = model.tokenizer(prompt)["input_ids"]
    elif prompt and isinstance(prompt[0], Mapping):
        if not model.tokenizer.chat_template:
            raise LanguageModelError(
                f"The tokenizer of {model.source or 'this model'} has no chat template.",
                "Give the prompt as plain text, or use a model that was tuned for chat.",
            )
        messages = [dict(message) for message in prompt if isinstance(message, Mapping)]
        ids = model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    else:
        ids = [int(token) for token in prompt if not isinstance(token, Mapping)]
    if not ids:
        raise TokensRefused("The prompt is empty.", "Write at least one word for the model to continue.")
    model.check_tokens(torch.tensor([ids]))
    if model.context_limit is not None and len(ids) >= model.context_limit:
        raise TokensRefused(
            f"The prompt's {len(ids)} tokens fill this model's context of {model.context_limit}.",
            "Shorten it, so that there is room for new tokens.",
        )
    return ids


def _steps(
    model: LanguageModel,
    rows: Sequence[GenerationRow],
    prompts: list[list[int]],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    stop: Sequence[str],
    alternatives: int,
) -> Iterator[list[GeneratedToken]]:
    width = max(map(len, prompts))
    pads = [width - len(ids) for ids in prompts]
    tokens = torch.tensor([[ids[0]] * pad + ids for pad, ids in zip(pads, prompts, strict=True)])
    draws = [torch.Generator().manual_seed(seed if row.seed is None else row.seed) for row in rows]
    decode = _decoder(model)
    streams = [TextStream(decode, ids[-DECODING_CONTEXT:], stop) for ids in prompts]
    ends = _end_ids(model)
    running = list(range(len(rows)))
    cache: Any = None

    for step in range(max_new_tokens):
        logits, cache = _forward(model, rows, prompts, pads, tokens, width + step, cache)
        logprobs = torch.log_softmax(logits, dim=-1)
        best = logprobs.topk(min(alternatives, logprobs.shape[-1]), dim=-1) if alternatives else None
        chosen = [
            _choose(logits[r], temperature, top_p, draws[r]) if r in running else 0 for r in range(len(rows))
        ]
        out: list[GeneratedToken] = []
        for r in running:
            token, position = chosen[r], len(prompts[r]) + step
            finish: Finish | None = None
            if token in ends:
                finish = "eos"
            elif step + 1 == max_new_tokens:
                finish = "length"
            elif model.context_limit is not None and position + 1 >= model.context_limit:
                finish = "context"
            text = streams[r].push(token, last=finish is not None)
            if streams[r].stopped:
                finish = "stop"
            others = (
                ()
                if best is None
                else tuple(zip(best.indices[r].tolist(), best.values[r].tolist(), strict=True))
            )
            out.append(GeneratedToken(r, position, token, text, float(logprobs[r, token]), finish, others))
        yield out
        running = [token.row for token in out if token.finish is None]
        if not running:
            return
        tokens = torch.tensor(chosen).unsqueeze(1)


def _forward(
    model: LanguageModel,
    rows: Sequence[GenerationRow],
    prompts: list[list[int]],
    pads: list[int],
    tokens: Tensor,
    total: int,
    cache: Any,
) -> tuple[Tensor, Any]:
    """Float32 logits `[B, vocab]` after `tokens` (the prompts, or one token a row), and the grown cache.

    Hooks are in place only while this runs: between two tokens the model is as it was, whoever uses it.
    """
    started = total - tokens.shape[1]
    changes = {
        name: _by_row(name, rows, prompts, pads, started)
        for name in dict.fromkeys(name for row in rows for name in row.interventions)
    }
    mask = position_ids = None
    if any(pads):
        real = torch.arange(total) >= torch.tensor(pads).unsqueeze(1)
        mask = real.long().to(model.device)
        position_ids = (mask.cumsum(1) - 1).clamp(min=0)[:, started:]
    with model.changing(changes), torch.inference_mode():
        output = model.hf(
            input_ids=tokens.to(model.device),
            attention_mask=mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return output.logits[:, -1].float().cpu(), output.past_key_values


def _by_row(
    name: str, rows: Sequence[GenerationRow], prompts: list[list[int]], pads: list[int], started: int
) -> Change:
    """One change of the whole batch out of the rows' own interventions at a hook."""

    def change(activations: Tensor) -> Tensor:
        changed = activations
        for r, row in enumerate(rows):
            if name not in row.interventions:
                continue
            skip = max(0, pads[r] - started)
            own = activations[r : r + 1, skip:]
            positions = Positions(max(0, started - pads[r]), own.shape[1], len(prompts[r]))
            new = same_shape(row.interventions[name](own, positions), own, name)
            if changed is activations:
                changed = activations.clone()
            changed[r : r + 1, skip:] = new
        return changed

    return change


def _choose(logits: Tensor, temperature: float, top_p: float, draw: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits.double() / temperature, dim=-1).sort(
        descending=True, stable=True
    )
    cumulative = probabilities.cumsum(0)
    kept = int((cumulative < top_p).sum()) + 1 if top_p < 1 else len(cumulative)
    cumulative = cumulative[:kept]
    uniform = torch.rand((), generator=draw, dtype=torch.float64) * cumulative[-1]
    index = int(torch.searchsorted(cumulative, uniform, right=True))
    return int(order[min(index, len(cumulative) - 1)])


def _decoder(model: LanguageModel) -> Callable[[list[int]], str]:
    tokenizer = model.tokenizer

    def decode(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    return decode


def _end_ids(model: LanguageModel) -> set[int]:
    generation = getattr(model.hf, "generation_config", None)
    value = getattr(generation, "eos_token_id", None)
    if value is None:
        value = getattr(model.config, "eos_token_id", None)
    return set(value) if isinstance(value, list) else set() if value is None else {int(value)}
