"""What one training records of itself, step by step."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from pathlib import Path

from mistudio.engine.evaluation.sites import Site
from mistudio.engine.recordings.cross_entropy import COLUMNS, SplicedLoss
from mistudio.engine.recordings.histograms import Histograms
from mistudio.engine.recordings.looking import Looking
from mistudio.engine.recordings.memory import memory_row
from mistudio.engine.runs import Run
from mistudio.engine.sources import ActivationSource, Observed
from mistudio.sae import SAE, Trainer


class Recorder:
    """Records beside the curves of one training. It draws no random numbers and changes no weight.

    folder: of the run; without one nothing is kept on the disk, and only what belongs on the curves is measured.
    spliced: what measures cross-entropy at intervals, where there is a model for it.
    All ranks of a training have one each and call it together; the first writes.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: Run,
        source: ActivationSource,
        folder: Path | None,
        spliced: SplicedLoss | None = None,
    ) -> None:
        self._trainer, self._run, self._spliced = trainer, run, spliced
        self._splice_every = trainer.started_with.evaluation_interval(spliced is not None)
        self._histograms = self._looking = None
        if folder is not None:
            written = folder if trainer.first else None
            self._histograms = Histograms(trainer, written)
            if isinstance(source, Observed):
                self._looking = Looking(trainer, run, source, written)

    def after_step(self, before_pause: Callable[[], None] = lambda: None) -> dict[str, float] | None:
        """Record what is due after the step just done; what belongs beside its metrics on the curves, or None where
        no point is due. `before_pause` is called before what takes longer than a step."""
        trainer = self._trainer
        if self._histograms is not None and self._histograms.due:
            self._histograms.add()
        splices = self._splice_every > 0 and (trainer.steps_done % self._splice_every == 0 or trainer.done)
        looks = self._looking is not None and (
            self._looking.due or (not trainer.together and self._looking.asked)
        )
        sae: SAE | None = None
        if splices or looks:
            before_pause()
            sae = trainer.finish()  # all ranks together, each of which may have a part of it
        if sae is not None and looks and trainer.first:
            assert self._looking is not None
            self._looking.look(sae)
        if not trainer.log_due and not splices:
            return None
        row = memory_row(trainer.sae.device)
        if self._splice_every:
            row |= dict.fromkeys(COLUMNS, nan)
        if sae is not None and splices and trainer.first:
            assert self._spliced is not None
            row |= self._spliced.measure(sae, Site(self._run.reads, self._run.writes))
        return row

    def sync(self) -> None:
        """Make what was recorded as durable as the checkpoint that follows."""
        if self._histograms is not None:
            self._histograms.sync()

    def close(self) -> None:
        """Let the files go."""
        if self._histograms is not None:
            self._histograms.close()
