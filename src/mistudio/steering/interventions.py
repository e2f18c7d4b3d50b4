"""The mathematics of steering: what is added to the activations at an SAE's hook point.

Needs PyTorch: import it only in jobs and notebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mistudio.lm import Intervention, Positions
    from mistudio.sae import SAE


@dataclass(frozen=True)
class Edit:
    """One latent to change. `value` is in the latent's own scale: what is added, or the value it is set to."""

    index: int
    value: float
    mode: Literal["add", "clamp"] = "add"


@dataclass(frozen=True)
class SteeredPositions:
    """Which tokens of a text are changed.

    where: all of them, those of the prompt or the generated ones. spared: `[prompt length]` bool, true at tokens of
    the prompt that are never changed (special tokens).
    """

    where: Literal["all", "prompt", "generated"] = "all"
    spared: Tensor | None = None

    def mask(self, positions: Positions, device: torch.device) -> Tensor:
        """`[S]` bool, true where the activations shown are changed."""
        here = positions.where(self.where, device)
        if self.spared is not None and positions.start < len(self.spared):
            spared = self.spared[positions.start : positions.start + positions.length].to(device)
            here[: len(spared)] &= ~spared
        return here


def steering_vectors(sae: SAE, x: Tensor, edits: Sequence[Edit]) -> Tensor:
    """What is added to activations x `[n, d]`, `[n, d]` in the SAE's precision.

    add: Σ valueᵢ·dᵢ, with dᵢ the latent's decoder direction as it stands (not normalised).
    clamp: Σ (valueᵢ - zᵢ(x))·dᵢ, where z(x) are the latents of the unchanged x. With e = x - decode(z(x)) the result
    is decode(z with zᵢ = valueᵢ) + e: the other latents and the SAE's error stay exactly as they are. (Reading the
    changed activations again gives zᵢ = valueᵢ where the latent fired and the encoder undoes the decoder; a silent
    latent starts from below its threshold and reads back that much lower.)

    Where the SAE normalises tokens, a latent's unit is that of the normalised token: directions are scaled back by the
    token's own length (unit_norm) or deviation (layer_norm).
    """
    rows = sae.check(x)
    change = torch.zeros_like(rows)
    added = [edit for edit in edits if edit.mode == "add"]
    clamped = [edit for edit in edits if edit.mode == "clamp"]
    if added:
        values = torch.tensor([edit.value for edit in added], device=rows.device, dtype=rows.dtype)
        change += values @ sae.W_dec[[edit.index for edit in added]]
    if clamped:
        indices = [edit.index for edit in clamped]
        targets = torch.tensor([edit.value for edit in clamped], device=rows.device, dtype=rows.dtype)
        change += (targets - latent_values(sae, rows, indices)) @ sae.W_dec[indices]
    _, frame = sae.normalise(rows)
    return change if frame is None else change * frame.scale


def latent_values(sae: SAE, x: Tensor, indices: Sequence[int]) -> Tensor:
    """The values of a few latents on activations x `[n, d]`: `[n, len(indices)]`, 0 where silent."""
    latents = sae.encode(x)
    values = latents.values.new_zeros(latents.n_tokens, len(indices))
    for column, index in enumerate(indices):
        hits = latents.indices == index
        values[latents.tokens[hits], column] = latents.values[hits]
    return values


def steering_intervention(sae: SAE, edits: Sequence[Edit], positions: SteeredPositions) -> Intervention:
    """The intervention that makes these edits at the SAE's hook point.

    Raises ValueError for a latent that the SAE does not have or that is edited twice.
    """
    named = [edit.index for edit in edits]
    for index in named:
        if not 0 <= index < sae.d_sae:
            raise ValueError(f"This SAE has no latent {index}: they are 0 to {sae.d_sae - 1}.")
    if len(set(named)) < len(named):
        raise ValueError("A latent is edited twice; give each at most one edit.")
    edits = list(edits)

    @torch.no_grad()
    def intervene(activations: Tensor, shown: Positions) -> Tensor:
        here = positions.mask(shown, activations.device)
        if not edits or not bool(here.any()):
            return activations
        rows = activations[:, here]
        change = steering_vectors(sae, rows.reshape(-1, rows.shape[-1]), edits).reshape(rows.shape)
        changed = activations.clone()
        # Added in the SAE's precision: half of a small change would be lost in a model's bfloat16.
        changed[:, here] = (rows.to(change) + change).to(activations)
        return changed

    return intervene
