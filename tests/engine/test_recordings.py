"""What a training records of itself: true, whole after a kill, and without an effect on the training."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mistudio.engine import (
    CacheSource,
    EvaluationSettings,
    ModelSource,
    Progress,
    Run,
    SettingsRefused,
    TrainedSAE,
    evaluate,
    harvest,
    settings,
    train_runs,
)
from mistudio.engine.recordings import looking
from mistudio.engine.recordings.environment import (
    add_environment,
    environment,
    git_state,
    installed_packages,
    read_environments,
)
from mistudio.engine.recordings.frames import (
    FIRST_FRAMES,
    FRAME_SECONDS,
    HISTOGRAMS,
    MOST_FRAMES,
    SHARE,
    FrameLog,
    frame_interval,
    read_frames,
)
from mistudio.engine.recordings.looks import (
    FIRST_LOOKS,
    LOOK_SECONDS,
    MOST_LOOKS,
    ask_for,
    list_looks,
    look_interval,
    read_look,
)
from mistudio.lm import LanguageModel
from mistudio.lm import harvest as lm_harvest
from mistudio.store import read_metrics
from tests.engine.conftest import some_tokens

HOOK = "blocks.1.hook_resid_post"
CONFIG = settings(
    d_sae=64,
    k=4,
    total_tokens=6_000,
    batch_size=256,
    learning_rate=3e-3,
    warmup_steps=3,
    log_every=2,
    checkpoint_every=5,
    decoder_norm="free",
)
JUMP = settings(CONFIG, architecture="jump_relu", target_l0=8)


@pytest.fixture
def source(model: LanguageModel) -> ModelSource:
    return ModelSource(model, some_tokens(300), HOOK, held_out_tokens=512, pool_tokens=1_024)


@pytest.fixture
def cached(model: LanguageModel, tmp_path: Path) -> CacheSource:
    tokens = some_tokens(300)
    return CacheSource(
        harvest(model, tokens, HOOK, tmp_path / "caches", dtype="float32"), held_out_tokens=512
    )


@pytest.fixture(params=["model", "cache"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("source" if request.param == "model" else "cached")


def state(trained: TrainedSAE) -> dict[str, torch.Tensor]:
    assert trained.sae is not None
    return trained.sae.state_dict()


def recorded(folder: Path) -> dict[str, Any]:
    """What a run's folder holds, without what depends on the clock and the machine."""
    curves = {n: v for n, v in read_metrics(folder / "metrics.bin").items() if n not in CLOCK}
    return {
        "curves": {name: values.tobytes() for name, values in curves.items()},
        "frames": {
            name: [part.tobytes() for part in vars(found).values()]
            for name, found in read_frames(folder).items()
        },
        "looks": [read_look(folder, step) for step in list_looks(folder)],
    }


CLOCK = ("time", "tokens_per_second", "memory_bytes")


@pytest.mark.slow
def test_recording_does_not_change_the_run_and_a_kill_loses_nothing(either: Any, tmp_path: Path) -> None:
    runs = [Run(HOOK, config=CONFIG, name="batch_topk"), Run(HOOK, config=JUMP, name="jump_relu")]
    bare = train_runs(either, runs)
    whole, broken = ([tmp_path / name / run.name for run in runs] for name in ("whole", "broken"))
    unbroken = train_runs(either, runs, folders=whole, save_finished=False)
    for one, other in zip(bare, unbroken, strict=True):
        assert all(torch.equal(state(one)[name], state(other)[name]) for name in state(one))

    class Killed(BaseException):
        pass

    def kill_after(tokens: int) -> Any:
        def at(report: Progress) -> None:
            if report.stage == "Train" and report.done >= tokens:
                raise Killed

        return at

    for tokens in (1_800, 3_300, 5_900):  # none of them at a checkpoint
        with pytest.raises(Killed):
            train_runs(either, runs, folders=broken, progress=kill_after(tokens), save_finished=False)
    again = train_runs(either, runs, folders=broken, save_finished=False)
    for one, other, ours, theirs in zip(unbroken, again, whole, broken, strict=True):
        assert all(torch.equal(state(one)[name], state(other)[name]) for name in state(one))
        assert recorded(ours) == recorded(theirs)
        assert len(read_environments(theirs)) == 4


