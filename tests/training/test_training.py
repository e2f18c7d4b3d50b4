"""Trainings on a real (tiny) model: both sources, curves, stop, resume to the bit, deletion, refusals."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistudio.engine.checkpoints import METRICS_FILE, list_checkpoints
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobCancelled, JobInterrupted
from mistudio.sae.config import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    StandardConfig,
    TopKConfig,
    TrainerConfig,
)
from mistudio.saes.library import open_sae
from mistudio.saes.tables import Sae
from mistudio.store import read_metrics
from mistudio.store.metric_archive import is_archive
from mistudio.training import sweeps, views
from mistudio.training.archiving import archive_ended
from mistudio.training.metrics import metric_series, metrics_csv
from mistudio.training.schemas import SourceChoice, TrainingCreate
from mistudio.training.tables import Training
from tests.models.job_runs import run_here
from tests.training.conftest import HOOK


def request(tokens: str, cache: str | None = None, **changes: Any) -> TrainingCreate:
    config = TrainerConfig(
        **{
            "architecture": TopKConfig(k=4),
            "d_sae": 64,
            "total_tokens": 8_000,
            "batch_size": 256,
            "learning_rate": 3e-3,
            "warmup_steps": 5,
            "log_every": 2,
            "checkpoint_every": 10,
            **changes,
        }
    )
    return TrainingCreate(
        sources=[SourceChoice(tokenization_id=tokens)],
        hooks=[HOOK],
        cache_id=cache,
        held_out_tokens=512,
        config=config,
    )


def start(database: Any, wanted: TrainingCreate) -> tuple[str, str]:
    with database.session() as session:
        sweep = sweeps.create_sweep(session, wanted)
        job = sweeps.sweep_job(session, sweep.id)
        assert job is not None
        return sweep.trainings[0].id, job.id


def weights(settings: Any, database: Any, sae_id: str) -> dict[str, torch.Tensor]:
    with database.reading() as session:
        return dict(open_sae(settings, session.get_one(Sae, sae_id)).state_dict())


@pytest.mark.parametrize(
    ("source", "architecture"),
    [
        ("cache", TopKConfig(k=4)),
        ("model", StandardConfig(l1_coefficient=0.5)),
        ("cache", BatchTopKConfig(k=4)),
        ("model", MatryoshkaConfig(k=4)),
        ("cache", JumpReLUConfig(target_l0=4)),
        ("cache", GatedConfig(l1_coefficient=0.5)),
    ],
)
def test_a_training_learns_records_and_registers_its_sae(
    settings: Any, database: Any, tokens: str, cache: str, source: str, architecture: Any
) -> None:
    wanted = request(tokens, cache if source == "cache" else None, architecture=architecture)
    training_id, job_id = start(database, wanted)
    result, reports = run_here(settings, database, job_id)

    points = read_metrics(views.training_folder(settings, training_id) / METRICS_FILE)
    assert points["step"][0] == 1
    assert points["step"][-1] == wanted.config.total_steps
    assert points["fvu"][-1] < 0.95 * points["fvu"][0]
    assert np.isfinite(points["tokens_per_second"][1:]).all()
    with database.reading() as session:
        view = views.out_many(session, [views.get_training(session, training_id)])[0]
        row = session.get_one(Sae, result["sae_id"])
    assert view.sae_id == row.id
    assert view.last_metrics is not None
    assert view.last_metrics["tokens_per_second"] == np.median(points["tokens_per_second"][1:])
    assert (row.hook, row.training_id, row.d_sae) == (HOOK, training_id, 64)
    assert row.metrics["fvu"] == pytest.approx(result["fvu"])
    assert 0 < row.metrics["fvu"] < 1
    assert view.tokens_trained == 8_000
    assert reports.progress[-1]["stage"] == "Measure on held-out tokens"
    announced = [r["publish"] for r in reports.all if "publish" in r and r["publish"]["type"] == "metrics"]
    steps = [step for event in announced for step in event["data"]["columns"]["step"]]
    assert steps == points["step"].tolist()


@pytest.mark.parametrize("source", ["cache", "model"])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    settings: Any, database: Any, tokens: str, cache: str, source: str
) -> None:
    wanted = request(tokens, cache if source == "cache" else None)
    _, whole = start(database, wanted)
    unbroken, _ = run_here(settings, database, whole)

    training_id, job_id = start(database, wanted)

    def interrupt(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Train" and progress["done"] >= 256 * 17:
            asked.interrupt.set()

    with pytest.raises(JobInterrupted):
        run_here(settings, database, job_id, on_progress=interrupt)
    folder = views.training_folder(settings, training_id)
    assert list_checkpoints(folder)[-1].step >= 17
    resumed, _ = run_here(settings, database, job_id)
    ours, theirs = (
        weights(settings, database, resumed["sae_id"]),
        weights(settings, database, unbroken["sae_id"]),
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed["fvu"] == unbroken["fvu"]
    steps = read_metrics(folder / METRICS_FILE)["step"].tolist()
    assert steps == sorted(set(steps))


def test_a_killed_training_goes_on_from_its_checkpoint(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    """Without a chance to save anything: what was logged after the checkpoint is logged again, once."""
    wanted = request(tokens, cache)
    _, whole = start(database, wanted)
    unbroken, _ = run_here(settings, database, whole)
    training_id, job_id = start(database, wanted)

    class Killed(BaseException):
        pass

    def kill(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Train" and progress["done"] >= 256 * 25:
            raise Killed

    with pytest.raises(Killed):
        run_here(settings, database, job_id, on_progress=kill)
    folder = views.training_folder(settings, training_id)
    assert list_checkpoints(folder)[-1].step == 20
    archive_ended(database, settings)
    assert not is_archive(folder / METRICS_FILE), "it may go on at any moment"
    with database.session() as session:
        session.get_one(Job, job_id).state = "cancelled"
    archive_ended(database, settings)
    assert is_archive(folder / METRICS_FILE)
    resumed, _ = run_here(settings, database, job_id)
    assert resumed["fvu"] == unbroken["fvu"]
    steps = read_metrics(folder / METRICS_FILE)["step"].tolist()
    assert steps == sorted(set(steps))


def test_stop_keeps_what_was_learned_and_resume_finishes(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    training_id, job_id = start(database, request(tokens, cache))

    def stop(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Train" and progress["done"] >= 2_000:
            asked.stop.set()

    result, _ = run_here(settings, database, job_id, on_progress=stop)
    assert result["stopped"]
    assert 0 < result["steps"] < 32
    assert weights(settings, database, result["sae_id"])["W_dec"].shape == (64, 32)
    with database.session() as session:
        session.get_one(Job, job_id).state = "succeeded"
    with database.session() as session:
        sweep = views.get_training(session, training_id).sweep
        sweeps.resume_sweep(session, sweep)
        again = sweeps.sweep_job(session, sweep.id)
        assert again is not None
    assert again.id != job_id
    finished, _ = run_here(settings, database, again.id)
    assert finished["steps"] == 32
    with database.session() as session, pytest.raises(Conflict, match="has seen all"):
        sweeps.resume_sweep(session, views.get_training(session, training_id).sweep)


def test_held_out_tokens_are_never_trained_on(settings: Any, database: Any, tokens: str, cache: str) -> None:
    from mistudio.training.batches import open_source
    from tests.models.job_runs import Reports

    class Context:
        device = "cpu"

        def __init__(self) -> None:
            self.settings, self.database, self.reporter = settings, database, Reports()

        def progress(self, *_: Any, **__: Any) -> None:
            pass

    for source in (cache, None):
        wanted = request(tokens, source)
        training_id, _ = start(database, wanted)
        with database.reading() as session:
            context: Any = Context()
        with database.reading() as session:
            sweep_id = views.get_training(session, training_id).sweep_id
        activations = open_source(context, sweep_id)
        held_out = activations.held_out()
        assert held_out is not None
        assert len(held_out[HOOK]) >= 480
        held = {row.tobytes() for row in held_out[HOOK].numpy()}
        seen: set[bytes] = set()
        stream = activations.batches(256, 0)
        for _ in range(45):  # the whole text
            seen |= {row.tobytes() for row in next(stream).activations[HOOK].numpy()}
        repeated = len(held & seen) / len(held)
        # The same short context can occur twice in a text; distinct sequences must not.
        assert repeated < 0.2, source
        assert len(seen) > 5_000


def test_deleting_a_training_removes_rows_and_files_and_keeps_its_sae(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    training_id, job_id = start(database, request(tokens, cache))
    result, _ = run_here(settings, database, job_id)
    folder = views.training_folder(settings, training_id)
    assert folder.is_dir()
    began = time.monotonic()
    with database.session() as session:
        sweeps.delete_trainings(session, settings, [training_id])
    assert time.monotonic() - began < 1
    assert not folder.exists()
    with database.reading() as session:
        assert session.get(Training, training_id) is None
        assert session.get_one(Sae, result["sae_id"]).training_id is None
    with database.session() as session, pytest.raises(NotFound):
        sweeps.delete_trainings(session, settings, [training_id])


def test_a_training_deleted_while_it_runs_ends_and_leaves_nothing(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    training_id, job_id = start(database, request(tokens, cache))

    def delete(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Train" and progress["done"] >= 1_000 and not asked.cancel.is_set():
            with database.session() as session:
                sweeps.delete_trainings(session, settings, [training_id])
            asked.cancel.set()

    with pytest.raises(JobCancelled):
        run_here(settings, database, job_id, on_progress=delete)
    assert not views.training_folder(settings, training_id).exists()


def test_what_does_not_fit_is_refused_by_name(settings: Any, database: Any, tokens: str, cache: str) -> None:
    good = request(tokens, cache)

    def refused(changes: dict[str, Any]) -> StudioError:
        with database.session() as session, pytest.raises(StudioError) as error:
            sweeps.create_sweep(session, good.model_copy(update=changes))
        return error.value

    assert "blocks.9.hook_resid_post" in refused({"hooks": ["blocks.9.hook_resid_post"]}).message
    assert refused({"sources": [SourceChoice(tokenization_id="tk_none")]}).code == "tokenization_not_found"
    assert refused({"cache_id": "ac_none"}).code == "activation_cache_not_found"
    assert refused({"hooks": ["blocks.0.hook_resid_post"]}).code == "cache_does_not_fit"
    assert refused({"held_out_tokens": 1_000_000}).code == "too_few_tokens"
    assert "belong" in refused({"grid": {"hook": [HOOK]}}).fields["grid"]
    narrower = good.config.model_copy(update={"hidden_dim": 8})
    assert "hidden_dim is 8" in refused({"config": narrower}).message
    with database.reading() as session:
        assert session.query(Training).count() == 0


def test_a_training_of_the_past_is_shown_whatever_is_asked_today(
    settings: Any, database: Any, tokens: str
) -> None:
    training_id, _ = start(database, request(tokens))
    with database.session() as session:
        row = views.get_training(session, training_id)
        row.config = {**row.config, "d_sae": 2, "of_old": 1}  # k is 4
    with database.reading() as session:
        view = views.detail(session, settings, training_id)
        sent = view.model_dump(mode="json")
        assert views.snapshot(session, f"trainings/{training_id}")["config"]["d_sae"] == 2
    assert sent["config"]["architecture"]["kind"] == "topk"
    assert sent["config"]["architecture"]["k"] == 4
    assert sent["total_steps"] == 32


def test_a_skip_connection_is_refused_where_nothing_is_transcoded(tokens: str) -> None:
    with pytest.raises(ValueError, match="belongs to transcoders"):
        request(tokens, skip_connection=True)


def test_metric_series_are_downsampled_and_cut(
    settings: Any, database: Any, tokens: str, cache: str, tmp_path: Path
) -> None:
    training_id, job_id = start(database, request(tokens, cache, log_every=1))
    run_here(settings, database, job_id)
    whole = metric_series(settings, training_id, max_points=1000)
    assert whole["columns"]["step"] == list(range(1, 33))
    assert whole["columns"]["tokens_per_second"][0] is None
    assert (whole["total_points"], whole["last_step"], whole["changes"]) == (32, 32, [])
    few = metric_series(settings, training_id, columns=["fvu"], max_points=10)["columns"]
    assert len(few["step"]) <= 10
    assert set(few) == {"step", "tokens", "time", "fvu"}
    part = metric_series(settings, training_id, columns=["fvu"], after_step=20, up_to_step=22)["columns"]
    assert part["step"] == [21, 22]
    with pytest.raises(StudioError, match="no metric “fuv”"):
        metric_series(settings, training_id, columns=["fuv"])
    path = views.training_folder(settings, training_id) / METRICS_FILE
    assert path.read_bytes().startswith(b"MSMETARC"), "a log is archived when its run has ended"
    table = list(csv.DictReader("".join(metrics_csv(settings, training_id, ["fvu"])).splitlines()))
    assert [float(row["fvu"]) for row in table] == read_metrics(path)["fvu"].tolist()
    assert list(table[0]) == ["step", "tokens", "time", "fvu"]
