"""Trainings as things: created, stopped, resumed, deleted. Used by routes and commands alike."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.engine.runs import Run, describe
from mistudio.errors import Conflict
from mistudio.jobs import Job, latest_jobs
from mistudio.models.deletion import delete_owner
from mistudio.sae.config import TrainerConfig
from mistudio.settings import Settings
from mistudio.templates.library import use_template
from mistudio.training.inputs import check_inputs, refuse_too_few
from mistudio.training.schemas import TrainingCreate, TrainingJob, TrainingUpdate
from mistudio.training.tables import Sweep, SweepSource, Training
from mistudio.training.trackers import check_trackers
from mistudio.training.views import TABLE, get_training, job_subject

JOB_KIND = "training.run"


def create_sweep(session: Session, request: TrainingCreate, *, memory_bytes: int | None = None) -> Sweep:
    """Check that hook points, tokens, cache and settings fit together; insert the trainings and queue their job.

    `memory_bytes` is what they are expected to need (`admission.admit`): the job waits until that is free.
    Raises StudioError naming the field that does not fit.
    """
    if request.template_id is not None:
        use_template(session, request.template_id, "training")
    check_trackers(request.trackers)
    found = check_inputs(session, request)
    refuse_too_few(found, request.held_out_tokens)
    names = [_name(request.name, run, alone=len(found.runs) == 1) for run in found.runs]
    made = Sweep(
        name=request.name or (names[0] if len(names) == 1 else f"{len(names)} SAEs on {found.model.name}"),
        model_id=found.model.id,
        cache_id=request.cache_id,
        harvest=found.harvest.model_dump(mode="json"),
        held_out_tokens=request.held_out_tokens,
        asked=request.model_dump(mode="json", include={"config", "grid"}),
        trackers=[{"kind": kind, "project": request.tracker_project} for kind in request.trackers],
        stream={"seed": request.config.seed, "batch_size": found.batch_size, "hooks": request.hooks},
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
    submit_sweep(session, made, memory_bytes)
    return made


def _name(wanted: str | None, run: Run, *, alone: bool) -> str:
    if alone:
        return wanted or f"{run.hook} · {describe(run.config)}"
    part = f"{run.hook} · {run.name or describe(run.config)}"
    return f"{wanted} · {part}" if wanted else part


def submit_sweep(session: Session, made: Sweep, memory_bytes: int | None = None) -> Job:
    """Queue the job of a sweep; again, it needs the memory that it was expected to need before."""
    before = sweep_job(session, made.id)
    return jobs.submit(
        session,
        JOB_KIND,
        subject=job_subject(made.id),
        title=f"Train {made.name}",
        params=TrainingJob(sweep_id=made.id),
        memory_bytes=memory_bytes if before is None else before.memory_bytes,
    )


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
    elif job is None or job.state == "succeeded":
        # Stopped early and kept: a new job takes up its checkpoints.
        submit_sweep(session, found)
    else:
        raise Conflict("training_under_way", f"“{found.name}” is {job.state} already.")


def stop_sweep(session: Session, found: Sweep) -> None:
    """Ask the run to end after its present step and keep what it learned. Raises Conflict when it is not running."""
    job = sweep_job(session, found.id)
    if job is None or job.state != "running":
        raise Conflict("training_not_running", f"“{found.name}” is not running.")
    jobs.request_stop(session, job.id)


def update_training(session: Session, training_id: str, request: TrainingUpdate) -> Training:
    """Change the name, the notes, the tags or the star, those that are given. Raises NotFound."""
    training = get_training(session, training_id)
    for name, value in request.model_dump(exclude_none=True).items():
        setattr(training, name, value)
    session.flush()
    return training


def delete_trainings(session: Session, settings: Settings, training_ids: Sequence[str]) -> None:
    """Remove rows, and folders by a rename; SAEs that were made stay.

    A sweep whose last training goes is cancelled and goes too; one that keeps others runs on. Raises NotFound.
    """
    # What came out of a run is no part of it: an SAE's reference becomes null and it stays.
    for training in [get_training(session, one) for one in dict.fromkeys(training_ids)]:
        left = session.scalar(select(func.count()).where(Training.sweep_id == training.sweep_id))
        table, id = ("sweeps", training.sweep_id) if left == 1 else (TABLE, training.id)
        delete_owner(session, settings, table, id, name=training.name, force=True)
