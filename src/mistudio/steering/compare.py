"""Steered and unsteered text side by side: what a session, the demo and a notebook call.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from mistudio.lm.generation import GenerationRow, Prompt, generate_batch, prompt_tokens
from mistudio.saes.uses import obstacle
from mistudio.steering.interventions import Edit, SteeredPositions, steering_intervention

if TYPE_CHECKING:
    from mistudio.lm import GeneratedToken, Intervention, LanguageModel
    from mistudio.sae import SAE

__all__ = ["Comparison", "Edit", "PlacedSAE", "Written", "compare", "plan", "steer"]

Side = Literal["unsteered", "steered"]


class SteeringRefused(ValueError):
    """The model, the SAEs and the features do not fit each other."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


@dataclass(frozen=True)
class PlacedSAE:
    """An SAE and the hook point at which it is used (default: the one that its metadata names)."""

    sae: SAE
    hook: str = ""

    @property
    def hook_name(self) -> str:
        """Its hook point. Raises SteeringRefused when nobody has said it."""
        name = self.hook or str(self.sae.metadata.get("hook_name") or "")
        if not name:
            raise SteeringRefused(
                "sae_without_hook",
                "The SAE does not say which hook point it belongs to.",
                "Name it, like blocks.6.hook_resid_post.",
            )
        return name


@dataclass
class Written:
    """What one side wrote: tokens, text, why it ended, and its perplexity under the unsteered model."""

    tokens: list[GeneratedToken] = field(default_factory=list["GeneratedToken"])
    finish: str | None = None
    perplexity: float | None = None

    @property
    def text(self) -> str:
        """The generated text, without the prompt."""
        return "".join(token.text for token in self.tokens)


@dataclass(frozen=True)
class Comparison:
    """The prompt as the model saw it (token ids), and both texts. `unsteered` is None unless it was asked for."""

    prompt: list[int]
    steered: Written
    unsteered: Written | None


@dataclass(frozen=True)
class Plan:
    """A checked request: token ids of the prompt, and the steered side's interventions by hook point."""

    prompt: list[int]
    interventions: dict[str, Intervention]


def check_fit(model: LanguageModel, placed: PlacedSAE, name: str = "The SAE") -> str:
    """The SAE's hook point, once it is sure that it can be steered with, the model has it, and the widths agree.

    Raises SteeringRefused, HookNotFound.
    """
    sae = placed.sae
    reason = obstacle(
        "steering", kind=sae.architecture.kind, n_sites=sae.n_sites, transcoder=sae.is_transcoder
    )
    if reason is not None:
        raise SteeringRefused("sae_not_supported", f"{name} {reason}.")
    hook = placed.hook_name
    point = model.hook_point(hook)
    if point.d != sae.d_in:
        raise SteeringRefused(
            "sae_does_not_fit",
            f"{name} reads activations of width {sae.d_in}, but {point.name} of this model has width {point.d}.",
            "Use the model and the hook point that the SAE was trained on.",
        )
    return point.name


def plan(
    model: LanguageModel,
    saes: Mapping[str, PlacedSAE],
    prompt: Prompt,
    edits: Mapping[str, Sequence[Edit]],
    *,
    where: Literal["all", "prompt", "generated"] = "all",
    steer_special_tokens: bool = False,
) -> Plan:
    """Check everything and prepare the interventions; `edits` are by the key of their SAE.

    A prompt of text begins with the beginning-of-text token when an SAE was trained on texts that did
    (`prepend_bos` in its metadata). Of two SAEs at one hook point the second sees what the first has changed.
    Raises SteeringRefused, HookNotFound, TokensRefused.
    """
    ids = prompt_tokens(model, prompt)
    if isinstance(prompt, str) and any(p.sae.metadata.get("prepend_bos") for p in saes.values()):
        bos = model.tokenizer.bos_token_id
        if bos is not None and ids[0] != bos:
            ids = prompt_tokens(model, [bos, *ids])
    spared = None
    if not steer_special_tokens:
        spared = torch.tensor([token in model.special_ids for token in ids])
    positions = SteeredPositions(where, spared)
    interventions: dict[str, Intervention] = {}
    for key, own in edits.items():
        if key not in saes:
            raise SteeringRefused("sae_unknown", f"The SAE “{key}” is not loaded.")
        hook = check_fit(model, saes[key], f"The SAE “{key}”")
        try:
            made = steering_intervention(saes[key].sae, own, positions)
        except ValueError as error:
            raise SteeringRefused("feature_unknown", str(error)) from error
        interventions[hook] = _after(interventions[hook], made) if hook in interventions else made
    return Plan(ids, interventions)


