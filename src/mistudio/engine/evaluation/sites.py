"""Where a dictionary reads and writes in a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mistudio.engine.errors import EngineError
from mistudio.lm.model import LanguageModel
from mistudio.sae import SAE


class DictionaryMisplaced(EngineError):
    """A dictionary that cannot be measured at the hook points it names, or that names none."""

    code = "dictionary_misplaced"


@dataclass(frozen=True)
class Site:
    """Hook points whose activations, side by side, a dictionary reads, and those that it reconstructs."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]

    @property
    def hooks(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys([*self.reads, *self.writes]))

    @property
    def reconstructs(self) -> bool:
        """Whether it gives back what it reads."""
        return self.reads == self.writes

    def x(self, activations: Mapping[str, Tensor]) -> Tensor:
        """What is read, [..., d_in], from activations by hook."""
        return _side_by_side([activations[name] for name in self.reads])

    def y(self, activations: Mapping[str, Tensor]) -> Tensor:
        """What is to be written, [..., d_out]."""
        return _side_by_side([activations[name] for name in self.writes])

    def split(self, y: Tensor) -> dict[str, Tensor]:
        """[..., d_out] by hook."""
        return dict(zip(self.writes, y.chunk(len(self.writes), dim=-1), strict=True))


def _side_by_side(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def site_of(name: str, sae: SAE, model: LanguageModel, hook: str | None = None) -> Site:
    """The site of a dictionary by its metadata: `hook_name` (and `hook_head_index`), `hook_name_out` for transcoders,
    `hook_names` for crosscoders. `hook` overrides what is read (and what is written, unless the metadata names that).

    Raises DictionaryMisplaced where it names none or its widths are others, HookNotFound.
    """
    named: dict[str, Any] = sae.metadata
    several = named.get("hook_names") if hook is None else None
    if isinstance(several, (list, tuple)) and several:
        site = Site(tuple(map(str, several)), tuple(map(str, named.get("hook_names_out") or several)))
    else:
        reads = hook or named.get("hook_name")
        if not isinstance(reads, str) or not reads:
            raise DictionaryMisplaced(
                f"“{name}” does not say which hook point it reads.",
                "Name one, like blocks.6.hook_resid_post.",
            )
        head = named.get("hook_head_index")
        if hook is None and isinstance(head, int) and not reads.endswith("]"):
            reads = f"{reads}[{head}]"  # SAELens keeps the head beside the name
        site = Site((reads,), (str(named.get("hook_name_out") or reads),))
    for hooks, width, what in ((site.reads, sae.d_in, "reads"), (site.writes, sae.d_out, "writes")):
        found = sum(model.hook_point(one).d for one in hooks)
        if found != width:
            raise DictionaryMisplaced(
                f"“{name}” {what} activations of width {width}, but {' + '.join(hooks)} of this model has {found}.",
                "Name the model and the hook point that it was trained on.",
            )
    return site
