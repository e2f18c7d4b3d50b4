"""Sweeps: one pass over the activations of one or several tokenizations trains every combination of a grid."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import torch
from sqlalchemy import select

from mistudio.datasets.library import add_dataset
from mistudio.datasets.schemas import DatasetCreate, TextSource
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.datasets.tokenization_schemas import TokenizationCreate, TokenizationSettings
from mistudio.datasets.tokenizations import add_tokenization
from mistudio.errors import Conflict, StudioError
from mistudio.jobs import Job, JobInterrupted
from mistudio.models.deletion import delete_owner, users_of
from mistudio.sae.config import TopKConfig, TrainerConfig
from mistudio.saes.placement import training_of
from mistudio.saes.tables import Sae
from mistudio.store import read_metrics
from mistudio.training import bulk, sweeps, views
from mistudio.training.schemas import SourceChoice, TrainingCreate
from mistudio.training.tables import Sweep, Training
from tests.models.job_runs import run_here
from tests.training.conftest import HOOK
from tests.training.test_training import weights

LOWER = "blocks.0.hook_resid_post"
CONFIG = TrainerConfig(
    architecture=TopKConfig(k=4),
    d_sae=64,
    total_tokens=4_096,
    batch_size=256,
    learning_rate=3e-3,
    warmup_steps=5,
    log_every=2,
    checkpoint_every=4,
)


def wanted(tokens: str, **changes: Any) -> TrainingCreate:
    given: dict[str, Any] = {"sources": [{"tokenization_id": tokens}], "hooks": [HOOK], "config": CONFIG}
    return TrainingCreate.model_validate({**given, "held_out_tokens": 512, **changes})


def start(database: Any, request: TrainingCreate) -> tuple[Sweep, list[Training], str]:
    with database.session() as session:
        sweep = sweeps.create_sweep(session, request)
        job = sweeps.sweep_job(session, sweep.id)
        assert job is not None
        return sweep, list(sweep.trainings), job.id


def test_a_grid_at_two_hook_points_is_trained_in_one_pass(settings: Any, database: Any, tokens: str) -> None:
    grid = {"k": [2, 4], "learning_rate": [1e-3]}
    sweep, trainings, job_id = start(database, wanted(tokens, hooks=[LOWER, HOOK], grid=grid, name="grid"))
    assert [(one.hook, one.config["architecture"]["k"]) for one in trainings] == [
        (LOWER, 2),
        (LOWER, 4),
        (HOOK, 2),
        (HOOK, 4),
    ]
    assert {one.config["learning_rate"] for one in trainings} == {1e-3}
    result, _ = run_here(settings, database, job_id)
    assert set(result["saes"]) == {one.id for one in trainings}
    with database.reading() as session:
        shown = views.sweep_out(session, views.get_sweep(session, sweep.id))
        for one in shown.trainings:
            assert one.sweep_size == 4 and one.tokens_trained == 4_096
            sae = session.get_one(Sae, one.sae_id)
            assert (sae.hook, sae.training_id) == (one.hook, one.id)
            assert one.last_metrics is not None and one.last_metrics["l0"] == one.config.architecture.k
            curve = read_metrics(views.training_folder(settings, one.id) / "metrics.bin")
            assert curve["step"][-1] == 16
    again, _ = run_here(settings, database, job_id)
    assert again["saes"] == result["saes"], "a job that is run again registers nothing twice"


def test_tokenizations_are_mixed_by_weight(settings: Any, database: Any, tokens: str, tmp_path: Any) -> None:
    path = tmp_path / "more.txt"
    path.write_text("Another text, about other things, said over and over again. " * 400)
    with database.session() as session:
        model_id = session.get_one(Tokenization, tokens).model_id
        dataset, job = add_dataset(
            session, settings, DatasetCreate(source=TextSource(path=str(path))), any_folder=True
        )
    run_here(settings, database, job.id)
    with database.session() as session:
        shorter = TokenizationSettings(context_length=16, prepend_bos=True)
        made, job = add_tokenization(
            session, settings, dataset.id, TokenizationCreate(model_id=model_id, settings=shorter)
        )
    run_here(settings, database, job.id)
    sources = [{"tokenization_id": tokens}, {"tokenization_id": made.id, "weight": 3.0}]
    sweep, trainings, job_id = start(database, wanted(tokens, sources=sources))
    result, _ = run_here(settings, database, job_id)
    with database.reading() as session:
        sae = session.get_one(Sae, result["saes"][trainings[0].id])
        assert training_of(session, sae)["tokenization_id"] == made.id
        assert training_of(session, sae)["held_out_tokens"] is None
        shown = views.out_many(session, [views.get_training(session, trainings[0].id)])[0]
        assert [one.weight for one in shown.sources] == [1.0, 3.0]
        # Whoever deletes the tokens is told of the training by its name, and takes it along.
        assert [user.kind for user in users_of(session, "tokenizations", [made.id])] == ["training"]
        name = session.get_one(Dataset, dataset.id).name
    with database.session() as session:
        with pytest.raises(Conflict, match="in use by training"):
            delete_owner(session, settings, "tokenizations", made.id, name=name)
        gone = delete_owner(session, settings, "tokenizations", made.id, name=name, force=True)
    assert {("sweeps", sweep.id), ("trainings", trainings[0].id)} <= set(gone)
    assert not views.training_folder(settings, trainings[0].id).exists()


def test_one_of_several_may_be_deleted_while_all_run(settings: Any, database: Any, tokens: str) -> None:
    sweep, trainings, job_id = start(database, wanted(tokens, grid={"k": [2, 4]}))

    def delete(progress: dict[str, Any], _: Any) -> None:
        if progress["stage"] == "Train" and progress["done"] >= 2_000:
            with database.session() as session:
                if session.get(Training, trainings[0].id):
                    sweeps.delete_trainings(session, settings, [trainings[0].id])

    result, _ = run_here(settings, database, job_id, on_progress=delete)
    assert set(result["saes"]) == {trainings[1].id}
    assert not views.training_folder(settings, trainings[0].id).exists()
    with database.session() as session:
        assert session.scalars(select(Sae)).one().training_id == trainings[1].id
        sweeps.delete_trainings(session, settings, [trainings[1].id])
    with database.reading() as session:
        assert session.get(Sweep, sweep.id) is None


def test_the_rest_goes_on_in_the_order_it_began_in(settings: Any, database: Any, tokens: str) -> None:
    """Its order is that of the largest batch and of both hook points, whose outliers are left out everywhere."""
    request = wanted(
        tokens,
        hooks=[LOWER, HOOK],
        grid={"batch_size": [256, 64], "learning_rate": [3e-3]},
        harvest={"outlier_multiple": 1.1, "seed": 2},
    )
    _, whole, job_id = start(database, request)
    expected, _ = run_here(settings, database, job_id)
    sweep, members, job_id = start(database, request)

    def interrupt(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Train" and progress["done"] >= 2_000:
            asked.interrupt.set()

    with pytest.raises(JobInterrupted):
        run_here(settings, database, job_id, on_progress=interrupt)
    with database.session() as session:
        sweeps.delete_trainings(session, settings, [one.id for one in members[:3]])
        row = session.get_one(Sweep, sweep.id)
        row.stream = row.stream | {
            "batch_size": 64
        }  # all that is known of a sweep from before orders were noted
    found, _ = run_here(settings, database, job_id)
    ours = weights(settings, database, found["saes"].pop(members[3].id))
    theirs = weights(settings, database, expected["saes"][whole[3].id])
    assert found["saes"] == {}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_many_are_deleted_while_another_runs(settings: Any, database: Any, tokens: str) -> None:
    _, (runs,), job_id = start(database, wanted(tokens))
    doomed = [start(database, wanted(tokens)) for _ in range(4)]
    folders = [views.training_folder(settings, members[0].id) for _, members, _ in doomed]
    (folders[0] / "checkpoints").mkdir(parents=True)
    for number in range(3_000):
        (folders[0] / "checkpoints" / str(number)).touch()
    running, deleted = Event(), Event()

    def watch(progress: dict[str, Any], _: Any) -> None:
        if progress["stage"] == "Train" and progress["done"]:
            running.set()
            if progress["done"] > 3_500:
                assert deleted.wait(60)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run_here, settings, database, job_id, on_progress=watch)
        try:
            assert running.wait(60)
            began = time.thread_time()  # of the processor, which a busy machine does not lengthen
            with database.session() as session:
                bulk.delete_many(session, settings, [members[0].id for _, members, _ in doomed])
            seconds = time.thread_time() - began
        finally:
            deleted.set()
        result, _ = future.result()
    assert seconds < 1
    assert not any(folder.exists() for folder in folders)
    assert set(result["saes"]) == {runs.id}
    with database.reading() as session:
        assert session.scalars(select(Training.id)).all() == [runs.id]
        assert not {id for _, _, id in doomed} & set(
            session.scalars(select(Job.id).where(Job.state == "queued"))
        )


def test_one_that_diverges_ends_alone_and_says_so(settings: Any, database: Any, tokens: str) -> None:
    grid = {"learning_rate": [3e-3, 1.0], "grad_clip_norm": [0.0], "decoder_norm": ["free"]}
    _, trainings, job_id = start(
        database, wanted(tokens, grid=grid, config=CONFIG.model_copy(update={"d_sae": 512}))
    )
    result, _ = run_here(settings, database, job_id)
    with database.reading() as session:
        rows = [views.get_training(session, one.id) for one in trainings]
    assert rows[1].error is not None
    assert rows[0].error is None and set(result["saes"]) == {trainings[0].id}
    assert rows[1].error["code"] == "training_diverged"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grid": {"nothing": [1]}}, "invalid_input"),
        ({"grid": {"k": []}}, "invalid_input"),
        ({"grid": {"batch_size": [256, 100]}}, "invalid_input"),
        ({"grid": {"seed": list(range(300))}}, "grid_too_large"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(
    database: Any, tokens: str, changes: dict[str, Any], code: str
) -> None:
    with database.session() as session, pytest.raises(StudioError) as refused:
        sweeps.create_sweep(session, wanted(tokens, **changes))
    assert refused.value.code == code
    assert "grid" in refused.value.fields
    with database.reading() as session:
        assert session.scalars(select(Training)).all() == []


def test_a_cache_is_not_mixed(tokens: str) -> None:
    with pytest.raises(ValueError, match="one tokenization"):
        TrainingCreate(
            sources=[SourceChoice(tokenization_id=tokens), SourceChoice(tokenization_id="tk_other")],
            hooks=[HOOK],
            cache_id="ac_1",
        )