def _after(first: Intervention, second: Intervention) -> Intervention:
    return lambda activations, positions: second(first(activations, positions), positions)


def compare(
    model: LanguageModel,
    planned: Plan,
    *,
    sides: Sequence[Side] = ("unsteered", "steered"),
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Iterator[list[tuple[Side, GeneratedToken]]]:
    """Write all sides in one batch: each item holds the next token of every side that still runs.

    Both sides draw the same random numbers, so that they differ only by what is done to the model.
    """
    rows = [
        GenerationRow(planned.prompt, planned.interventions if side == "steered" else {}) for side in sides
    ]
    steps = generate_batch(
        model,
        rows,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop=stop,
    )
    for step in steps:
        yield [(sides[token.row], token) for token in step]


def perplexity(model: LanguageModel, prompt: Sequence[int], generated: Sequence[int]) -> float | None:
    """exp of the mean negative log probability of the generated tokens under the unsteered model.

    One pass over prompt and text. None when nothing was generated.
    """
    if not generated:
        return None
    tokens = torch.tensor([[*prompt, *generated]])
    logits = model.logits(tokens)[0, len(prompt) - 1 : -1].float().cpu()
    chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(generated).unsqueeze(1))
    mean = -float(chosen.mean())
    return math.exp(mean) if mean < 700 else None


def steer(
    model: LanguageModel,
    sae: SAE | PlacedSAE | Mapping[str, PlacedSAE],
    prompt: Prompt,
    edits: Sequence[Edit] | Mapping[str, Sequence[Edit]],
    *,
    where: Literal["all", "prompt", "generated"] = "all",
    steer_special_tokens: bool = False,
    unsteered: bool = True,
    measure: bool = True,
    **generation: Any,
) -> Comparison:
    """Continue a prompt with some latents changed and, beside it, without.

    `edits` are in the latents' own scale: `Edit(12, 4 * maximum)` adds four times a feature's maximum activation.
    With several SAEs, give both `sae` and `edits` by the same keys. `generation` are the arguments of `compare`:
    max_new_tokens, temperature, top_p, seed, stop. Raises SteeringRefused, HookNotFound, TokensRefused.

    >>> steer(model, sae, "The weather is", [Edit(12, 8.0)], max_new_tokens=20).steered.text  # doctest: +SKIP
    """
    if isinstance(sae, Mapping):
        saes: Mapping[str, PlacedSAE] = sae
        by_sae = edits if isinstance(edits, Mapping) else dict.fromkeys(saes, edits)
    else:
        saes = {"sae": sae if isinstance(sae, PlacedSAE) else PlacedSAE(sae)}
        by_sae = edits if isinstance(edits, Mapping) else {"sae": edits}
    planned = plan(model, saes, prompt, by_sae, where=where, steer_special_tokens=steer_special_tokens)
    sides: tuple[Side, ...] = ("unsteered", "steered") if unsteered else ("steered",)
    written: dict[Side, Written] = {side: Written() for side in sides}
    for step in compare(model, planned, sides=sides, **generation):
        for side, token in step:
            written[side].tokens.append(token)
            written[side].finish = token.finish
    if measure:
        for side in written.values():
            side.perplexity = perplexity(model, planned.prompt, [token.token for token in side.tokens])
    return Comparison(planned.prompt, written["steered"], written.get("unsteered"))
