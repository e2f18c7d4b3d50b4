"""What one training records of itself, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path

from mistudio.engine.evaluation.sites import Site
from mistudio.engine.recordings.cross_entropy import COLUMNS, SplicedLoss
from mistudio.engine.recordings.histograms import Histograms
from mistudio.engine.recordings.looking import Looking
from mistudio.engine.recordings.memory import memory_row
from mistudio.engine.runs import Run
from mistudio.engine.sizes import SPLICED_TOGETHER
from mistudio.engine.sources import ActivationSource, Observed
from mistudio.sae import Trainer


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
        self.trainer, self.run, self.spliced = trainer, run, spliced
        self._splice_every = trainer.started_with.evaluation_interval(spliced is not None)
        self._histograms = self._looking = None
        self.unspliced: dict[str, float] | None = None
        if folder is not None:
            written = folder if trainer.first else None
            self._histograms = Histograms(trainer, written)
            if isinstance(source, Observed):
                self._looking = Looking(trainer, run, source, written)

    def after_step(self, before_pause: Callable[[], None] = lambda: None) -> dict[str, float] | None:
        """Record what is due after the step just done; what belongs beside its metrics on the curves, or None where
        no point is due. `before_pause` is called before what takes longer than a step. What is measured with the
        dictionary spliced into the model, `splice_together` puts there before the next step."""
        trainer = self.trainer
        if self._histograms is not None and self._histograms.due:
            self._histograms.add()
        splices = self._splice_every > 0 and (trainer.steps_done % self._splice_every == 0 or trainer.done)
        looking = self._looking
        looks = looking is not None and (looking.due or (not trainer.together and looking.asked))
        if splices or looks:
            before_pause()
        if looking is not None and looks:
            sae = trainer.finish()  # all ranks together, each of which may have a part of it
            if trainer.first:
                looking.look(sae)
        if not trainer.log_due and not splices:
            return None
        row = memory_row(trainer.sae.device)
        if self._splice_every:
            row |= dict.fromkeys(COLUMNS, nan)
        if splices:
            self.unspliced = row
        return row

    def sync(self) -> None:
        """Make what was recorded as durable as the checkpoint that follows."""
        if self._histograms is not None:
            self._histograms.sync()

    def close(self) -> None:
        """Let the files go."""
        if self._histograms is not None:
            self._histograms.close()


def splice_together(recorders: Sequence[Recorder]) -> None:
    """Measure the dictionaries of one training that are due for it, spliced into the model, in as few passes as may
    be, and fill in what `after_step` gave. They are as they are now; all ranks call it together."""
    due = [one for one in recorders if one.unspliced is not None]
    for start in range(0, len(due), SPLICED_TOGETHER):
        group = due[start : start + SPLICED_TOGETHER]
        saes = [one.trainer.finish() for one in group]
        spliced = group[0].spliced
        if spliced is not None and group[0].trainer.first:
            sites = [Site(one.run.reads, one.run.writes) for one in group]
            for one, found in zip(group, spliced.measure(saes, sites), strict=True):
                assert one.unspliced is not None
                one.unspliced.update(found)
        for one in group:
            one.unspliced = None
