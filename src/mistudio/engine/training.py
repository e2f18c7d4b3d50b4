"""Training many dictionaries on one stream of activations: one pass of the model, or one cache, feeds them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mistudio.engine.distributed import refuse_idle_ranks
from mistudio.engine.prefetching import AHEAD, prefetched
from mistudio.engine.progress import OnProgress, Pace
from mistudio.engine.run_folder import (
    METRICS_FILE,
    Curves,
    RunRefused,
    begin,
    drop_checkpoints,
    list_checkpoints,
    read_result,
    write_checkpoint,
    write_json,
)
from mistudio.engine.runs import Run, SettingsRefused, named_apart, shared_batch_size
from mistudio.engine.sources import ActivationSource, Batch, CacheSource, ModelSource
from mistudio.engine.trained import TrainedSAE
from mistudio.sae import SAE, Evaluation, Trainer, TrainingDiverged, load_sae, save_sae
from mistudio.sae.distributed import ALONE, Ranks, Split

OnPoints = Callable[[Run, list[dict[str, float]]], None]
"""Called with the newest points of a run's curves, a few times a second."""


def train_runs(
    source: ActivationSource,
    runs: Sequence[Run],
    *,
    folders: Sequence[Path] | None = None,
    seed: int | None = None,
    device: torch.device | str | None = None,
    progress: OnProgress | None = None,
    on_points: OnPoints | None = None,
    stop: Callable[[], bool] = lambda: False,
    saved_on: tuple[type[BaseException], ...] = (KeyboardInterrupt,),
    save_finished: bool = True,
    ranks: Ranks = ALONE,
    split: Split = "batch",
) -> list[TrainedSAE]:
    """Train all `runs` on the activations of `source`, in lockstep, and measure each on the held-out ones.

    The source is read in batches of the largest `batch_size` among the runs; a run with a smaller one takes several
    steps on each, so every batch size must divide the largest. Runs may end at different numbers of tokens. A run that
    diverges stops alone: see `TrainedSAE.error`.

    folders: one for each run, for its curves, its checkpoints (every `checkpoint_every` steps) and the finished
        dictionary. A call with the same runs and folders goes on where an earlier one was stopped or killed, to the
        same bits; runs that were finished are read back. The dictionaries are finished and saved there unless
        `save_finished` is False.
    seed: of the order of the activations; the first run's `config.seed` by default. A run's own seed sets its weights.
    device: where the dictionaries are trained; by default where the model is, or a GPU when a cache is read.
    progress: called after each batch with tokens, rate and time left. What it raises ends the training; when that is
        one of `saved_on`, all runs are checkpointed first.
    stop: asked after each batch whether to end here and keep what was learned.
    ranks, split: the processes that train together (`engine.distributed`): all make this call, and each steps on its
        part of every batch, or keeps its part of the latents. The first writes the folders.

    Raises SettingsRefused, RunRefused (a folder holds another run), and what the source raises.
    """
    runs = named_apart(runs)
    batch_size = shared_batch_size(runs)
    sites = [_site(run, source) for run in runs]
    refuse_idle_ranks(runs, ranks, split)
    seed = runs[0].config.seed if seed is None else seed
    where = torch.device(device) if device is not None else _device_of(source)
    if folders is not None:
        for folder, run in zip(folders, runs, strict=True):
            begin(folder, _identity(run, source, seed, batch_size))
        if save_finished and all(read_result(folder) for folder in folders):
            return [_read_back(folder, run) for folder, run in zip(folders, runs, strict=True)]
    live: list[_LiveRun] = []
    try:
        for number, (run, (d_in, d_out)) in enumerate(zip(runs, sites, strict=True)):
            folder = folders[number] if folders else None
            live.append(_LiveRun(run, d_in, d_out, where, folder, on_points, ranks, split))
        stopped = _train(source, live, batch_size, seed, progress, lambda: ranks.any(stop()), saved_on)
        for one in live:
            one.checkpoint()
        return _results(source, live, stopped, progress, save_finished)
    finally:
        for one in live:
            one.curves.close()


def _train(
    source: ActivationSource,
    live: Sequence[_LiveRun],
    batch_size: int,
    seed: int,
    progress: OnProgress | None,
    stop: Callable[[], bool],
    saved_on: tuple[type[BaseException], ...],
) -> bool:
    """Step all runs to their ends; returns whether that was asked to end early."""
    longest = max(live, key=lambda one: one.run.config.total_tokens)
    total = longest.run.config.total_tokens
    first = min((one for one in live if one.active), key=lambda one: one.batches, default=None)
    if first is None:
        return False
    pace = Pace(progress, "Train", total)
    number = first.batches
    pace.at(min(number * batch_size, total))
    batches = source.batches(batch_size, seed, first.position)
    ahead = 0 if _runs_model(source) else AHEAD
    try:
        with closing(prefetched(batches, ahead)) as stream:
            for batch in stream:
                number += 1
                seen = _Rows(batch, live[0].device)
                for one in live:
                    if one.active and one.batches < number:
                        one.take(batch, seen)
                running = [one for one in live if one.active]
                newest = next((one.curves.last for one in running if one.curves.last), {})
                note = f"FVU {newest['fvu']:.3f}, L0 {newest['l0']:.0f}" if newest else ""
                pace.at(min(number * batch_size, total), note)
                if not running:
                    return False
                if stop():
                    return True
    except saved_on:
        for one in live:
            one.checkpoint()
        raise
    return False


