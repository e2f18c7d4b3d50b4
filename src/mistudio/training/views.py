"""Trainings and sweeps as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.engine.checkpoints import list_checkpoints
from mistudio.engine.runs import stored_settings
from mistudio.errors import NotFound
from mistudio.jobs import JobOut, latest_jobs
from mistudio.models.tables import Model
from mistudio.saes.tables import Sae
from mistudio.settings import Settings
from mistudio.store import folder_bytes, owner_folder
from mistudio.training.outcome import came_to
from mistudio.training.schemas import (
    CheckpointOut,
    SourceOut,
    SweepOut,
    TrainingDetail,
    TrainingOut,
    TrainingTemplate,
)
from mistudio.training.tables import Sweep, SweepSource, Training

TABLE = "trainings"


def training_folder(settings: Settings, training_id: str) -> Path:
    """Where a training's metrics and checkpoints lie."""
    return owner_folder(settings.data_dir, TABLE, training_id)


def job_subject(sweep_id: str) -> str:
    """What the job of a sweep is for."""
    return f"sweeps/{sweep_id}"


def get_training(session: Session, training_id: str) -> Training:
    """The training of this id. Raises NotFound."""
    training = session.get(Training, training_id)
    if training is None:
        raise NotFound("training", training_id)
    return training


def get_sweep(session: Session, sweep_id: str) -> Sweep:
    """The sweep of this id. Raises NotFound."""
    sweep = session.get(Sweep, sweep_id)
    if sweep is None:
        raise NotFound("sweep", sweep_id)
    return sweep


def out_many(session: Session, trainings: Sequence[Training]) -> list[TrainingOut]:
    """The API's view of these trainings, with five queries however many they are."""
    ids = [training.id for training in trainings]
    sweep_ids = sorted({training.sweep_id for training in trainings})
    newest = latest_jobs(session, [job_subject(one) for one in sweep_ids])
    sizes = _pairs(
        session,
        select(Training.sweep_id, func.count())
        .where(Training.sweep_id.in_(sweep_ids))
        .group_by(Training.sweep_id),
    )
    models = _pairs(
        session, select(Model.id, Model.name).where(Model.id.in_({t.sweep.model_id for t in trainings}))
    )
    sources = _sources(session, sweep_ids)
    saes = _pairs(
        session,
        select(Sae.training_id, Sae.id)
        # one that was made of a checkpoint is not what the training ended with
        .where(Sae.training_id.in_(ids), Sae.origin["checkpoint"].as_integer().is_(None))
        .order_by(Sae.created_at),
    )
    views: list[TrainingOut] = []
    for training in trainings:
        sweep = training.sweep
        config = stored_settings(training.config)
        job = newest.get(job_subject(sweep.id))
        stored = {column.key: getattr(training, column.key) for column in Training.__table__.columns}
        stored |= {
            "config": config,
            "sweep_size": sizes[sweep.id],
            "model_id": sweep.model_id,
            "model_name": models[sweep.model_id],
            "sources": sources.get(sweep.id, []),
            "cache_id": sweep.cache_id,
            "harvest": sweep.harvest,
            "held_out_tokens": sweep.held_out_tokens,
            "trackers": [],
            "tracker_project": None,
            **trackers_of(sweep),
            "total_steps": config.total_steps,
            "sae_id": saes.get(training.id),
            "job": JobOut.model_validate(job) if job is not None else None,
        }
        views.append(TrainingOut.model_validate(stored))
    return views


def trackers_of(sweep: Sweep) -> dict[str, Any]:
    """What a request says of where curves are sent to; nothing where they are sent nowhere."""
    if not sweep.trackers:
        return {}
    kinds = [chosen["kind"] for chosen in sweep.trackers]
    return {"trackers": kinds, "tracker_project": sweep.trackers[0]["project"]}


def _pairs(session: Session, query: Select[Any, Any]) -> dict[Any, Any]:
    return {row[0]: row[1] for row in session.execute(query)}


def _sources(session: Session, sweep_ids: Sequence[str]) -> dict[str, list[SourceOut]]:
    rows = session.execute(
        select(SweepSource, Tokenization.name, Dataset.id, Dataset.name)
        .join(Tokenization, Tokenization.id == SweepSource.tokenization_id)
        .join(Dataset, Dataset.id == Tokenization.dataset_id)
        .where(SweepSource.sweep_id.in_(sweep_ids))
        .order_by(SweepSource.position)
    )
    found: dict[str, list[SourceOut]] = {}
    for source, tokenization_name, dataset_id, dataset_name in rows:
        found.setdefault(source.sweep_id, []).append(
            SourceOut(
                tokenization_id=source.tokenization_id,
                tokenization_name=tokenization_name,
                dataset_id=dataset_id,
                dataset_name=dataset_name,
                weight=source.weight,
            )
        )
    return found


def sweep_out(session: Session, sweep: Sweep) -> SweepOut:
    """A sweep with its trainings."""
    trainings = session.scalars(
        select(Training).where(Training.sweep_id == sweep.id).order_by(Training.position)
    ).all()
    job = latest_jobs(session, [job_subject(sweep.id)]).get(job_subject(sweep.id))
    return SweepOut(
        id=sweep.id,
        name=sweep.name,
        created_at=sweep.created_at,
        trainings=out_many(session, trainings),
        job=JobOut.model_validate(job) if job is not None else None,
        asked=asked_of(sweep),
    )


def asked_of(sweep: Sweep) -> TrainingTemplate | None:
    """A sweep's hyperparameters and grid, as a template keeps them; None where they are unknown or outdated."""
    return _kept(sweep, sweep.asked) if sweep.asked else None


def settings_kept(training: Training) -> TrainingTemplate | None:
    """One run's settings as a template keeps them; None for such as would be refused today."""
    return _kept(training.sweep, {"config": training.config})


def _kept(sweep: Sweep, asked: dict[str, Any]) -> TrainingTemplate | None:
    kept = {**asked, "held_out_tokens": sweep.held_out_tokens}
    if sweep.cache_id is None:
        kept["harvest"] = {**sweep.harvest, "n_tokens": None}
    try:
        return TrainingTemplate.model_validate(kept)
    except ValidationError:
        return None


def detail(session: Session, settings: Settings, training_id: str) -> TrainingDetail:
    """One training with its files."""
    view = out_many(session, [get_training(session, training_id)])[0]
    folder = training_folder(settings, training_id)
    checkpoints = [
        CheckpointOut(
            step=checkpoint.step,
            tokens=min(checkpoint.step * view.config.batch_size, view.config.total_tokens),
            bytes=checkpoint.bytes,
            created_at=checkpoint.created_at,
        )
        for checkpoint in list_checkpoints(folder)
    ]
    size = folder_bytes(folder) if folder.exists() else 0
    expected = came_to(session, folder, view)
    return TrainingDetail(**dict(view), bytes=size, checkpoints=checkpoints, expected=expected)


def snapshot(session: Session, channel: str) -> dict[str, Any]:
    """The state that a client joining `trainings` or `trainings/{id}` is given."""
    _, _, training_id = channel.partition("/")
    if training_id:
        return out_many(session, [get_training(session, training_id)])[0].model_dump(mode="json")
    recent = session.scalars(select(Training).order_by(Training.created_at.desc()).limit(50)).all()
    return {"items": [view.model_dump(mode="json") for view in out_many(session, recent)]}
