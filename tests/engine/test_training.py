"""Many dictionaries on one stream: the same as each alone, resumable to the bit, and one failure alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mistudio.engine import (
    ActivationsRefused,
    CacheSource,
    ModelSource,
    Progress,
    Run,
    RunRefused,
    SettingsRefused,
    TrainedSAE,
    harvest,
    settings,
    train_runs,
)
from mistudio.engine.checkpoints import list_checkpoints
from mistudio.engine.progress import FIRST_ROWS, HELD_OUT_ROWS
from mistudio.engine.sources import Batch
from mistudio.lm import LanguageModel, load_language_model
from mistudio.sae import Trainer, TrainingDiverged
from mistudio.store import read_metrics
from tests.engine.conftest import some_tokens

RESIDUAL, LATER = "blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"
MLP_IN, MLP_OUT = "blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out"
HOOKS = [RESIDUAL, LATER, MLP_IN, MLP_OUT]
CONFIG = settings(
    d_sae=64,
    k=4,
    total_tokens=6_000,
    batch_size=256,
    learning_rate=3e-3,
    warmup_steps=3,
    log_every=2,
    checkpoint_every=5,
)


@pytest.fixture
def source(model: LanguageModel) -> ModelSource:
    return ModelSource(model, some_tokens(300), HOOKS, held_out_tokens=512, pool_tokens=1_024)


@pytest.fixture
def cached(model: LanguageModel, tmp_path: Path) -> CacheSource:
    cache = harvest(model, some_tokens(300), HOOKS, tmp_path / "caches", dtype="float32")
    return CacheSource(cache, held_out_tokens=512)


@pytest.fixture(params=["model", "cache"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("source" if request.param == "model" else "cached")


def weights(trained: TrainedSAE) -> dict[str, Tensor]:
    assert trained.sae is not None
    return dict(trained.sae.named_parameters())


def same(ours: TrainedSAE, theirs: TrainedSAE) -> bool:
    a, b = weights(ours), weights(theirs)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def four_runs() -> list[Run]:
    return [
        Run(RESIDUAL, config=CONFIG, name="batch_topk"),
        Run(RESIDUAL, config=settings(CONFIG, architecture="jump_relu", target_l0=8), name="jump_relu"),
        Run(MLP_IN, MLP_OUT, config=settings(CONFIG, checkpoint_every=7), name="transcoder"),
        Run(hooks=(RESIDUAL, LATER), config=settings(CONFIG, total_tokens=4_000), name="crosscoder"),
    ]


@pytest.mark.slow
def test_runs_trained_together_are_those_trained_alone(either: Any) -> None:
    together = train_runs(either, four_runs())
    for one in together:
        (alone,) = train_runs(either, [one.run])
        assert same(one, alone), one.name
        assert one.metrics == alone.metrics
        assert one.history["loss"] == alone.history["loss"]
    assert [one.tokens for one in together] == [6_000, 6_000, 6_000, 4_000]
    assert all(one.history["fvu"][-1] < 0.9 * one.history["fvu"][0] for one in together)


def test_what_the_model_reads_before_the_first_step_is_reported(source: ModelSource) -> None:
    seen: list[Progress] = []
    train_runs(source, [Run(RESIDUAL, config=settings(CONFIG, total_tokens=512))], progress=seen.append)
    assert list(dict.fromkeys(one.stage for one in seen)) == [
        FIRST_ROWS,
        "Train",
        HELD_OUT_ROWS,
        "Measure on held-out tokens",
    ]
    for stage in (FIRST_ROWS, HELD_OUT_ROWS):
        rows = [(one.done, one.total) for one in seen if one.stage == stage]
        done = [at for at, _ in rows]
        assert done == sorted(done) and len(set(done)) > 2 and done[0] == 0
        assert {total for _, total in rows} == {done[-1]}, "the total is known from the start"
    assert next(one.done for one in seen if one.stage == "Train") == 0

    class LeavingError(Exception):
        pass

    def leave(report: Progress) -> None:
        if report.stage == FIRST_ROWS and report.done:
            raise LeavingError

    with pytest.raises(LeavingError):
        train_runs(source, [Run(RESIDUAL, config=CONFIG)], progress=leave)


@pytest.mark.slow
def test_one_pass_of_the_model_feeds_all_runs(source: ModelSource) -> None:
    read: list[int] = []
    source.on_chunk = lambda _epoch, at, _chunk: read.append(at)
    train_runs(source, four_runs()[:1])
    alone = list(read)
    read.clear()
    train_runs(source, four_runs())
    assert read == alone


@pytest.mark.slow
def test_a_run_is_the_trainer_stepped_on_the_sources_batches(either: Any) -> None:
    transcoder, crosscoder = train_runs(either, four_runs()[2:])
    by_hand = Trainer(transcoder.run.config, 32, d_out=32)
    side_by_side = Trainer(crosscoder.run.config, 64, n_sites=2)
    for batch in either.batches(256, CONFIG.seed):
        rows = batch.activations
        if not by_hand.done:
            left = by_hand.config.total_tokens - by_hand.tokens_seen
            by_hand.step(rows[MLP_IN][:left], rows[MLP_OUT][:left])
        if not side_by_side.done:
            left = side_by_side.config.total_tokens - side_by_side.tokens_seen
            side_by_side.step(torch.cat([rows[RESIDUAL], rows[LATER]], 1)[:left])
        if by_hand.done and side_by_side.done:
            break
    assert torch.equal(by_hand.finish().W_dec, weights(transcoder)["W_dec"])
    assert torch.equal(side_by_side.finish().W_enc, weights(crosscoder)["W_enc"])
    assert transcoder.sae is not None
    assert crosscoder.sae is not None
    assert transcoder.sae.metadata["hook_name"] == MLP_IN
    assert transcoder.sae.metadata["hook_name_out"] == MLP_OUT
    assert transcoder.sae.is_transcoder
    assert crosscoder.sae.metadata["hook_names"] == [RESIDUAL, LATER]
    assert crosscoder.sae.n_sites == 2


@pytest.mark.slow
def test_smaller_batches_take_more_steps_on_the_same_rows(source: ModelSource) -> None:
    small = Run(RESIDUAL, config=settings(CONFIG, batch_size=128), name="small")
    large = Run(RESIDUAL, config=CONFIG, name="large")
    trained = train_runs(source, [small, large])
    assert [one.steps for one in trained] == [47, 24]
    assert same(trained[1], train_runs(source, [large])[0])
    with pytest.raises(SettingsRefused, match=r"divide the 256 of a shared batch.*has 100"):
        train_runs(source, [replace(small, config=settings(CONFIG, batch_size=100)), large])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(either: Any) -> None:
    run = Run(RESIDUAL, config=CONFIG)
    first, again = (train_runs(either, [run])[0] for _ in range(2))
    assert same(first, again)
    assert not same(first, train_runs(either, [run], seed=1)[0])
    assert not same(first, train_runs(either, [Run(RESIDUAL, config=settings(CONFIG, seed=1))], seed=0)[0])


def folders_in(parent: Path, runs: list[Run]) -> list[Path]:
    return [parent / run.name for run in runs]


@pytest.mark.slow
def test_what_was_interrupted_goes_on_to_the_same_bits(either: Any, tmp_path: Path) -> None:
    """Runs whose checkpoints lie at different steps, twice interrupted, once without a chance to save."""
    runs = four_runs()
    unbroken = train_runs(either, runs)
    folders = folders_in(tmp_path / "runs", runs)

    class Killed(BaseException):
        pass

    def until(tokens: int, error: type[BaseException]) -> Any:
        def receive(progress: Progress) -> None:
            if progress.stage == "Train" and progress.done >= tokens:
                raise error

        return receive

    with pytest.raises(Killed):
        train_runs(either, runs, folders=folders, progress=until(256 * 9, Killed))
    assert [list_checkpoints(folder)[-1].step for folder in folders] == [5, 5, 7, 5]
    with pytest.raises(KeyboardInterrupt):
        train_runs(either, runs, folders=folders, progress=until(256 * 18, KeyboardInterrupt))
    assert [list_checkpoints(folder)[-1].step for folder in folders] == [18, 18, 18, 16]
    resumed = train_runs(either, runs, folders=folders)
    for one, other in zip(resumed, unbroken, strict=True):
        assert same(one, other), one.name
        assert one.metrics == other.metrics
        assert one.history["loss"] == other.history["loss"]
        assert one.folder is not None
        assert read_metrics(one.folder / "metrics.bin")["step"].tolist() == other.history["step"]


@pytest.mark.slow
def test_finished_runs_are_read_back(source: ModelSource, tmp_path: Path) -> None:
    runs = four_runs()
    folders = folders_in(tmp_path, runs)
    first = train_runs(source, runs, folders=folders)
    assert [len(list_checkpoints(folder)) for folder in folders] == [2, 2, 2, 2]

    def no_more(*_: Any) -> Iterator[Batch]:
        raise AssertionError("nothing is left to train")

    source.batches = no_more  # pyright: ignore[reportAttributeAccessIssue]
    again = train_runs(source, runs, folders=folders)
    for one, other in zip(first, again, strict=True):
        assert same(one, other)
        assert one.metrics == other.metrics
        assert one.history["fvu"] == other.history["fvu"]
        assert one.steps == other.steps


def test_a_folder_of_another_run_is_refused_by_what_differs(
    source: ModelSource, model: LanguageModel, tmp_path: Path
) -> None:
    run = Run(RESIDUAL, config=CONFIG, name="one")
    train_runs(source, [run], folders=[tmp_path / "one"])
    wider = replace(run, config=settings(CONFIG, d_sae=128, k=8))
    with pytest.raises(RunRefused, match=r"config\.architecture\.k, config\.d_sae"):
        train_runs(source, [wider], folders=[tmp_path / "one"])
    with pytest.raises(RunRefused, match="order"):
        train_runs(source, [run], folders=[tmp_path / "one"], seed=5)
    other = ModelSource(model, some_tokens(300, seed=1), HOOKS, held_out_tokens=512, pool_tokens=1_024)
    with pytest.raises(RunRefused, match=r"activations\.tokens"):
        train_runs(other, [run], folders=[tmp_path / "one"])


class Rows:
    """A source of given rows, again and again."""

    def __init__(self, rows: Tensor, **others: Tensor) -> None:
        self.rows = {RESIDUAL: rows, **others}

    @property
    def hooks(self) -> Mapping[str, int]:
        return {hook: rows.shape[1] for hook, rows in self.rows.items()}

    def batches(self, batch_size: int, seed: int, position: Any = None) -> Iterator[Batch]:
        at = 0 if position is None else int(position["at"])
        while True:
            found = {hook: rows.roll(-at, 0)[:batch_size] for hook, rows in self.rows.items()}
            at = (at + batch_size) % len(self.rows[RESIDUAL])
            yield Batch(found, {"at": at})

    def held_out(self, n: int | None = None) -> dict[str, Tensor] | None:
        return None

    def metadata(self, hook: str) -> dict[str, Any]:
        return {"hook_name": hook}


def test_a_run_that_diverges_stops_alone_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    rows = torch.randn(4_096, 16)
    exploding = rows.clone()
    exploding[256 * 7 + 5] *= 1e30  # finite, but no square of it is
    source = Rows(rows, exploding=exploding)
    runs = [Run("exploding", config=CONFIG, name="wild"), Run(RESIDUAL, config=CONFIG, name="tame")]
    folders = folders_in(tmp_path, runs)
    wild, tame = train_runs(source, runs, folders=folders)
    assert isinstance(wild.error, TrainingDiverged)
    assert wild.error.step == 8
    assert "at step 8" in wild.error.message
    assert wild.steps == 7
    assert wild.sae is not None
    assert all(bool(weight.isfinite().all()) for weight in weights(wild).values())
    assert [one.step for one in list_checkpoints(folders[0])] == [5]
    assert not (folders[0] / "result.json").exists()
    assert read_metrics(folders[0] / "metrics.bin")["step"].tolist() == [1, 2, 4, 6]
    assert tame.error is None
    assert same(tame, train_runs(source, runs[1:])[0])
    # going on from there comes to the same step; the finished one is not trained again
    again, finished = train_runs(source, runs, folders=folders)
    assert again.error is not None
    assert again.error.step == 8
    assert same(finished, tame)


def test_activations_that_are_no_numbers_are_named(model: LanguageModel, tiny_llama_folder: Path) -> None:
    rows = torch.randn(512, 16)
    rows[300, 3] = float("nan")
    config = settings(CONFIG, batch_size=128, total_tokens=1_024)
    (trained,) = train_runs(Rows(rows), [Run(RESIDUAL, config=config)])
    assert trained.error is not None
    assert "activations given to step 3 contain NaN" in trained.error.message
    assert trained.steps == 2

    broken = load_language_model(tiny_llama_folder, device="cpu")
    with torch.no_grad():
        broken.hf.get_input_embeddings().weight[7] = float("inf")
    source = ModelSource(broken, some_tokens(300), [RESIDUAL], pool_tokens=1_024)
    with pytest.raises(ActivationsRefused, match=rf"{RESIDUAL} is NaN at sequence \d+, position \d+"):
        train_runs(source, [Run(RESIDUAL, config=CONFIG)])


def test_without_held_out_rows_the_last_point_is_the_measure() -> None:
    (trained,) = train_runs(
        Rows(torch.randn(512, 16)), [Run(RESIDUAL, config=settings(CONFIG, total_tokens=1_000))]
    )
    assert trained.held_out_tokens == 0
    assert trained.metrics["fvu"] == trained.history["fvu"][-1]


def test_progress_has_rate_and_time_left_and_can_be_stopped(source: ModelSource) -> None:
    reports: list[Progress] = []
    (trained,) = train_runs(
        source,
        [Run(RESIDUAL, config=CONFIG)],
        progress=reports.append,
        stop=lambda: reports[-1].done >= 2_560,
    )
    assert trained.stopped
    assert trained.tokens == 2_560
    assert trained.sae is not None
    training = [report for report in reports if report.stage == "Train"]
    assert [report.done for report in training] == [256 * step for step in range(11)]
    assert all(report.total == 6_000 for report in training)
    assert training[-1].rate is not None
    assert training[-1].seconds_left == pytest.approx((6_000 - 2_560) / training[-1].rate)
    assert "FVU" in training[-1].note


def test_what_cannot_be_trained_is_refused_before_anything_is_read() -> None:
    source = Rows(torch.randn(512, 16))
    with pytest.raises(SettingsRefused, match=r"needs blocks\.7\.hook_mlp_out.*They hold blocks\.1"):
        train_runs(source, [Run("blocks.7.hook_mlp_out", config=CONFIG)])
    with pytest.raises(SettingsRefused, match="no runs"):
        train_runs(source, [])
    with pytest.raises(SettingsRefused, match="Two runs are called 'a'"):
        train_runs(source, [Run(RESIDUAL, config=CONFIG, name="a")] * 2)

    uneven = Rows(torch.randn(512, 16), wide=torch.randn(512, 24))
    with pytest.raises(SettingsRefused, match=r"one width; these differ: .*\(16\), wide \(24\)"):
        train_runs(uneven, [Run(hooks=(RESIDUAL, "wide"), config=CONFIG)])


_CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from mistudio.engine import CacheSource, ModelSource, harvest, train_runs
from mistudio.lm import load_language_model
from tests.engine.conftest import some_tokens
from tests.engine.test_training import HOOKS, four_runs, folders_in

model = load_language_model(sys.argv[1], device="cpu")
folder, kind = Path(sys.argv[2]), sys.argv[3]
if kind == "cache":
    cache = harvest(model, some_tokens(300), HOOKS, folder / "caches", dtype="float32")
    source = CacheSource(cache, held_out_tokens=512)
else:
    source = ModelSource(model, some_tokens(300), HOOKS, held_out_tokens=512, pool_tokens=1_024)
runs = four_runs()

def report(progress):
    print(progress.stage, progress.done, flush=True)
    time.sleep(0.02)

train_runs(source, runs, folders=folders_in(folder, runs), progress=report)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "cache"])
def test_a_killed_process_goes_on_to_the_same_bits(
    kind: str, tiny_llama_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command = [sys.executable, "-c", _CHILD, str(tiny_llama_folder), str(tmp_path), kind]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    for line in child.stdout:
        stage, done = line.rsplit(maxsplit=1)
        if stage == "Train" and int(done) >= 256 * 13:
            os.kill(child.pid, signal.SIGKILL)
            break
    assert child.wait(timeout=60) == -signal.SIGKILL
    source = request.getfixturevalue("source" if kind == "model" else "cached")
    runs = four_runs()
    folders = folders_in(tmp_path, runs)
    assert [bool(list_checkpoints(folder)) for folder in folders] == [True] * 4
    assert not any((folder / "result.json").exists() for folder in folders)
    began = time.monotonic()
    resumed = train_runs(source, runs, folders=folders)
    assert time.monotonic() - began < 60
    for one, other in zip(resumed, train_runs(source, runs), strict=True):
        assert same(one, other), one.name
        assert one.history["loss"] == other.history["loss"]
