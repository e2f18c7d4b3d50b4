"""The checkpoints of a run: which are kept, what each says of itself, and going back to one. Imports no PyTorch by
itself.

Each is a folder `checkpoints/step-…` that is there whole or not at all, with `trainer.json` beside the tensors.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistudio.engine.changes import read_changes, write_changes
from mistudio.engine.errors import EngineError
from mistudio.sae.config import TrainerConfig
from mistudio.sae.folders import STATE_FILE, sweep
from mistudio.store import MetricLog, folder_bytes, read_metrics, sweep_temporaries

if TYPE_CHECKING:
    from mistudio.sae import Trainer

METRICS_FILE = "metrics.bin"
RESULT_FILE = "result.json"
_PREFIX = "step-"


class CheckpointMissing(EngineError):
    """A step of which a run has no checkpoint."""

    code = "checkpoint_missing"


@dataclass(frozen=True)
class Checkpoint:
    """A state on disk from which a training can go on."""

    step: int
    path: Path

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return folder_bytes(self.path)

    @property
    def created_at(self) -> datetime:
        """When it was finished."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)

    @cached_property
    def said(self) -> Mapping[str, Any]:
        """Its `trainer.json`; empty where that cannot be read."""
        try:
            return json.loads((self.path / STATE_FILE).read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    @property
    def tokens(self) -> int:
        """Tokens seen until then."""
        return int(self.said.get("tokens_seen", 0))

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the curves' points since the checkpoint before; what was not measured is left out."""
        return dict(self._extra.get("metrics") or {})

    @property
    def metadata(self) -> dict[str, Any]:
        """Where its dictionary belongs: model, hook point, context; SAELens' keys."""
        return dict(self._extra.get("metadata") or {})

    @property
    def config(self) -> TrainerConfig:
        """The settings as they were then. Raises ValidationError for a damaged checkpoint."""
        return TrainerConfig.model_validate(self.said.get("config_now", self.said.get("config")))

    @property
    def changes(self) -> int:
        """How many of the run's changes it has made."""
        return int(self._extra.get("changes", 0))

    @property
    def _extra(self) -> Mapping[str, Any]:
        return self.said.get("extra") or {}


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints in a run's folder, oldest first."""
    found = [
        Checkpoint(int(path.name.removeprefix(_PREFIX)), path)
        for path in (folder / "checkpoints").glob(f"{_PREFIX}*")
        if path.name.removeprefix(_PREFIX).isdigit()
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def find_checkpoint(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of this step. Raises CheckpointMissing, naming those there are."""
    found = {checkpoint.step: checkpoint for checkpoint in list_checkpoints(folder)}
    if step not in found:
        there = ", ".join(f"{one:,}" for one in found) or "none"
        raise CheckpointMissing(f"There is no checkpoint of step {step:,}.", f"There are: {there}.")
    return found[step]


def best_of(checkpoints: list[Checkpoint], metric: str) -> Checkpoint | None:
    """The checkpoint with the lowest `metric`, of equals the latest; None where none has it."""
    measured = [one for one in checkpoints if math.isfinite(one.metrics.get(metric, math.nan))]
    return min(measured, key=lambda one: (one.metrics[metric], -one.step), default=None)


def write_checkpoint(folder: Path, trainer: Trainer, extra: dict[str, Any]) -> None:
    """Write the trainer's state and what the caller needs besides; then let go those that are not to be kept."""
    target = folder / "checkpoints" / f"{_PREFIX}{trainer.steps_done:09d}"
    # ranks save together: none may turn back because another has written it already
    if trainer.together or not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(target, extra=extra)
    if trainer.first:
        thin_checkpoints(folder, trainer.config)


def thin_checkpoints(folder: Path, config: TrainerConfig) -> None:
    """Keep the newest `keep_checkpoints` and the best by `best_checkpoint`, and delete the others."""
    found = list_checkpoints(folder)
    kept = {one.step for one in found[-config.keep_checkpoints :]}
    if best := best_of(found, config.best_checkpoint):
        kept.add(best.step)
    for checkpoint in found:
        if checkpoint.step not in kept:
            delete_checkpoint(checkpoint)


def delete_checkpoint(checkpoint: Checkpoint) -> None:
    """Delete one checkpoint."""
    # A rename first: a half-deleted folder must not look like a checkpoint.
    doomed = checkpoint.path.with_name(f".{checkpoint.path.name}.old.partial")
    shutil.rmtree(doomed, ignore_errors=True)
    checkpoint.path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep_run(folder: Path) -> None:
    """Remove what a killed process left half-written or half-deleted in a run's folder. Nobody may be writing."""
    sweep(folder / "checkpoints")
    sweep(folder)
    sweep_temporaries(folder)


def rewind(folder: Path, step: int) -> None:
    """Take a run back to its checkpoint of this step: what came later, changes too, is forgotten.

    The run must not be in training. Raises CheckpointMissing.
    """
    chosen = find_checkpoint(folder, step)
    (folder / RESULT_FILE).unlink(missing_ok=True)
    for checkpoint in reversed(list_checkpoints(folder)):
        if checkpoint.step > step:
            delete_checkpoint(checkpoint)
    write_changes(folder, read_changes(folder)[: chosen.changes])
    path = folder / METRICS_FILE
    if path.exists():
        columns = [name for name in read_metrics(path) if name not in ("step", "tokens", "time")]
        with MetricLog(path, columns) as log:
            log.truncate_after(step)
