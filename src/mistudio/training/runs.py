"""Trainings as things: created, looked at, stopped, resumed, deleted. Used by routes and commands alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.activations.schemas import HarvestSettings
from mistudio.activations.tables import ActivationCache
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.db import new_id
from mistudio.engine.run_folder import METRICS_FILE, list_checkpoints
from mistudio.engine.runs import describe, stored_settings
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import JobOut, latest_jobs
from mistudio.lm.hooks import place_of
from mistudio.models.deletion import delete_owner
from mistudio.models.tables import Model
from mistudio.sae.config import TrainerConfig
from mistudio.saes.tables import Sae
from mistudio.settings import Settings
from mistudio.store import downsample, folder_bytes, owner_folder, read_metrics
from mistudio.templates.library import use_template
from mistudio.training.forecast import (
    MeasuredRun,
    forecast,
    model_flops_per_token,
    step_flops_per_token,
)
from mistudio.training.schemas import (
    CheckpointOut,
    Forecast,
    MetricSeries,
    TrainingCreate,
    TrainingDetail,
    TrainingJob,
    TrainingOut,
)
from mistudio.training.tables import Training

TABLE = "trainings"
JOB_KIND = "training.run"


def training_folder(settings: Settings, training_id: str) -> Path:
    """Where a training's metrics and checkpoints lie."""
    return owner_folder(settings.data_dir, TABLE, training_id)


def get_training(session: Session, training_id: str) -> Training:
    """The training of this id. Raises NotFound."""
    training = session.get(Training, training_id)
    if training is None:
        raise NotFound("training", training_id)
    return training


def create_training(session: Session, request: TrainingCreate) -> Training:
    """Check that hook, tokenization, cache and settings fit together; insert the training and queue its job.

    Raises StudioError naming the field that does not fit.
    """
    if request.template_id is not None:
        use_template(session, request.template_id, "training")
    tokenization, model, d_in, available, harvest = _inputs(session, request)
    config = request.config
    if available - request.held_out_tokens < config.batch_size:
        raise StudioError(
            "too_few_tokens",
            f"There are {available:,} tokens, {request.held_out_tokens:,} of them held out: not enough for one "
            f"batch of {config.batch_size:,}.",
            hint="Use more text, a smaller batch, or hold out less.",
            fields={"held_out_tokens": "leaves too few tokens to train on"},
        )
    training = Training(
        id=new_id("tr"),
        name=request.name or f"{request.hook} · {describe(config)}",
        model_id=model.id,
        tokenization_id=tokenization.id,
        cache_id=request.cache_id,
        hook=request.hook,
        d_in=d_in,
        config=config.model_dump(mode="json"),
        harvest=harvest.model_dump(mode="json"),
        held_out_tokens=request.held_out_tokens,
    )
    session.add(training)
    session.flush()
    jobs.submit(
        session,
        JOB_KIND,
        subject=f"{TABLE}/{training.id}",
        title=f"Train {training.name}",
        params=TrainingJob(training_id=training.id),
    )
    return training


def forecast_training(session: Session, settings: Settings, request: TrainingCreate) -> Forecast:
    """What this training would take. Raises the same errors as creating it for inputs that do not fit."""
    _, model, d_in, available, _ = _inputs(session, request)
    hook = next(point for point in model.hook_points if point["name"] == request.hook)
    streaming = request.cache_id is None
    return forecast(
        settings,
        request.config,
        d_in=d_in,
        weight_bytes=4 * (model.parameters or 0) if streaming else 0,
        model_flops=_model_flops(model, hook["layer"]) if streaming else 0.0,
        cached_tokens=None if streaming else available,
        available_tokens=available,
        held_out_tokens=request.held_out_tokens,
        measured=_measured_runs(session),
    )


