"""Changing activations while the model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Where = Literal["all", "prompt", "generated"]


@dataclass(frozen=True)
class Positions:
    """Which positions of a text an intervention is being shown.

    The activations cover positions `start` to `start + length - 1` of the text, counted from 0; padding is
    never shown. Positions below `prompt_length` hold prompt tokens, the others hold generated tokens. (The
    first generated token is predicted from the last position of the prompt, which counts as prompt.)
    """

    start: int
    length: int
    prompt_length: int

    def where(self, where: Where, device: torch.device | None = None) -> Tensor:
        """Boolean `[S]`, true at the positions that belong to `where`."""
        index = torch.arange(self.start, self.start + self.length, device=device)
        if where == "all":
            return torch.ones_like(index, dtype=torch.bool)
        return index < self.prompt_length if where == "prompt" else index >= self.prompt_length


Intervention = Callable[[Tensor, Positions], Tensor]
"""`(activations [B,S,d], positions) -> activations [B,S,d]`. Must not write into its argument."""


def same_shape(new: Tensor, old: Tensor, hook: str) -> Tensor:
    """What an intervention returned, in the type of what it was given. Raises ValueError unless the shapes
    are equal: a broadcast here would change other positions without a word."""
    if new.shape != old.shape:
        raise ValueError(
            f"The intervention at '{hook}' returned shape {list(new.shape)} for activations of shape "
            f"{list(old.shape)}; it must keep the shape."
        )
    return new.to(old)


def add_direction(direction: Tensor, strength: float, where: Where = "all") -> Intervention:
    """Adds `strength * direction` (direction `[d]`, taken as it is, not normalized) at `where`."""

    def intervene(activations: Tensor, positions: Positions) -> Tensor:
        step = (strength * direction).to(activations)
        if where == "all":
            return activations + step
        here = positions.where(where, activations.device).unsqueeze(-1)
        return torch.where(here, activations + step, activations)

    return intervene