class _Rows:
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


class _LiveRun:
    """A run in training: its trainer, its curves, and how far it is in the stream."""

    def __init__(
        self,
        run: Run,
        d_in: int,
        d_out: int | None,
        device: torch.device,
        folder: Path | None,
        on_points: OnPoints | None,
        ranks: Ranks,
        split: Split,
    ) -> None:
        self.run, self.folder, self.device = run, folder, device
        self.trainer = Trainer(
            run.config, d_in, device, d_out=d_out, n_sites=len(run.reads), ranks=ranks, split=split
        )
        self.batches = 0
        """batches of the stream that it has taken"""
        self.position: dict[str, Any] | None = None
        """where the stream goes on after them"""
        self.error: TrainingDiverged | None = None
        self._stepping = False
        if folder is not None and (found := list_checkpoints(folder)):
            extra = self.trainer.load_checkpoint(found[-1].path)
            if "batches" not in extra:
                raise RunRefused(
                    f"The checkpoint {found[-1].path} was written by an earlier version of miStudio.",
                    "Start the training anew in another folder.",
                )
            self.position, self.batches = extra["position"], int(extra["batches"])
        self._saved_at = self.trainer.steps_done
        listener = None if on_points is None else partial(on_points, run)
        written = folder / METRICS_FILE if folder and self.trainer.first else None
        self.curves = Curves(written, self.trainer.steps_done, listener)

    @property
    def active(self) -> bool:
        """Whether it still learns."""
        return self.error is None and not self.trainer.done

    def take(self, batch: Batch, rows: _Rows) -> None:
        """Learn from one batch of the stream."""
        config, trainer = self.run.config, self.trainer
        x = rows.of(self.run.reads)
        y = rows.of(self.run.writes) if self.run.transcodes else None
        due = False
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
            if trainer.log_due:
                self.curves.add(metrics.row())
            due = due or trainer.checkpoint_due
            if trainer.done:
                break
        self.batches, self.position = self.batches + 1, batch.position
        self._stepping = False
        if due and self.error is None:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write its state, unless it has diverged or was interrupted within a step: then the last one stands."""
        trainer = self.trainer
        unsound = self.error is not None or self._stepping
        if self.folder is None or unsound or trainer.steps_done == self._saved_at:
            return
        self.curves.sync()
        write_checkpoint(self.folder, trainer, {"position": self.position, "batches": self.batches})
        self._saved_at = trainer.steps_done


def _results(
    source: ActivationSource,
    live: Sequence[_LiveRun],
    stopped: bool,
    progress: OnProgress | None,
    save_finished: bool,
) -> list[TrainedSAE]:
    pace = Pace(progress, "Measure on held-out tokens", len(live), "dictionaries")
    pace.at(0)
    held_out = source.held_out()
    found: list[TrainedSAE] = []
    for one in live:
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
            stopped=stopped and not trainer.done and one.error is None,
        )
        if one.folder is not None and save_finished and sae is not None and trainer.done and trainer.first:
            save_sae(sae, one.folder / "sae")
            drop_checkpoints(one.folder, keep=1)
            one.curves.sync()
            said = {"steps": result.steps, "tokens": result.tokens, "held_out_tokens": result.held_out_tokens}
            write_json(one.folder / "result.json", {**said, "metrics": metrics})
        found.append(result)
        pace.at(len(found))
    return found


def _read_back(folder: Path, run: Run) -> TrainedSAE:
    """The result of a run that was finished before."""
    said = read_result(folder)
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
    )


def _measure(sae: SAE, run: Run, held_out: dict[str, Tensor]) -> dict[str, float]:
    evaluation = Evaluation()
    rows = len(next(iter(held_out.values())))
    step = run.config.batch_size
    for start in range(0, rows, step):
        seen = _Rows(Batch({h: a[start : start + step] for h, a in held_out.items()}, {}), sae.device)
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


def _runs_model(source: ActivationSource) -> bool:
    """Whether batches cost passes of a model. It then shares the processor with the training: a thread gains nothing,
    and would read a last pool that nobody wants."""
    return isinstance(getattr(source, "source", source), ModelSource)


def _device_of(source: ActivationSource) -> torch.device:
    inner: Any = getattr(source, "source", source)
    if isinstance(inner, ModelSource):
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
