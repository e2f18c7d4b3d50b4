"""What a training will take before it starts: memory and disk counted, time from measured rates, and advice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import psutil
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio.datasets.tables import Tokenization
from mistudio.engine.recordings.environment import read_environments
from mistudio.engine.run_folder import METRICS_FILE
from mistudio.engine.runs import describe, stored_settings
from mistudio.engine.sizes import POOL_TOKENS, SPLICED_TOKENS
from mistudio.jobs import Job, latest_jobs
from mistudio.lm.footprint import ModelFootprint, estimate
from mistudio.lm.hooks import parse_hook
from mistudio.models.library import loading_of, model_folder
from mistudio.sae.config import TrainerConfig, active_per_token
from mistudio.settings import Settings
from mistudio.store import read_metrics, row_bytes
from mistudio.training.advice import advise
from mistudio.training.inputs import Inputs, check_inputs, refuse_too_few
from mistudio.training.memory import Reading, dictionary_bytes, disk_bytes, memory_parts
from mistudio.training.rates import MeasuredRun, rate_of
from mistudio.training.schemas import Forecast, ForecastSae, TrainingCreate
from mistudio.training.tables import Sweep, Training
from mistudio.training.views import job_subject, training_folder

_RUNS = 20


def forecast_sweep(session: Session, settings: Settings, request: TrainingCreate) -> Forecast:
    """What these trainings would take. Raises the same errors as creating them for inputs that do not fit."""
    found = check_inputs(session, request)
    refuse_too_few(found, request.held_out_tokens)
    runs = [(run.config, found.d_in[run.hook]) for run in found.runs]
    reading = _reading(settings, found, request)
    parts = memory_parts(runs, reading)
    tokens = max(config.total_tokens for config, _ in runs)
    alongside = None if reading.cached_tokens else reading.footprint
    distinct = found.available - request.held_out_tokens
    passes = rows_read(tokens, distinct) / tokens
    rate = rate_of(
        0.0 if alongside is None else passes * model_flops(alongside, request.hooks, reading.context),
        sum(step_flops(config, d_in) * config.total_tokens / tokens for config, d_in in runs),
        measured_runs(session, settings),
    )
    saes = [
        ForecastSae(
            name=run.name or describe(run.config),
            hook=run.hook,
            d_in=found.d_in[run.hook],
            d_sae=run.config.d_sae,
            total_steps=run.config.total_steps,
            memory_bytes=sum(dictionary_bytes(run.config, found.d_in[run.hook]).values()),
            disk_bytes=disk_bytes(run.config, found.d_in[run.hook]),
        )
        for run in found.runs
    ]
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return Forecast(
        saes=saes,
        memory_bytes=sum(parts.values()),
        disk_bytes=sum(sae.disk_bytes for sae in saes),
        seconds=tokens / rate.tokens_per_second,
        tokens_per_second=rate.tokens_per_second,
        basis=rate.basis,
        parts=parts,
        available_memory_bytes=int(psutil.virtual_memory().available),
        available_disk_bytes=shutil.disk_usage(settings.data_dir).free,
        warnings=advise(runs, distinct, request.held_out_tokens),
    )


def _reading(settings: Settings, found: Inputs, request: TrainingCreate) -> Reading:
    cached = Reading(found.d_in, request.held_out_tokens, value=4)
    if found.cache is not None:
        tokens, value = found.cache.n_tokens or 0, row_bytes(found.cache.dtype, 64) // 64
        cached = replace(cached, value=value, cached_tokens=tokens)
        if not any(run.config.evaluate_every for run in found.runs):
            return cached
    loading = loading_of(found.model)
    dtype = {"none": loading.dtype}.get(loading.quantization, loading.quantization)
    footprint = estimate(model_folder(settings, found.model.id), "float32" if dtype == "auto" else dtype)
    if cached.cached_tokens:  # dictionaries are spliced into the model, a few sequences at a time
        return replace(cached, footprint=footprint, pass_tokens=SPLICED_TOKENS)
    context = max(int(one.settings["context_length"]) for one in found.tokenizations)
    return replace(
        cached,
        value=2 if footprint.bytes_per_number == 2 else 4,
        footprint=footprint,
        pass_tokens=found.harvest.batch_sequences * context,
        context=context,
    )


def step_flops(config: TrainerConfig, d_in: int) -> float:
    """Operations of one training step for each token: the dense encode, then work proportional to the active latents.

    2·d·m for the encode, and five products of 2·d·k for decode, both weight gradients and the gradient of the values,
    k latents being active. Where the settings do not say how many will be, all five are counted dense.
    """
    dense = 2.0 * d_in * config.d_sae
    return dense + 5 * 2.0 * d_in * active_per_token(config.architecture, config.d_sae)


def model_flops(footprint: ModelFootprint, hooks: list[str], context: int) -> float:
    """Operations of the forward pass up to the deepest of these hooks for each token (Kaplan et al. 2020, arXiv
    2001.08361, section 2.1)."""
    block = (footprint.parameters - footprint.embedding_parameters) / max(1, footprint.n_layers)
    layers = [parse_hook(hook).layer for hook in hooks]
    depth = max(footprint.n_layers if layer is None else layer + 1 for layer in layers)
    return depth * (2.0 * block + 2.0 * context * footprint.d_model)


def rows_read(tokens: int, distinct: int) -> int:
    """Activations that the model computes for a training on so many tokens: whole pools, none beyond an epoch."""
    distinct = max(distinct, 1)
    epochs, rest = divmod(tokens, distinct)
    return epochs * distinct + min(distinct, -(-rest // POOL_TOKENS) * POOL_TOKENS)


def measured_runs(session: Session, settings: Settings) -> list[MeasuredRun]:
    """What the newest finished sweeps of this machine took that ran in one piece."""
    sweeps = session.scalars(
        select(Sweep)
        .where(Sweep.trainings.any(Training.tokens_trained > 0))
        .order_by(Sweep.created_at.desc())
        .limit(_RUNS)
    ).all()
    newest = latest_jobs(session, [job_subject(one.id) for one in sweeps])
    found: list[MeasuredRun] = []
    for sweep in sweeps:
        job = newest.get(job_subject(sweep.id))
        if job is None or job.state != "succeeded" or job.attempt > 1:
            continue
        named = [one.tokenization_id for one in sweep.sources]
        tokens = session.scalar(select(func.sum(Tokenization.n_tokens)).where(Tokenization.id.in_(named)))
        measured = _measured(settings, sweep, job, int(tokens or 0) - sweep.held_out_tokens)
        if measured is not None:
            found.append(measured)
    return found


def _measured(settings: Settings, sweep: Sweep, job: Job, distinct: int) -> MeasuredRun | None:
    """`distinct`: the tokens there were to train on."""
    longest = max(sweep.trainings, key=lambda one: one.tokens_trained)
    path = training_folder(settings, longest.id) / METRICS_FILE
    points = _ends_of(path, longest.tokens_trained) if path.exists() else None
    if points is None or job.started_at is None:
        return None
    (first_tokens, first_time), (tokens, time) = points
    began = _began(training_folder(settings, longest.id), job) or job.started_at.timestamp()
    if first_time < began:  # it went on from another job, with a pause between
        return None
    streamed = sweep.cache_id is None
    if streamed:
        # The first pool was read before the first step.
        first_tokens, first_time = 0.0, began
    if time <= first_time or tokens <= first_tokens:
        return None
    steps = sum(
        step_flops(stored_settings(one.config), one.d_in) * one.tokens_trained / longest.tokens_trained
        for one in sweep.trainings
    )
    model = 0.0
    if streamed:
        footprint = estimate(model_folder(settings, sweep.model_id))
        model = model_flops(footprint, [one.hook for one in sweep.trainings], 128)
        model *= rows_read(longest.tokens_trained, distinct) / longest.tokens_trained
    seconds = time - first_time
    return MeasuredRun(sweep.name, model, steps, (tokens - first_tokens) / seconds, seconds)


def _began(folder: Path, job: Job) -> float | None:
    """When the job had its model and began to train."""
    noted = [one["started_at"] for one in read_environments(folder) if one.get("job") == job.id]
    return datetime.fromisoformat(noted[-1]).timestamp() if noted else None


@lru_cache(maxsize=256)
def _ends_of(path: Path, tokens_trained: int) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Tokens and time of the first and the last point of a curve; `tokens_trained` says which state of it is meant."""
    points = read_metrics(path)
    if len(points["step"]) < 2:
        return None
    first, last = ((float(points["tokens"][at]), float(points["time"][at])) for at in (0, -1))
    return first, last
