"""What one training records of itself, step by step."""

from __future__ import annotations

from pathlib import Path

from mistudio.engine.recordings.histograms import Histograms
from mistudio.engine.recordings.memory import memory_row
from mistudio.sae import Trainer


class Recorder:
    """Records beside the curves of one training. It draws no random numbers and changes no weight.

    folder: of the run; without one nothing is kept on the disk, and only what belongs on the curves is measured.
    All ranks of a training have one each and call it together; the first writes.
    """

    def __init__(self, trainer: Trainer, folder: Path | None) -> None:
        self._trainer = trainer
        self._histograms = None
        if folder is not None:
            self._histograms = Histograms(trainer, folder if trainer.first else None)

    def after_step(self) -> dict[str, float] | None:
        """Record what is due after the step just done; what belongs beside its metrics on the curves, or None where
        no point is due."""
        if self._histograms is not None and self._histograms.due:
            self._histograms.add()
        return memory_row(self._trainer.sae.device) if self._trainer.log_due else None

    def sync(self) -> None:
        """Make what was recorded as durable as the checkpoint that follows."""
        if self._histograms is not None:
            self._histograms.sync()

    def close(self) -> None:
        """Let the files go."""
        if self._histograms is not None:
            self._histograms.close()