def test_frames_are_counts_of_all_latents(source: ModelSource, tmp_path: Path) -> None:
    (trained,) = train_runs(source, [Run(HOOK, config=JUMP)], folders=[tmp_path / "run"], save_finished=False)
    frames = read_frames(tmp_path / "run")
    assert list(frames) == ["frequency", "decoder_norm", "encoder_norm", "encoder_bias", "threshold"]
    for found in frames.values():
        assert found.steps.tolist() == [8, 16, 24]
        assert (found.counts.sum(1) + found.none == 64).all()
    frequency = frames["frequency"]
    assert frequency.window_tokens.tolist() == [2_048, 2_048, 6_000 - 2 * 2_048]
    # Σ of frequencies is L0: the bins' middles give it to within a bin.
    edges = HISTOGRAMS["frequency"].edges
    l0 = (frequency.counts * np.sqrt(edges[:-1] * edges[1:])).sum(1)
    steps = read_metrics(tmp_path / "run" / "metrics.bin")
    at = {int(step): value for step, value in zip(steps["step"], steps["l0"], strict=True)}
    means = [np.mean([at[step] for step in range(first, first + 8, 2)]) for first in (2, 10, 18)]
    assert np.allclose(l0, means, rtol=0.35)
    assert {"dense_latents", "sparsity_coefficient", "memory_bytes"} <= trained.history.keys()
    assert trained.history["sparsity_coefficient"][-1] > 0
    assert all(v > 2**20 for v in trained.history["memory_bytes"])


@given(st.integers(1, 10**9), st.integers(1, 10**4), st.integers(1, 50), st.floats(0.001, 100.0))
def test_recordings_stay_few_and_those_of_a_longer_training_are_among_a_shorter_ones(
    total: int, log_every: int, longer: int, seconds: float
) -> None:
    for interval, each, first, most in (
        (frame_interval, FRAME_SECONDS, FIRST_FRAMES, MOST_FRAMES),
        (look_interval, LOOK_SECONDS, FIRST_LOOKS, MOST_LOOKS),
    ):
        every = interval(total, log_every, seconds)
        assert total // every <= most
        assert interval(total * longer, log_every, seconds) % every == 0
        taken = total // every
        assert taken <= first or taken * each <= SHARE * total * seconds


def test_frames_are_thinned_for_a_longer_training_and_torn_ones_left_out(tmp_path: Path) -> None:
    counts = {"encoder_norm": [1] * 112 + [0]}
    path = tmp_path / "histograms.bin"
    log = FrameLog(path, ["encoder_norm"], 2, 0)
    for step in range(2, 42, 2):
        log.append(step, 10 * step, 20, counts)
    log.close()
    with path.open("ab") as file:
        file.write(b"\1" * 100)  # half a frame
    log = FrameLog(path, ["encoder_norm"], 8, 36)
    log.append(40, 400, 20, counts)
    log.close()
    assert read_frames(tmp_path)["encoder_norm"].steps.tolist() == [8, 16, 24, 32, 36, 40]
    assert [path.name for path in tmp_path.iterdir()] == ["histograms.bin"]


