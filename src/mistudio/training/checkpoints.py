"""Checkpoints of a training: one folder a step, the newest few kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistudio.store import folder_bytes

if TYPE_CHECKING:
    from mistudio.sae import Trainer

KEPT = 2
_PREFIX = "step-"


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


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints in a training's folder, oldest first."""
    found = [
        Checkpoint(int(path.name.removeprefix(_PREFIX)), path)
        for path in (folder / "checkpoints").glob(f"{_PREFIX}*")
        if path.name.removeprefix(_PREFIX).isdigit()
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def write_checkpoint(folder: Path, trainer: Trainer, position: dict[str, Any]) -> None:
    """Write the trainer's state and its place in the data; then let older ones than the newest two go."""
    target = folder / "checkpoints" / f"{_PREFIX}{trainer.steps_done:09d}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(target, extra={"position": position})
    drop_checkpoints(folder, keep=KEPT)


def drop_checkpoints(folder: Path, *, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for checkpoint in list_checkpoints(folder)[:-keep]:
        # A rename first: a half-deleted folder must not look like a checkpoint.
        doomed = checkpoint.path.with_name(f".old-{checkpoint.path.name}")
        checkpoint.path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
