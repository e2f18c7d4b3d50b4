"""Trainings as things: created, forecast, stopped, resumed, deleted. Used by routes and commands alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.activations.schemas import HarvestSettings
from mistudio.activations.tables import ActivationCache
from mistudio.datasets.tables import Tokenization
from mistudio.engine.runs import Run, SettingsRefused, describe, shared_batch_size, stored_settings, sweep
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, latest_jobs
from mistudio.lm.hooks import place_of
from mistudio.models.deletion import delete_owner
from mistudio.models.tables import Model
from mistudio.sae.config import TrainerConfig
from mistudio.settings import Settings
from mistudio.templates.library import use_template
from mistudio.training.forecast import MeasuredRun, forecast, model_flops_per_token, step_flops_per_token
from mistudio.training.schemas import Forecast, TrainingCreate, TrainingJob
from mistudio.training.tables import Sweep, SweepSource, Training
from mistudio.training.views import TABLE, get_training, job_subject

JOB_KIND = "training.run"
MOST_TRAININGS = 256
"""SAEs of one sweep: more would neither fit into memory nor on a screen."""


@dataclass(frozen=True)
class Inputs:
    """What a request names, found and checked."""

    tokenizations: list[Tokenization]
    model: Model
    runs: list[Run]
    d_in: dict[str, int]
    """widths by hook point"""
    available: int
    """tokens there are to train on, held-out ones among them"""
    harvest: HarvestSettings


def create_sweep(session: Session, request: TrainingCreate) -> Sweep:
    """Check that hook points, tokens, cache and settings fit together; insert the trainings and queue their job.

    Raises StudioError naming the field that does not fit.
    """
    if request.template_id is not None:
        use_template(session, request.template_id, "training")
    found = check_inputs(session, request)
    largest = max(run.config.batch_size for run in found.runs)
    if found.available - request.held_out_tokens < largest:
        raise StudioError(
            "too_few_tokens",
            f"There are {found.available:,} tokens, {request.held_out_tokens:,} of them held out: not enough for one "
            f"batch of {largest:,}.",
            hint="Use more text, a smaller batch, or hold out less.",
            fields={"held_out_tokens": "leaves too few tokens to train on"},
        )
    names = [_name(request.name, run, alone=len(found.runs) == 1) for run in found.runs]
    made = Sweep(
        name=request.name or (names[0] if len(names) == 1 else f"{len(names)} SAEs on {found.model.name}"),
        model_id=found.model.id,
        cache_id=request.cache_id,
        harvest=found.harvest.model_dump(mode="json"),
        held_out_tokens=request.held_out_tokens,
        sources=[
            SweepSource(position=at, tokenization_id=source.tokenization_id, weight=source.weight)
            for at, source in enumerate(request.sources)
        ],
        trainings=[
            Training(
                position=at,
                name=name[:200],
                hook=run.hook,
                d_in=found.d_in[run.hook],
                config=run.config.model_dump(mode="json"),
            )
            for at, (name, run) in enumerate(zip(names, found.runs, strict=True))
        ],
    )
    session.add(made)
    session.flush()
    submit_sweep(session, made)
    return made


def _name(wanted: str | None, run: Run, *, alone: bool) -> str:
    if alone:
        return wanted or f"{run.hook} · {describe(run.config)}"
    part = f"{run.hook} · {run.name or describe(run.config)}"
    return f"{wanted} · {part}" if wanted else part


def submit_sweep(session: Session, made: Sweep) -> Job:
    return jobs.submit(
        session,
        JOB_KIND,
        subject=job_subject(made.id),
        title=f"Train {made.name}",
        params=TrainingJob(sweep_id=made.id),
    )


def check_inputs(session: Session, request: TrainingCreate) -> Inputs:
    """What the request names, if it fits together. Raises NotFound, Conflict, StudioError with the field."""
    tokenizations = [_ready_tokenization(session, source.tokenization_id) for source in request.sources]
    model = session.get(Model, tokenizations[0].model_id)
    if model is None:
        raise NotFound("model", tokenizations[0].model_id)
    strangers = [one.name for one in tokenizations if one.model_id != model.id]
    if strangers:
        raise StudioError(
            "tokenizations_of_several_models",
            f"The tokenization “{strangers[0]}” was made for another model than “{tokenizations[0].name}”.",
            hint="Mix tokenizations that were made with one model.",
            fields={"sources": "made for different models"},
        )
    widths: dict[str, int] = {}
    for hook in request.hooks:
        point = next((p for p in model.hook_points if p["name"] == hook), None)
        if point is None:
            kinds = sorted({place_of(p["kind"]) for p in model.hook_points})
            raise StudioError(
                "hook_not_found",
                f"The model “{model.name}” has no hook point “{hook}”.",
                hint=f"It has blocks.0 … blocks.{(model.n_layers or 1) - 1}, each with {', '.join(kinds)}.",
                fields={"hooks": "not a hook point of this model"},
            )
        widths[hook] = int(point["d"])
    available = sum(one.n_tokens or 0 for one in tokenizations)
    harvest = request.harvest or HarvestSettings(seed=request.config.seed)
    if request.cache_id is not None:
        cache = _fitting_cache(session, request)
        available = cache.n_tokens or 0
        harvest = HarvestSettings.model_validate(cache.settings)
    return Inputs(tokenizations, model, _runs(request), widths, available, harvest)


def _ready_tokenization(session: Session, tokenization_id: str) -> Tokenization:
    found = session.get(Tokenization, tokenization_id)
    if found is None:
        raise NotFound("tokenization", tokenization_id)
    if found.n_tokens is None:
        raise Conflict("tokenization_not_ready", f"The tokenization “{found.name}” is not finished yet.")
    return found


def _fitting_cache(session: Session, request: TrainingCreate) -> ActivationCache:
    cache = session.get(ActivationCache, str(request.cache_id))
    if cache is None:
        raise NotFound("activation_cache", str(request.cache_id))
    if cache.n_tokens is None:
        raise Conflict("cache_not_ready", f"The activation cache “{cache.name}” is not finished yet.")
    lacking = [hook for hook in request.hooks if hook not in cache.hooks]
    if cache.tokenization_id != request.sources[0].tokenization_id or lacking:
        raise StudioError(
            "cache_does_not_fit",
            f"The activation cache “{cache.name}” holds {', '.join(cache.hooks)} of another tokenization or "
            f"without {(lacking or request.hooks)[0]}.",
            hint="Choose a cache of this tokenization that holds the hook points, or none.",
            fields={"cache_id": "does not hold these hook points of this tokenization"},
        )
    return cache


def _runs(request: TrainingCreate) -> list[Run]:
    """Every hook point with every combination of the grid, within what one stream can feed."""
    count = len(request.hooks)
    for values in request.grid.values():
        count *= len(values)
    if count > MOST_TRAININGS:
        raise StudioError(
            "grid_too_large",
            f"The grid makes {count:,} SAEs, and one run trains at most {MOST_TRAININGS}.",
            hint="Leave out values or hook points, or start several runs.",
            fields={"grid": f"more than {MOST_TRAININGS} SAEs"},
        )
    try:
        runs = [
            run for hook in request.hooks for run in sweep(Run(hook, config=request.config), request.grid)
        ]
        shared_batch_size(runs)
    except SettingsRefused as error:
        raise StudioError(
            "invalid_input", error.message, hint=error.hint, status=422, fields={"grid": error.message}
        ) from error
    return runs


def forecast_sweep(session: Session, settings: Settings, request: TrainingCreate) -> Forecast:
    """What these trainings would take. Raises the same errors as creating them for inputs that do not fit."""
    found = check_inputs(session, request)
    streaming = request.cache_id is None
    layers = {point["name"]: point["layer"] for point in found.model.hook_points}
    deepest = max(
        (layers[hook] for hook in request.hooks), key=lambda layer: float("inf") if layer is None else layer
    )
    return forecast(
        settings,
        [(run.config, found.d_in[run.hook]) for run in found.runs],
        widths=found.d_in,
        weight_bytes=4 * (found.model.parameters or 0) if streaming else 0,
        model_flops=_model_flops(found.model, deepest) if streaming else 0.0,
        cached_tokens=None if streaming else found.available,
        available_tokens=found.available,
        held_out_tokens=request.held_out_tokens,
        measured=measured_runs(session),
    )


def _model_flops(model: Model, layer: int | None) -> float:
    depth = (model.n_layers or 1) if layer is None else layer + 1
    return model_flops_per_token(
        model.parameters or 0, model.n_layers or 1, model.vocab_size or 0, model.d_model or 0, depth
    )


def measured_runs(session: Session) -> list[MeasuredRun]:
    """Rates of this machine: those of the newest trainings that were finished by themselves."""
    recent = session.execute(
        select(Training, Model)
        .join(Sweep, Sweep.id == Training.sweep_id)
        .join(Model, Model.id == Sweep.model_id)
        .where(Training.tokens_trained > 0, Training.sweep_id.in_(_alone()))
        .order_by(Training.created_at.desc())
        .limit(20)
    ).all()
    newest = latest_jobs(session, [job_subject(training.sweep_id) for training, _ in recent])
    runs: list[MeasuredRun] = []
    for training, model in recent:
        rate = (training.last_metrics or {}).get("tokens_per_second")
        job = newest.get(job_subject(training.sweep_id))
        if not rate or job is None or job.state != "succeeded":
            continue
        flops = step_flops_per_token(stored_settings(training.config), training.d_in)
        if training.sweep.cache_id is None:
            layer = next((p["layer"] for p in model.hook_points if p["name"] == training.hook), None)
            flops += _model_flops(model, layer)
        runs.append(MeasuredRun(training.name, flops, rate))
    return runs


def _alone():
    """Sweeps of one training: the only ones whose speed is that of a single SAE."""
    return select(Training.sweep_id).group_by(Training.sweep_id).having(func.count() == 1)


def sweep_job(session: Session, sweep_id: str) -> Job | None:
    """The newest job of a sweep."""
    return latest_jobs(session, [job_subject(sweep_id)]).get(job_subject(sweep_id))


def resume_sweep(session: Session, found: Sweep) -> None:
    """Queue the sweep again; it goes on from its newest checkpoints. Raises Conflict when it is done or under way."""
    job = sweep_job(session, found.id)
    members = session.scalars(select(Training).where(Training.sweep_id == found.id)).all()
    totals = [TrainerConfig.model_validate(one.config).total_tokens for one in members]
    if all(one.tokens_trained >= total for one, total in zip(members, totals, strict=True)):
        raise Conflict("training_complete", f"“{found.name}” has seen all of its {max(totals):,} tokens.")
    if job is not None and job.state == "paused":
        jobs.resume(session, job.id)
    elif job is not None and job.state in ("failed", "cancelled"):
        jobs.retry(session, job.id)
    elif (
        job is None or job.state == "succeeded"
    ):  # stopped early and kept: a new job takes up its checkpoints
        submit_sweep(session, found)
    else:
        raise Conflict("training_under_way", f"“{found.name}” is {job.state} already.")


def stop_sweep(session: Session, found: Sweep) -> None:
    """Ask the run to end after its present step and keep what it learned. Raises Conflict when it is not running."""
    job = sweep_job(session, found.id)
    if job is None or job.state != "running":
        raise Conflict("training_not_running", f"“{found.name}” is not running.")
    jobs.request_stop(session, job.id)


def delete_trainings(session: Session, settings: Settings, training_ids: Sequence[str]) -> None:
    """Remove rows, and folders by a rename; SAEs that were made stay.

    A sweep whose last training goes is cancelled and goes too; one that keeps others runs on. Raises NotFound.
    """
    # What came out of a run is no part of it: an SAE's reference becomes null and it stays.
    for training in [get_training(session, one) for one in dict.fromkeys(training_ids)]:
        left = session.scalar(select(func.count()).where(Training.sweep_id == training.sweep_id))
        table, id = ("sweeps", training.sweep_id) if left == 1 else (TABLE, training.id)
        delete_owner(session, settings, table, id, name=training.name, force=True)