def test_the_environment_names_what_numbers_depend_on(tmp_path: Path) -> None:
    found = environment(git_of=tmp_path)
    assert found["packages"]["torch"] == importlib.metadata.version("torch")
    assert found["packages"]["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["git"] is None
    assert environment()["git"] == git_state(Path(__file__).parent), "that of miStudio's own code"
    assert installed_packages().keys() >= {"pydantic", "safetensors", "transformers"}
    add_environment(tmp_path, found)
    with (tmp_path / "environment.jsonl").open("ab") as file:
        file.write(b'{"torn": ')
    add_environment(tmp_path, found | {"attempt": 2})
    assert [one.get("attempt") for one in read_environments(tmp_path)] == [None, 2]


def test_git_is_noted_with_what_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=trunk"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "script.py").write_text("1")
    git("add", "script.py")
    git("commit", "-m", "first")
    (tmp_path / "script.py").write_text("2")
    found = git_state(tmp_path)
    assert found is not None
    assert found["branch"] == "trunk"
    assert len(found["commit"]) == 40
    assert found["changed_files"] == ["script.py"]
    assert git_state(Path(os.sep)) is None


@pytest.mark.slow
def test_ce_recovered_is_that_of_the_evaluation(
    model: LanguageModel, source: ModelSource, tmp_path: Path
) -> None:
    config = settings(CONFIG, evaluate_every=7)
    (trained,) = train_runs(
        source, [Run(HOOK, config=config)], folders=[tmp_path / "run"], save_finished=False
    )
    curves = read_metrics(tmp_path / "run" / "metrics.bin")
    score = curves["ce_loss_score"]
    assert curves["step"][~np.isnan(score)].tolist() == [7, 14, 21, 24]
    assert trained.sae is not None
    held_out = source.sequences.take(source.held_out_sequences)[0]
    report = evaluate(
        trained.sae, model, torch.tensor(held_out), settings=EvaluationSettings(spliced_tokens=10**6)
    )
    for name in ("ce_loss_score", "ce_loss_with_sae", "kl_div_with_sae"):
        assert curves[name][-1] == pytest.approx(report.metrics[name], rel=1e-4), name
    assert np.isfinite(curves["fvu"]).all()


@pytest.mark.slow
def test_a_sweep_is_spliced_in_together_and_found_as_each_is_alone(
    model: LanguageModel, source: ModelSource
) -> None:
    config = settings(CONFIG, total_tokens=256 * 8, evaluate_every=4)
    alike = [Run(HOOK, config=settings(config, k=k), name=f"k{k}") for k in (2, 4, 8)]
    small = Run(HOOK, config=settings(config, batch_size=64, evaluate_every=6), name="small")
    below: list[int] = []
    counting = model.blocks[0].mlp.register_forward_hook(lambda *_: below.append(1))

    def train(*runs: Run) -> tuple[list[TrainedSAE], int]:
        below.clear()
        return train_runs(source, runs, seed=0, batch_size=256), len(below)

    try:
        together, passes = train(*alike)
        (alone,), passes_alone = train(alike[1])
        mixed, _ = train(alike[1], small)
        (small_alone,), _ = train(small)
    finally:
        counting.remove()
    assert passes == passes_alone
    for one, other in ((together[1], alone), (mixed[0], alone), (mixed[1], small_alone)):
        for name in ("step", "fvu", "ce_loss_score", "ce_loss_with_sae", "kl_div_with_sae"):
            assert np.array_equal(one.history[name], other.history[name], equal_nan=True), name
    scores = np.array(small_alone.history["ce_loss_score"])
    measured = np.array(small_alone.history["step"])[~np.isnan(scores)]
    assert measured.tolist() == [6, 12, 18, 24, 30, 32]


@pytest.mark.slow
def test_a_cache_needs_its_model_and_tokens_for_ce(model: LanguageModel, tmp_path: Path) -> None:
    tokens = some_tokens(300)
    cache = harvest(model, tokens, HOOK, tmp_path / "caches", dtype="float32")
    run = Run(HOOK, config=settings(CONFIG, evaluate_every=10))
    with pytest.raises(SettingsRefused, match="held-out"):
        train_runs(CacheSource(cache, held_out_tokens=512), [run])
    sequences = ModelSource(model, tokens, HOOK).sequences
    whole = CacheSource(cache, held_out_tokens=512, model=model, tokens=sequences)
    (cached,) = train_runs(whole, [run])
    (streamed,) = train_runs(ModelSource(model, tokens, HOOK, held_out_tokens=512), [run])
    ours, theirs = cached.history["ce_loss_with_sae"], streamed.history["ce_loss_with_sae"]
    measured = ~np.isnan(ours)
    assert np.array_equal(measured, ~np.isnan(theirs))
    # the same held-out text; the dictionaries differ in the order of what they were trained on
    assert np.allclose(np.array(ours)[measured], np.array(theirs)[measured], rtol=0.05)


@pytest.mark.slow
def test_looks_show_what_latents_fire_on(either: Any, model: LanguageModel, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = Run(HOOK, config=settings(CONFIG, decoder_norm="unit"))
    (trained,) = train_runs(either, [run], folders=[folder], save_finished=False)
    assert list_looks(folder) == [16, 24]
    look = read_look(folder, 24)
    assert look is not None
    assert trained.sae is not None
    counts = [one["count"] for one in look["latents"]]
    assert len(counts) == 24
    assert max(counts) > 4 * min(counts)
    tokens = some_tokens(300)
    for one in look["latents"]:
        for example in one["examples"]:
            ids = tokens[example["sequence"]]
            first = example["start"]
            assert example["tokens"] == ids[first : first + len(example["tokens"])].tolist()
            assert first + example["mark"] == example["position"]
            assert example["activations"][example["mark"]] == example["strongest"]
            (batch,) = lm_harvest(model, [ids], [HOOK])
            z = trained.sae.encode(batch.activations[HOOK][0]).dense()[:, one["latent"]]
            expected = z[first : first + len(example["tokens"])]
            assert torch.allclose(torch.tensor(example["activations"]), expected, rtol=1e-3, atol=1e-3)


def test_latents_that_are_asked_for_are_looked_at(source: ModelSource, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    ask_for(folder, [5, 63, 4_000])
    train_runs(source, [Run(HOOK, config=CONFIG)], folders=[folder], save_finished=False)
    look = read_look(folder, 24)
    assert look is not None
    assert [one["latent"] for one in look["latents"] if one["chosen"] == "asked"] == [5, 63]
    assert len({one["latent"] for one in look["latents"]}) == len(look["latents"])


@pytest.mark.slow
def test_a_running_training_looks_at_once_when_asked(
    source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_POLL_SECONDS", 0.0)
    folder = tmp_path / "run"

    def ask_at_step_five(report: Progress) -> None:
        if report.stage == "Train" and report.done == 5 * 256:
            ask_for(folder, [9])

    run = Run(HOOK, config=CONFIG)
    (asked,) = train_runs(source, [run], folders=[folder], progress=ask_at_step_five, save_finished=False)
    assert list_looks(folder) == [6, 16, 24]
    first = read_look(folder, 6)
    assert first is not None
    assert first["latents"][0]["latent"] == 9
    (bare,) = train_runs(source, [run])
    assert all(torch.equal(state(asked)[name], state(bare)[name]) for name in state(bare))