def _inputs(
    session: Session, request: TrainingCreate
) -> tuple[Tokenization, Model, int, int, HarvestSettings]:
    tokenization = session.get(Tokenization, request.tokenization_id)
    if tokenization is None:
        raise NotFound("tokenization", request.tokenization_id)
    if tokenization.n_tokens is None:
        raise Conflict(
            "tokenization_not_ready", f"The tokenization “{tokenization.name}” is not finished yet."
        )
    model = session.get(Model, tokenization.model_id)
    if model is None:
        raise NotFound("model", tokenization.model_id)
    point = next((p for p in model.hook_points if p["name"] == request.hook), None)
    if point is None:
        kinds = sorted({place_of(p["kind"]) for p in model.hook_points})
        raise StudioError(
            "hook_not_found",
            f"The model “{model.name}” has no hook point “{request.hook}”.",
            hint=f"It has blocks.0 … blocks.{(model.n_layers or 1) - 1}, each with {', '.join(kinds)}.",
            fields={"hook": "not a hook point of this model"},
        )
    available = tokenization.n_tokens
    harvest = request.harvest or HarvestSettings(seed=request.config.seed)
    if request.cache_id is not None:
        cache = session.get(ActivationCache, request.cache_id)
        if cache is None:
            raise NotFound("activation_cache", request.cache_id)
        if cache.n_tokens is None:
            raise Conflict("cache_not_ready", f"The activation cache “{cache.name}” is not finished yet.")
        if cache.tokenization_id != tokenization.id or request.hook not in cache.hooks:
            raise StudioError(
                "cache_does_not_fit",
                f"The activation cache “{cache.name}” holds {', '.join(cache.hooks)} of another tokenization or "
                f"without {request.hook}.",
                hint="Choose a cache of this tokenization that holds the hook point, or none.",
                fields={"cache_id": "does not hold this hook point of this tokenization"},
            )
        available = cache.n_tokens
        harvest = HarvestSettings.model_validate(cache.settings)
    return tokenization, model, int(point["d"]), available, harvest


def _model_flops(model: Model, layer: int | None) -> float:
    depth = (model.n_layers or 1) if layer is None else layer + 1
    return model_flops_per_token(
        model.parameters or 0, model.n_layers or 1, model.vocab_size or 0, model.d_model or 0, depth
    )


def _measured_runs(session: Session) -> list[MeasuredRun]:
    recent = session.execute(
        select(Training, Model)
        .join(Model, Model.id == Training.model_id)
        .where(Training.tokens_trained > 0)
        .order_by(Training.created_at.desc())
        .limit(20)
    ).all()
    newest = latest_jobs(session, [f"{TABLE}/{training.id}" for training, _ in recent])
    runs: list[MeasuredRun] = []
    for training, model in recent:
        rate = (training.last_metrics or {}).get("tokens_per_second")
        job = newest.get(f"{TABLE}/{training.id}")
        if not rate or job is None or job.state != "succeeded":
            continue
        flops = step_flops_per_token(stored_settings(training.config), training.d_in)
        if training.cache_id is None:
            layer = next((p["layer"] for p in model.hook_points if p["name"] == training.hook), None)
            flops += _model_flops(model, layer)
        runs.append(MeasuredRun(training.name, flops, rate))
    return runs


def out_many(session: Session, trainings: Sequence[Training]) -> list[TrainingOut]:
    """The API's view of these trainings, with four queries however many they are."""
    ids = [training.id for training in trainings]
    newest = latest_jobs(session, [f"{TABLE}/{one}" for one in ids])
    models = _names(session, Model, [training.model_id for training in trainings])
    tokenizations = session.execute(
        select(Tokenization.id, Dataset.id, Dataset.name)
        .join(Dataset, Dataset.id == Tokenization.dataset_id)
        .where(Tokenization.id.in_([training.tokenization_id for training in trainings]))
    ).all()
    datasets = {row[0]: (row[1], row[2]) for row in tokenizations}
    saes = {
        row[0]: row[1]
        for row in session.execute(
            select(Sae.training_id, Sae.id).where(Sae.training_id.in_(ids)).order_by(Sae.created_at)
        ).all()
    }
    views: list[TrainingOut] = []
    for training in trainings:
        config = stored_settings(training.config)
        dataset_id, dataset_name = datasets[training.tokenization_id]
        job = newest.get(f"{TABLE}/{training.id}")
        stored = {column.key: getattr(training, column.key) for column in Training.__table__.columns}
        stored |= {
            "config": config,
            "model_name": models[training.model_id],
            "dataset_id": dataset_id,
            "dataset_name": dataset_name,
            "total_steps": config.total_steps,
            "sae_id": saes.get(training.id),
            "job": JobOut.model_validate(job) if job is not None else None,
        }
        views.append(TrainingOut.model_validate(stored))
    return views


