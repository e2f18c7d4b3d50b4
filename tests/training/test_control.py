"""A training under control: changed while it runs, retried from a checkpoint, made longer, cloned; its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mistudio.engine.checkpoints import METRICS_FILE
from mistudio.errors import Conflict, StudioError
from mistudio.jobs import JobInterrupted
from mistudio.jobs.tables import Job, JobMessage
from mistudio.saes.library import saes_out
from mistudio.saes.tables import Sae
from mistudio.store import read_metrics
from mistudio.training import checkpoints, control, sweeps, views
from mistudio.training.admission import admit
from mistudio.training.control_schemas import (
    ChangeRequest,
    CheckpointComparison,
    CheckpointRef,
    CloneRequest,
    ContinueRequest,
)
from tests.models.job_runs import run_here
from tests.training.test_training import request, start, weights


def at(tokens: int, act: Callable[[], None]) -> Callable[[dict[str, Any], Any], None]:
    """Do something once, when a training has seen so many tokens."""
    done: list[bool] = []

    def progress(report: dict[str, Any], _: Any) -> None:
        if report["stage"] == "Train" and report["done"] >= tokens and not done:
            done.append(True)
            act()

    return progress


def ended(database: Any, job_id: str, state: str = "succeeded") -> None:
    """As its supervisor leaves the job."""
    with database.session() as session:
        session.get_one(Job, job_id).state = state


def newest_job(database: Any, training_id: str) -> str:
    with database.reading() as session:
        job = sweeps.sweep_job(session, views.get_training(session, training_id).sweep_id)
        assert job is not None
        return job.id


def test_a_setting_is_changed_while_it_runs(
    settings: Any, database: Any, tokens: str, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistudio.training.asked._LOOK_SECONDS", 0.0)
    training_id, job_id = start(database, request(tokens, cache, log_every=1))
    with database.reading() as session:
        before = control.changes_of(session, settings, training_id)
    assert [(one.name, one.value, one.integer) for one in before.live] == [
        ("learning_rate", 3e-3, False),
        ("architecture.k", 4, True),
    ]
    assert (before.live[1].title, before.live[1].minimum) == ("Active latents (k)", 1)

    def ask() -> None:
        with database.session() as session:
            control.change(session, settings, training_id, ChangeRequest(name="k", value=8))
        with database.reading() as session:
            said = control.changes_of(session, settings, training_id)
        assert said.waiting == 1
        assert said.live[1].value == 8

    _, reports = run_here(settings, database, job_id, on_progress=at(256 * 10, ask))
    points = read_metrics(views.training_folder(settings, training_id) / METRICS_FILE)
    assert points["l0"].round().tolist() == [4] * 10 + [8] * 22
    with database.reading() as session:
        after = control.changes_of(session, settings, training_id)
        assert session.query(JobMessage).count() == 0
    (change,) = after.changes
    assert (change.step, change.name, change.before, change.after) == (10, "architecture.k", 4, 8)
    assert after.waiting == 0
    told = [r["publish"] for r in reports.all if "publish" in r and r["publish"]["type"] == "change"]
    assert [(one["channel"], one["data"]["after"]) for one in told] == [(f"trainings/{training_id}", 8)]


def test_changes_that_cannot_be_are_refused(settings: Any, database: Any, tokens: str, cache: str) -> None:
    training_id, job_id = start(database, request(tokens, cache))
    with database.session() as session:
        for name, value, message in [
            ("d_sae", 128, "d_sae cannot change while a training runs; learning_rate and architecture.k can"),
            ("total_tokens", 9_000, "continue it when it has ended"),
            ("k", 99, "k is 99, but the dictionary has only 64 latents"),
            ("learning_rate", 0, "learning_rate must be more than 0"),
        ]:
            with pytest.raises(StudioError, match=message):
                control.change(session, settings, training_id, ChangeRequest(name=name, value=value))
    ended(database, job_id)
    with database.session() as session, pytest.raises(Conflict, match="has ended"):
        control.change(session, settings, training_id, ChangeRequest(name="k", value=8))


def test_retrying_from_a_checkpoint_and_going_on_longer(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    wanted = request(tokens, cache, keep_checkpoints=4)
    training_id, job_id = start(database, wanted)
    first, _ = run_here(settings, database, job_id)
    with database.session() as session, pytest.raises(Conflict, match="is queued"):
        control.retry(session, settings, training_id, 10)
    ended(database, job_id)
    with database.session() as session:
        with pytest.raises(StudioError, match=r"no checkpoint of step 11\. There|no checkpoint of step 11"):
            control.retry(session, settings, training_id, 11)
        training = control.retry(session, settings, training_id, 10)
        assert training.tokens_trained == 2_560
    again, _ = run_here(settings, database, newest_job(database, training_id))
    assert again["fvu"] == first["fvu"]
    assert again["sae_id"] == first["sae_id"]  # the same end makes no second SAE
    ended(database, newest_job(database, training_id))

    longer = ContinueRequest(total_tokens=12_000)
    with database.session() as session:
        with pytest.raises(StudioError, match="8,000 tokens already"):
            control.continue_longer(session, settings, training_id, ContinueRequest(total_tokens=8_000))
        control.continue_longer(session, settings, training_id, longer)
    second, _ = run_here(settings, database, newest_job(database, training_id))
    assert second["steps"] == 48  # the first ended within a batch, whose rest it did not see
    assert second["sae_id"] != first["sae_id"]
    assert second["fvu"] < first["fvu"]
    with database.reading() as session:
        view = views.detail(session, settings, training_id)
        changes = control.changes_of(session, settings, training_id).changes
    assert (view.config.total_tokens, view.tokens_trained, view.sae_id) == (12_000, 12_000, second["sae_id"])
    assert [(one.step, one.name) for one in changes] == [(32, "total_tokens")]


def test_a_clone_is_the_same_but_for_what_was_changed(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    training_id, _ = start(database, request(tokens, cache))
    with database.session() as session:
        same = control.clone_request(session, training_id, CloneRequest(name="again"))
        other = control.clone_request(session, training_id, CloneRequest(set={"k": 2, "latent_dim": 32}))
        with pytest.raises(StudioError, match="has no setting 'kk'"):
            control.clone_request(session, training_id, CloneRequest(set={"kk": 2}))
        original = views.get_training(session, training_id)
        cloned = sweeps.create_sweep(session, same).trainings[0]
        assert (cloned.config, cloned.hook) == (original.config, original.hook)
        assert cloned.name == "again"
        assert (other.config.d_sae, other.config.architecture.k) == (32, 2)  # pyright: ignore[reportAttributeAccessIssue]
        assert other.cache_id == cache


def test_checkpoints_are_listed_deleted_opened_and_compared(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    training_id, job_id = start(database, request(tokens, cache, keep_checkpoints=4))

    def interrupt(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Train" and progress["done"] >= 256 * 29:
            asked.interrupt.set()

    with pytest.raises(JobInterrupted):
        run_here(settings, database, job_id, on_progress=interrupt)
    ended(database, job_id, "paused")
    with database.session() as session:
        training = views.get_training(session, training_id)
        listed = checkpoints.views_of(settings, training)
        with pytest.raises(Conflict, match="would go on from its newest checkpoint"):
            checkpoints.delete(session, settings, training_id, 30)
    assert [(one.step, one.newest, one.best) for one in listed] == [
        (30, True, True),
        (20, False, False),
        (10, False, False),
    ]
    assert listed[0].metrics["fvu"] < listed[2].metrics["fvu"]
    assert all(one.bytes > 10_000 for one in listed)

    with database.session() as session:
        job = checkpoints.start_sae(session, settings, training_id, 20, None)
    made, _ = run_here(settings, database, job.id)
    with database.reading() as session:
        row = session.get_one(Sae, made["sae_id"])
        assert (row.training_id, row.origin["checkpoint"], row.hook) == (training_id, 20, training.hook)
        assert row.metrics["fvu"] == pytest.approx(listed[1].metrics["fvu"])
        assert views.detail(session, settings, training_id).sae_id is None
        assert saes_out(session, [row])[0].origin.checkpoint == 20  # pyright: ignore[reportAttributeAccessIssue]
    tensors = weights(settings, database, made["sae_id"])
    assert tensors["W_dec"].norm(dim=1) == pytest.approx(torch.ones(64), abs=1e-5)

    pair = [CheckpointRef(training_id=training_id, step=step) for step in (10, 30)]
    with database.session() as session:
        job = checkpoints.start_comparison(
            session, settings, CheckpointComparison(before=pair[0], after=pair[1])
        )
        with pytest.raises(StudioError, match="compared with itself"):
            checkpoints.start_comparison(
                session, settings, CheckpointComparison(before=pair[0], after=pair[0])
            )
    found, _ = run_here(settings, database, job.id)
    assert found["metrics"]["fvu"] == [listed[2].metrics["fvu"], listed[0].metrics["fvu"]]
    assert found["settings"] == []
    assert sum(found["matched"]["counts"]) == sum(found["same"]["counts"]) == found["compared"] == 64
    assert 0.5 < found["same"]["mean"] <= found["matched"]["mean"] + 1e-6 <= 1 + 2e-6
    assert found["moved"] >= 0

    with database.session() as session:
        checkpoints.delete(session, settings, training_id, 10)
        with pytest.raises(StudioError, match="no checkpoint of step 10"):
            checkpoints.delete(session, settings, training_id, 10)


def test_a_training_says_what_memory_it_needs_and_is_refused_where_it_could_never_fit(
    settings: Any, database: Any, tokens: str, cache: str
) -> None:
    wanted = request(tokens, cache)
    with database.session() as session:
        needed = admit(session, settings, wanted)
        made = sweeps.create_sweep(session, wanted, memory_bytes=needed)
        job = sweeps.sweep_job(session, made.id)
        assert job is not None
        assert job.memory_bytes == needed > 100_000_000
        job_id, training_id = job.id, made.trainings[0].id
        with pytest.raises(
            StudioError, match=r"would need about .* of memory, and jobs on this machine may use"
        ):
            admit(session, settings.model_copy(update={"job_memory_bytes": needed - 1}), wanted)
        beside = admit(session, settings, wanted, gpu_memory=8 * 10**9)
        assert 0 < needed - beside < 100_000_000, "dictionary, gradients, moments and batches lie on the GPU"
        with pytest.raises(StudioError, match=r"MB of GPU memory, and the largest GPU .* has 9 MB for it"):
            admit(session, settings, wanted, gpu_memory=10_000_000)
    ended(database, job_id)
    with database.session() as session:
        control.continue_longer(session, settings, training_id, ContinueRequest(total_tokens=9_000))
    with database.reading() as session:
        again = session.get_one(Job, newest_job(database, training_id))
        assert (again.id != job_id, again.memory_bytes) == (True, needed)
