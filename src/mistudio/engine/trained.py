"""What comes out of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import cast

from mistudio.engine.changes import Change
from mistudio.engine.runs import Run, SettingsRefused, describe
from mistudio.sae import SAE, TrainingDiverged


@dataclass(frozen=True)
class TrainedSAE:
    """What came out of one run.

    sae: the finished dictionary, in the model's own units. Of a run that diverged, as it was before the step at which
        it did; None when that was the first.
    metrics: measured on the held-out activations (`sae.METRICS` explains the names); where nothing was held out, the
        last point of the curves.
    history: the curves as columns of equal length: step, tokens, time and a column for each metric.
    changes: what was changed while it trained, in that order.
    error: why it ended early, with the step, when it diverged. stopped: whether it was asked to end early.
    """

    run: Run
    sae: SAE | None
    metrics: dict[str, float]
    history: dict[str, list[float]]
    steps: int
    tokens: int
    held_out_tokens: int = 0
    folder: Path | None = None
    error: TrainingDiverged | None = None
    stopped: bool = False
    changes: tuple[Change, ...] = ()

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    def __repr__(self) -> str:
        shown = ", ".join(f"{k} {self.metrics[k]:.3g}" for k in ("fvu", "l0") if k in self.metrics)
        state = f"diverged: {self.error.message}" if self.error else shown + " (stopped)" * self.stopped
        what = describe(self.run.config)
        named = self.run.title if what in self.run.title else f"{self.run.title}: {what}"
        return f"<TrainedSAE {named}, {self.steps:,} steps, {state}>"


def dictionary_of(one: SAE | TrainedSAE) -> SAE:
    """The dictionary itself. Raises SettingsRefused for a run that left none, and for what is none."""
    given = cast("object", one)  # in a notebook nobody checks for types
    if isinstance(given, SAE):
        return given
    if not isinstance(given, TrainedSAE):
        raise SettingsRefused(
            f"A dictionary is needed, and this is of type {type(given).__name__}.",
            "Give what `load_sae` or `train` returned.",
        )
    if given.sae is None:
        raise SettingsRefused(
            f"The run “{given.run.title}” diverged in its first step and left no dictionary."
        )
    return given.sae


def named(saes: Sequence[SAE | TrainedSAE]) -> dict[str, SAE | TrainedSAE]:
    """Each under its run's name, its own, or “SAE”; numbered where that is another's too."""
    found: dict[str, SAE | TrainedSAE] = {}
    for one in saes:
        name = (
            one.run.title
            if isinstance(one, TrainedSAE)
            else str(dictionary_of(one).metadata.get("name") or "SAE")
        )
        number = next(n for n in count(1) if (name if n == 1 else f"{name} ({n})") not in found)
        found[name if number == 1 else f"{name} ({number})"] = one
    return found