def _names(session: Session, table: type[Model], ids: Sequence[str]) -> dict[str, str]:
    return {
        row[0]: row[1] for row in session.execute(select(table.id, table.name).where(table.id.in_(ids))).all()
    }


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
    return TrainingDetail(**dict(view), bytes=size, checkpoints=checkpoints)


def metric_series(
    settings: Settings, training: Training, *, columns: Sequence[str] | None, max_points: int, after_step: int
) -> MetricSeries:
    """The training's points after a step, downsampled to about `max_points` (minima and maxima kept)."""
    path = training_folder(settings, training.id) / METRICS_FILE
    if not path.exists():
        return MetricSeries(columns={}, total_points=0, last_step=0)
    points = read_metrics(path)
    total, last = len(points["step"]), int(points["step"][-1]) if len(points["step"]) else 0
    kept = points["step"] > after_step
    wanted = {"step", "tokens", "time", *(columns if columns is not None else points)}
    unknown = sorted(wanted - set(points))
    if unknown:
        raise StudioError(
            "metric_unknown",
            f"This training records no metric “{unknown[0]}”.",
            hint=f"It records {', '.join(points)}.",
            status=422,
        )
    chosen = {name: values[kept] for name, values in points.items() if name in wanted}
    if len(chosen["step"]) > max_points:
        chosen = downsample(chosen, max_points)
    return MetricSeries(
        columns={name: _plain(values) for name, values in chosen.items()}, total_points=total, last_step=last
    )


def _plain(values: Any) -> list[float | None]:
    finite = np.isfinite(values)
    return [value if ok else None for value, ok in zip(values.tolist(), finite.tolist(), strict=True)]


def resume_training(session: Session, training_id: str) -> Training:
    """Queue the training again; it goes on from its newest checkpoint. Raises Conflict when it is done or under way."""
    training = get_training(session, training_id)
    job = latest_jobs(session, [f"{TABLE}/{training_id}"]).get(f"{TABLE}/{training_id}")
    config = TrainerConfig.model_validate(training.config)
    if training.tokens_trained >= config.total_tokens:
        raise Conflict(
            "training_complete", f"“{training.name}” has seen all of its {config.total_tokens:,} tokens."
        )
    if job is not None and job.state == "paused":
        jobs.resume(session, job.id)
    elif job is not None and job.state in ("failed", "cancelled"):
        jobs.retry(session, job.id)
    elif job is None or job.state == "succeeded":  # stopped early and kept: a new job takes up its checkpoint
        jobs.submit(
            session,
            JOB_KIND,
            subject=f"{TABLE}/{training_id}",
            title=f"Train {training.name}",
            params=TrainingJob(training_id=training_id),
        )
    else:
        raise Conflict("training_under_way", f"“{training.name}” is {job.state} already.")
    return training


def stop_training(session: Session, training_id: str) -> Training:
    """Ask the run to end after its present step and keep what it learned. Raises Conflict when it is not running."""
    training = get_training(session, training_id)
    job = latest_jobs(session, [f"{TABLE}/{training_id}"]).get(f"{TABLE}/{training_id}")
    if job is None or job.state != "running":
        raise Conflict("training_not_running", f"“{training.name}” is not running.")
    jobs.request_stop(session, job.id)
    return training


def delete_training(session: Session, settings: Settings, training_id: str) -> None:
    """Cancel its job, remove its row, and its folder by a rename; the SAE that it made stays."""
    training = get_training(session, training_id)
    # The SAE is not a part of the run but what came out of it: its reference becomes null and it stays.
    delete_owner(session, settings, TABLE, training.id, name=training.name, force=True)


def snapshot(session: Session, channel: str) -> dict[str, Any]:
    """The state that a client joining `trainings` or `trainings/{id}` is given."""
    _, _, training_id = channel.partition("/")
    if training_id:
        return out_many(session, [get_training(session, training_id)])[0].model_dump(mode="json")
    recent = session.scalars(select(Training).order_by(Training.created_at.desc()).limit(50)).all()
    return {"items": [view.model_dump(mode="json") for view in out_many(session, recent)]}
