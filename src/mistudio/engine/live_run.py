"""A run in training: its trainer, its curves, its checkpoints, its changes, and how far it is in the stream."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.engine.changes import Change, Wanted, read_changes, write_changes
from mistudio.engine.checkpoints import (
    METRICS_FILE,
    list_checkpoints,
    sweep_run,
    thin_checkpoints,
    write_checkpoint,
)
from mistudio.engine.recordings.recorder import Recorder, splice_together
from mistudio.engine.run_folder import Curves, RunRefused
from mistudio.engine.runs import Run
from mistudio.engine.sources import Batch
from mistudio.sae import Trainer, TrainingDiverged
from mistudio.sae.config import TrainerConfig
from mistudio.sae.config.live import LENGTH, changed, full_name
from mistudio.sae.distributed import Ranks, Split

logger = logging.getLogger(__name__)

OnPoints = Callable[[Run, list[dict[str, float]]], None]
"""Called with the newest points of a run's curves, a few times a second."""
OnChange = Callable[[Run, Change], None]
"""Called when a setting of a run was changed."""


class Rows:
    """The rows of one batch on the trainers' device, laid side by side once for all runs that read the same."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        self._batch, self._device = batch, device
        self._found: dict[tuple[str, ...], Tensor] = {}

    def of(self, hooks: tuple[str, ...]) -> Tensor:
        """Activations [n, Σ d] of these hooks."""
        if hooks not in self._found:
            parts = [self._batch.activations[hook] for hook in hooks]
            rows = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            self._found[hooks] = rows.to(self._device, non_blocking=True)
        return self._found[hooks]


class LiveRun:
    """One run from its newest checkpoint on.

    started: the settings that the folder's run was started with; changes made since are made again at their steps,
        and a `total_tokens` of `run.config` that is longer than all of those is one more.
    recorder_of: what records it, made of its trainer.
    metadata: where its dictionary will belong, kept in checkpoints so that each can be opened by itself.
    """

    def __init__(
        self,
        run: Run,
        started: TrainerConfig,
        d_in: int,
        d_out: int | None,
        device: torch.device,
        folder: Path | None,
        heard: tuple[OnPoints | None, OnChange | None],
        metadata: dict[str, Any],
        recorder_of: Callable[[Trainer], Recorder],
        ranks: Ranks,
        split: Split,
    ) -> None:
        self.run, self.folder, self.device = run, folder, device
        self.trainer = Trainer(
            started, d_in, device, d_out=d_out, n_sites=len(run.reads), ranks=ranks, split=split
        )
        self.batches = 0
        """batches of the stream that it has taken"""
        self.position: dict[str, Any] | None = None
        """where the stream goes on after them"""
        self.error: TrainingDiverged | None = None
        self.changes: list[Change] = [] if folder is None else read_changes(folder)
        self._changes_made = 0
        on_points, self._on_change = heard
        self._metadata = metadata
        self._stepping = self._checkpoint_due = False
        self._point: tuple[dict[str, float], dict[str, float]] | None = None
        if folder is not None and self.trainer.first:
            sweep_run(folder)
            # A kill may have come between the writing of the last one and this.
            thin_checkpoints(folder, run.config)
        ranks.wait()
        if folder is not None and (found := list_checkpoints(folder)):
            extra = self.trainer.load_checkpoint(found[-1].path)
            if "batches" not in extra:
                raise RunRefused(
                    f"The checkpoint {found[-1].path} was written by an earlier version of miStudio.",
                    "Start the training anew in another folder.",
                )
            self.position, self.batches = extra["position"], int(extra["batches"])
            self._changes_made = int(extra.get("changes", 0))
        self._saved_at = self.trainer.steps_done
        listener = None if on_points is None else partial(on_points, run)
        written = folder / METRICS_FILE if folder and self.trainer.first else None
        self.curves = Curves(written, self.trainer.steps_done, listener)
        self._change_again()
        if run.config.total_tokens != self.trainer.config.total_tokens:
            self._change(LENGTH, run.config.total_tokens)
        self.recorder = recorder_of(self.trainer)

    @property
    def active(self) -> bool:
        """Whether it still learns."""
        return self.error is None and not self.trainer.done

    def take(self, batch: Batch, rows: Rows) -> None:
        """Learn from one batch of the stream; `settle` must follow, and `splice_together` before it."""
        trainer = self.trainer
        config = trainer.config
        x = rows.of(self.run.reads)
        y = rows.of(self.run.writes) if self.run.transcodes else None
        self._stepping = True
        for start in range(0, len(x), config.batch_size):
            stop = min(start + config.batch_size, start + config.total_tokens - trainer.tokens_seen, len(x))
            first, last = trainer.ranks.span(stop - start)
            mine = slice(start + first, start + last)
            try:
                metrics = trainer.step(x[mine], None if y is None else y[mine])
            except TrainingDiverged as error:
                self.error = error
                self.curves.sync()
                break
            if (recorded := self.recorder.after_step(self.curves.tell)) is not None:
                self._point = metrics.row(), recorded
            self._checkpoint_due |= trainer.checkpoint_due
            if trainer.done or stop == len(x):
                break
            splice_together([self.recorder])
            self._add_point()

    def settle(self, batch: Batch) -> None:
        """End the batch just taken: its last point, a checkpoint where one is due, changes to be made again."""
        self._add_point()
        self.batches, self.position = self.batches + 1, batch.position
        self._stepping = False
        if self.error is None:
            if self._checkpoint_due:
                self.checkpoint()
            self._change_again()
        self._checkpoint_due = False

    def _add_point(self) -> None:
        """Put the newest point on the curves, once it is complete."""
        if self._point is not None:
            measured, recorded = self._point
            self.curves.add(measured | recorded)
            self._point = None

    def change(self, wanted: Wanted) -> None:
        """Change a setting from the next step on; what cannot change is logged and left as it is."""
        if not self.active:
            return
        try:
            changed(self.trainer.config, wanted.setting, wanted.value)
        except ValueError as error:
            logger.warning(
                "%s: %s was not changed to %g: %s", self.run.name, wanted.setting, wanted.value, error
            )
            return
        self._change(wanted.setting, wanted.value)

    def _change(self, name: str, value: float) -> None:
        trainer = self.trainer
        before, after = trainer.change(name, value)
        if before == after:
            return
        change = Change(trainer.steps_done, time.time(), full_name(trainer.config, name), before, after)
        self.changes.append(change)
        self._changes_made = len(self.changes)
        if self.folder is not None and trainer.first:
            # before the first step under it, so that whoever is killed after that step knows of the change
            write_changes(self.folder, self.changes)
        if self._on_change is not None:
            self._on_change(self.run, change)

    def _change_again(self) -> None:
        """Make the changes that an attempt before this one made at this step."""
        for change in self.changes[self._changes_made :]:
            if change.step > self.trainer.steps_done:
                return
            self.trainer.change(change.name, change.after)
            self._changes_made += 1

    def checkpoint(self) -> None:
        """Write its state, unless it has diverged or was interrupted within a step: then the last one stands."""
        trainer = self.trainer
        unsound = self.error is not None or self._stepping
        if self.folder is None or unsound or trainer.steps_done == self._saved_at:
            return
        self.curves.sync()
        self.recorder.sync()
        means = self.curves.means(trainer.steps_done - max(trainer.config.checkpoint_every, 1))
        extra = {
            "position": self.position,
            "batches": self.batches,
            "changes": self._changes_made,
            "metrics": {name: value for name, value in means.items() if math.isfinite(value)},
            "metadata": self._metadata,
        }
        write_checkpoint(self.folder, trainer, extra)
        self._saved_at = trainer.steps_done
