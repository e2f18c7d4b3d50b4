"""Training many dictionaries on one stream of activations: one pass of the model, or one cache, feeds them all."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mistudio.engine.changes import Wanted, read_changes
from mistudio.engine.checkpoints import METRICS_FILE, RESULT_FILE
from mistudio.engine.distributed import refuse_idle_ranks
from mistudio.engine.live_run import LiveRun, OnChange, OnPoints, Rows
from mistudio.engine.prefetching import AHEAD, prefetched
from mistudio.engine.progress import HELD_OUT_ROWS, AlongsidePace, OnProgress, Pace, RowsPace
from mistudio.engine.recordings.cross_entropy import spliced_loss_of
from mistudio.engine.recordings.environment import add_environment, environment
from mistudio.engine.recordings.recorder import Recorder, splice_together
from mistudio.engine.run_folder import Curves, begin, finished, write_json
from mistudio.engine.runs import Run, SettingsRefused, named_apart, shared_batch_size
from mistudio.engine.sources import ActivationSource, Batch, CacheSource, ModelSource
from mistudio.engine.trained import TrainedSAE
from mistudio.sae import SAE, Evaluation, load_sae, save_sae
from mistudio.sae.distributed import ALONE, Ranks, Split

Changes = Callable[[], Sequence[Wanted]]
"""Asked, before the first batch and after each, which settings of which runs to change."""


def train_runs(
    source: ActivationSource,
    runs: Sequence[Run],
    *,
    folders: Sequence[Path] | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: OnProgress | None = None,
    on_points: OnPoints | None = None,
    stop: Callable[[], bool] = lambda: False,
    changes: Changes | None = None,
    on_change: OnChange | None = None,
    saved_on: tuple[type[BaseException], ...] = (KeyboardInterrupt,),
    save_finished: bool = True,
    surroundings: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
    split: Split = "batch",
) -> list[TrainedSAE]:
    """Train all `runs` on the activations of `source`, in lockstep, and measure each on the held-out ones.

    The source is read in batches of `batch_size`, by default the largest among the runs; a run with a smaller one takes
    several steps on each, so every run's batch size must divide it. Runs may end at different numbers of tokens. A run
    that diverges stops alone: see `TrainedSAE.error`.

    folders: one for each run, for its curves, its checkpoints (every `checkpoint_every` steps) and the finished
        dictionary. A call with the same runs and folders goes on where an earlier one was stopped or killed, to the
        same bits; runs that were finished are read back. The dictionaries are finished and saved there unless
        `save_finished` is False. Runs whose `total_tokens` have grown since go on from where they ended, under the
        schedule of the longer training from there: its learning rate rises again where the shorter one's had decayed.
    seed: of the order of the activations; the first run's `config.seed` by default. A run's own seed sets its weights.
    batch_size: in which the source is read. Runs of which others were dropped since they began go on in the order that
        they began in when this and the seed are given as they were.
    device: where the dictionaries are trained; by default where the model is, or a GPU when a cache is read.
    progress: called after each batch with tokens, rate and time left. What it raises ends the training; when that is
        one of `saved_on`, all runs are checkpointed first.
    surroundings: what stands in `environment.jsonl` of each folder beside packages, hardware and threads, in place of
        the git state of the working directory.
    stop: asked after each batch whether to end here and keep what was learned.
    changes: asked for settings to change from the next step on: the learning rate, and what sets the sparsity
        (`sae.config.live`). Each is noted in the run's folder (`engine.changes`) and told to `on_change`; what cannot
        change is logged.
    ranks, split: the processes that train together (`engine.distributed`): all make this call, and each steps on its
        part of every batch, or keeps its part of the latents. The first writes the folders and is asked for `changes`.

    Raises SettingsRefused, RunRefused (a folder holds another run), and what the source raises.
    """
    runs = named_apart(runs)
    batch_size = shared_batch_size(runs, batch_size)
    sites = [_site(run, source) for run in runs]
    refuse_idle_ranks(runs, ranks, split)
    seed = runs[0].config.seed if seed is None else seed
    where = torch.device(device) if device is not None else _device_of(source)
    started = [run.config for run in runs]
    if folders is not None:
        started = [
            begin(folder, run.config, _identity(run, source, seed, batch_size))
            for folder, run in zip(folders, runs, strict=True)
        ]
        if save_finished and all(finished(f, r.config) for f, r in zip(folders, runs, strict=True)):
            return [_read_back(folder, run) for folder, run in zip(folders, runs, strict=True)]
    spliced = spliced_loss_of(source, runs)
    live: list[LiveRun] = []
    try:
        for number, (run, (d_in, d_out)) in enumerate(zip(runs, sites, strict=True)):
            folder = folders[number] if folders else None
            heard = (on_points, on_change)
            place = _metadata(source, run)
            recorder_of = partial(Recorder, run=run, source=source, folder=folder, spliced=spliced)
            live.append(
                LiveRun(
                    run, started[number], d_in, d_out, where, folder, heard, place, recorder_of, ranks, split
                )
            )
        if folders is not None and live[0].trainer.first:
            git_of = Path.cwd() if surroundings is None else None
            found = (
                environment(git_of=git_of)
                | {"device": str(where), "order_seed": seed}
                | dict(surroundings or {})
            )
            for folder, run in zip(folders, runs, strict=True):
                add_environment(folder, found | {"seed": run.config.seed})
        between = _Between(live, changes, stop, ranks)
        stopped = _train(source, live, batch_size, seed, progress, between, saved_on)
        for one in live:
            one.checkpoint()
        return _results(source, live, stopped, progress, save_finished)
    finally:
        for one in live:
            one.curves.close()
            one.recorder.close()


def _train(
    source: ActivationSource,
    live: Sequence[LiveRun],
    batch_size: int,
    seed: int,
    progress: OnProgress | None,
    between: _Between,
    saved_on: tuple[type[BaseException], ...],
) -> bool:
    """Step all runs to their ends; returns whether that was asked to end early."""
    total = max(one.trainer.config.total_tokens for one in live)
    first = min((one for one in live if one.active), key=lambda one: one.batches, default=None)
    if first is None:
        return False
    number = first.batches
    begun = min(number * batch_size, total)
    between.change()
    batches = source.batches(batch_size, seed, first.position)
    model_source = _model_source(source)
    # A model shares the processor with the training: a thread gains nothing, and would read a last pool that nobody
    # wants.
    ahead = 0 if model_source is not None else AHEAD
    pace: Pace | AlongsidePace
    if model_source is None:
        pace = Pace(progress, "Train", total)
        pace.at(begun)
    else:
        pace = AlongsidePace(progress, "Train", total, begun)
    try:
        with _told_of_rows(model_source, pace), closing(prefetched(batches, ahead)) as stream:
            for batch in stream:
                number += 1
                seen = Rows(batch, live[0].device)
                taking = [one for one in live if one.active and one.batches < number]
                for one in taking:
                    one.take(batch, seen)
                if any(one.recorder.unspliced is not None for one in taking):
                    pace.meanwhile("measuring the cross-entropy with SAEs spliced in")
                    splice_together([one.recorder for one in taking])
                for one in taking:
                    one.settle(batch)
                running = [one for one in live if one.active]
                newest = next((one.curves.last for one in running if one.curves.last), {})
                note = f"FVU {newest['fvu']:.3f}, L0 {newest['l0']:.0f}" if newest else ""
                pace.at(min(number * batch_size, total), note)
                if not running:
                    return False
                if between.stop():
                    return True
                between.change()
    except saved_on:
        for one in live:
            one.checkpoint()
        raise
    return False


class _Between:
    """What is asked between two batches."""

    def __init__(
        self, live: Sequence[LiveRun], changes: Changes | None, stop: Callable[[], bool], ranks: Ranks
    ) -> None:
        self._live, self._changes, self._stop, self._ranks = live, changes, stop, ranks

    def stop(self) -> bool:
        """Whether any rank was asked to end here."""
        return self._ranks.any(self._stop())

    def change(self) -> None:
        """Make the changes that are wanted now: those that the first rank is asked for, at one step on all ranks."""
        if self._changes is None:
            return
        asked = self._changes() if self._ranks.rank == 0 else ()
        if not self._ranks.any(bool(asked)):
            return
        for wanted in self._ranks.of_first(asked):
            for one in self._live:
                if wanted.run in ("", one.run.name):
                    one.change(wanted)


def _results(
    source: ActivationSource,
    live: list[LiveRun],
    stopped: bool,
    progress: OnProgress | None,
    save_finished: bool,
) -> list[TrainedSAE]:
    """What has become of the runs, each taken out of `live`."""
    with _told_of_rows(_model_source(source), RowsPace(progress, HELD_OUT_ROWS)):
        held_out = source.held_out()
    pace = Pace(progress, "Measure on held-out tokens", len(live), "dictionaries")
    pace.at(0)
    found: list[TrainedSAE] = []
    while live:
        one = live.pop(0)  # its trainer is freed for the next one's finished form
        with closing(one.curves), closing(one.recorder):
            found.append(_result(source, one, held_out, stopped, save_finished))
        pace.at(len(found))
    return found


def _result(
    source: ActivationSource,
    one: LiveRun,
    held_out: dict[str, Tensor] | None,
    stopped: bool,
    save_finished: bool,
) -> TrainedSAE:
    trainer, run = one.trainer, one.run
    sae = trainer.finish(_metadata(source, run)) if trainer.scales is not None else None
    metrics = dict(one.curves.last)
    if held_out is not None and sae is not None:
        metrics = _measure(sae, run, held_out)
    result = TrainedSAE(
        run=run,
        sae=sae,
        metrics=metrics,
        history=one.curves.columns(),
        steps=trainer.steps_done,
        tokens=trainer.tokens_seen,
        held_out_tokens=0 if held_out is None else len(next(iter(held_out.values()))),
        folder=one.folder,
        error=one.error,
        changes=tuple(one.changes),
        stopped=stopped and not trainer.done and one.error is None,
    )
    if one.folder is not None and save_finished and sae is not None and trainer.done and trainer.first:
        save_sae(sae, one.folder / "sae")
        one.curves.sync()
        said = {"steps": result.steps, "tokens": result.tokens, "held_out_tokens": result.held_out_tokens}
        write_json(one.folder / RESULT_FILE, {**said, "metrics": metrics})
    return result


def _read_back(folder: Path, run: Run) -> TrainedSAE:
    """The result of a run that was finished before."""
    said = finished(folder, run.config)
    assert said is not None
    steps = int(said["steps"])
    return TrainedSAE(
        run=run,
        sae=load_sae(folder / "sae"),
        metrics=said["metrics"],
        history=Curves(folder / METRICS_FILE, steps).columns(),
        steps=steps,
        tokens=int(said["tokens"]),
        held_out_tokens=int(said["held_out_tokens"]),
        folder=folder,
        changes=tuple(read_changes(folder)),
    )


def _measure(sae: SAE, run: Run, held_out: dict[str, Tensor]) -> dict[str, float]:
    evaluation = Evaluation()
    rows = len(next(iter(held_out.values())))
    step = run.config.batch_size
    for start in range(0, rows, step):
        seen = Rows(Batch({h: a[start : start + step] for h, a in held_out.items()}, {}), sae.device)
        evaluation.update(seen.of(run.reads), sae, seen.of(run.writes) if run.transcodes else None)
    return {name: float(value) for name, value in evaluation.result().as_dict().items()}


def _metadata(source: ActivationSource, run: Run) -> dict[str, Any]:
    """Where a dictionary belongs: SAELens' keys, with `hook_name_out` of a transcoder, `hook_names` of a crosscoder."""
    found = {**source.metadata(run.reads[0]), "seed": run.config.seed}
    if run.transcodes:
        found["hook_name_out"] = run.hook_out
    if len(run.reads) > 1:
        for key in ("hook_name", "hook_head_index"):
            found.pop(key, None)
        found["hook_names"] = list(run.reads)
    return found


def _site(run: Run, source: ActivationSource) -> tuple[int, int | None]:
    """Widths of what a run reads and, for a transcoder, writes. Raises SettingsRefused."""
    for hook in (*run.reads, *run.writes):
        if hook not in source.hooks:
            raise SettingsRefused(
                f"The run “{run.title}” needs {hook}, which its activations do not hold.",
                f"They hold {', '.join(source.hooks)}.",
            )
    widths = [source.hooks[hook] for hook in run.reads]
    if len(set(widths)) > 1:
        listed = ", ".join(f"{hook} ({d})" for hook, d in zip(run.reads, widths, strict=True))
        raise SettingsRefused(f"A crosscoder needs hook points of one width; these differ: {listed}.")
    return sum(widths), source.hooks[run.writes[0]] if run.transcodes else None


def _model_source(source: ActivationSource) -> ModelSource | None:
    """The source that runs a model, where batches cost passes of one."""
    inner: Any = getattr(source, "source", source)
    return inner if isinstance(inner, ModelSource) else None


@contextmanager
def _told_of_rows(source: ModelSource | None, pace: Pace | RowsPace | AlongsidePace) -> Generator[None]:
    """`pace` is told of what the model reads inside."""
    if source is None or isinstance(pace, Pace):
        yield
        return
    source.on_rows = pace.rows
    try:
        yield
    finally:
        source.on_rows = None


def _device_of(source: ActivationSource) -> torch.device:
    if (inner := _model_source(source)) is not None:
        return inner.model.device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _identity(run: Run, source: ActivationSource, seed: int, batch_size: int) -> dict[str, Any]:
    """Everything that a run's result depends on, for `run.json`."""
    inner: Any = getattr(source, "source", source)
    data: dict[str, Any] = {}
    if isinstance(inner, ModelSource):
        data = {
            "model": inner.model.fingerprint,
            "tokens": inner.sequences.digest,
            "settings": inner.settings.model_dump(),
            "held_out_sequences": len(inner.held_out_sequences),
            "pool_tokens": inner.pool_tokens,
        }
    elif isinstance(inner, CacheSource):
        key = cast("dict[str, Any]", inner.cache.meta.get("key") or {"tokens": inner.cache.n_tokens})
        data = {"cache": {k: v for k, v in key.items() if k != "hooks"}, "n_training": inner.n_training}
    return {
        "name": run.name,
        "reads": list(run.reads),
        "writes": list(run.writes),
        "config": run.config.model_dump(mode="json"),
        "order": {"seed": seed, "batch_size": batch_size},
        "activations": data,
    }
