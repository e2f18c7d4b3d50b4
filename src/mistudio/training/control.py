"""What may be done with a training once it is there: change it while it runs, go back, make it longer, clone it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.engine.changes import Change, read_changes
from mistudio.engine.checkpoints import CheckpointMissing, find_checkpoint, rewind
from mistudio.engine.runs import KINDS, SettingsRefused, sentence, stored_settings
from mistudio.engine.runs import settings as settings_of
from mistudio.errors import Conflict, StudioError
from mistudio.jobs import Job
from mistudio.jobs.tables import JobMessage
from mistudio.sae.config import TrainerConfig
from mistudio.sae.config.live import LENGTH, changed, full_name, live_settings
from mistudio.settings import Settings
from mistudio.training import sweeps
from mistudio.training.control_schemas import (
    ChangeOut,
    ChangeRequest,
    ChangesOut,
    CloneRequest,
    ContinueRequest,
    LiveSetting,
)
from mistudio.training.schemas import SourceChoice, TrainingCreate
from mistudio.training.tables import Sweep, Training
from mistudio.training.views import get_training, trackers_of, training_folder

_CHANGEABLE = ("queued", "running", "paused")
_ENDED = ("succeeded", "failed", "cancelled")


def settings_now(settings: Settings, training: Training) -> TrainerConfig:
    """A training's settings after all that was changed while it ran."""
    config = stored_settings(training.config)
    for change in read_changes(training_folder(settings, training.id)):
        if change.name != LENGTH:
            config = changed(config, change.name, change.after)
    return config


def changes_of(session: Session, settings: Settings, training_id: str) -> ChangesOut:
    """What was changed, what is waiting to be, and what may be."""
    training = get_training(session, training_id)
    config, waiting = settings_now(settings, training), 0
    job = sweeps.sweep_job(session, training.sweep_id)
    if job is not None and job.state in _CHANGEABLE:
        for body in session.scalars(
            select(JobMessage.body).where(JobMessage.job_id == job.id).order_by(JobMessage.id)
        ):
            if body.get("run") == training.id:
                waiting += 1
                config = changed(config, body["change"], body["value"])
    return ChangesOut(
        changes=[change_out(one) for one in read_changes(training_folder(settings, training.id))],
        live=[_live(config, name, value) for name, value in live_settings(config).items()],
        waiting=waiting,
    )


def change_out(change: Change) -> ChangeOut:
    """A change with its setting's title."""
    return ChangeOut(**vars(change), title=_title(change.name))


def change(session: Session, settings: Settings, training_id: str, request: ChangeRequest) -> ChangesOut:
    """Ask the training's job for another value of a setting, from its next step on.

    Raises Conflict when it has ended, StudioError `invalid_input` for what cannot change or is out of range.
    """
    training = get_training(session, training_id)
    job = sweeps.sweep_job(session, training.sweep_id)
    if job is None or job.state not in _CHANGEABLE:
        raise Conflict(
            "training_not_running",
            f"“{training.name}” has ended, so its settings cannot change any more.",
            hint="Continue it, or clone it with other settings.",
        )
    config = settings_now(settings, training)
    try:
        if request.name == LENGTH:
            raise ValueError(f"{LENGTH} cannot change while a training runs; continue it when it has ended")
        name = full_name(config, request.name)
        changed(config, name, request.value)
    except ValueError as error:
        raise _invalid(error) from error
    jobs.send(session, job.id, {"run": training.id, "change": name, "value": request.value})
    return changes_of(session, settings, training_id)


def retry(session: Session, settings: Settings, training_id: str, checkpoint: int | None) -> Training:
    """Queue a training again, with all of its sweep, from its newest checkpoint or an earlier one.

    Raises Conflict while it is under way, or when it is complete and no earlier checkpoint was named.
    """
    training = get_training(session, training_id)
    if checkpoint is None:
        sweeps.resume_sweep(session, training.sweep)
        return training
    job = _idle(session, training)
    _rewind(session, settings, training, checkpoint)
    _queue(session, training.sweep, job)
    return training


def continue_longer(
    session: Session, settings: Settings, training_id: str, request: ContinueRequest
) -> Training:
    """Give a training that has ended, or is paused, more tokens and queue it again with its sweep.

    Raises Conflict while it is under way, StudioError `invalid_input` when it would not be longer.
    """
    training = get_training(session, training_id)
    job = _idle(session, training)
    members = list(training.sweep.trainings) if request.whole_sweep else [training]
    for one in members:
        config = stored_settings(one.config)
        if request.total_tokens <= max(config.total_tokens, one.tokens_trained):
            raise StudioError(
                "invalid_input",
                f"“{one.name}” is to see {config.total_tokens:,} tokens already.",
                hint="Ask for more than that, or go back to a checkpoint.",
                status=422,
                fields={"total_tokens": f"must be more than {config.total_tokens:,}"},
            )
        try:
            longer = settings_of(config, total_tokens=request.total_tokens)
        except SettingsRefused as error:
            raise _invalid(error) from error
        if request.checkpoint is not None and one.id == training.id:
            _rewind(session, settings, one, request.checkpoint)
        one.config = longer.model_dump(mode="json")
        one.error = None
    session.flush()
    _queue(session, training.sweep, job)
    return training


def clone_request(session: Session, training_id: str, request: CloneRequest) -> TrainingCreate:
    """What starts a training like this one with some settings changed. Raises StudioError `invalid_input`."""
    training = get_training(session, training_id)
    sweep = training.sweep
    try:
        config = settings_of(stored_settings(training.config), **request.set)
    except SettingsRefused as error:
        raise _invalid(error) from error
    return TrainingCreate.model_validate(
        {
            "name": request.name or f"{training.name} (clone)"[:200],
            "sources": [
                SourceChoice(tokenization_id=one.tokenization_id, weight=one.weight) for one in sweep.sources
            ],
            "hooks": [training.hook],
            "cache_id": sweep.cache_id,
            "harvest": None if sweep.cache_id else sweep.harvest,
            "held_out_tokens": sweep.held_out_tokens,
            "config": config,
            **trackers_of(sweep),
        }
    )


def pause(session: Session, training_id: str) -> Training:
    """Ask its job to write checkpoints and leave its place. Raises Conflict when it neither runs nor waits."""
    training = get_training(session, training_id)
    jobs.pause(session, _job(session, training).id)
    return training


def cancel(session: Session, training_id: str) -> Training:
    """End its job without registering an SAE; checkpoints stay. Raises Conflict when it has ended."""
    training = get_training(session, training_id)
    jobs.cancel(session, _job(session, training).id)
    return training


def _job(session: Session, training: Training) -> Job:
    job = sweeps.sweep_job(session, training.sweep_id)
    if job is None:
        raise Conflict("training_not_running", f"“{training.name}” has no job.")
    return job


def _idle(session: Session, training: Training) -> Job | None:
    """Its job, which nobody works on. Raises Conflict while somebody does."""
    job = sweeps.sweep_job(session, training.sweep_id)
    if job is not None and job.state not in (*_ENDED, "paused"):
        raise Conflict(
            "training_under_way",
            f"“{training.name}” is {job.state}.",
            hint="Pause it, stop it, or wait for its end.",
        )
    return job


def _queue(session: Session, sweep: Sweep, job: Job | None) -> None:
    if job is not None and job.state == "paused":
        jobs.resume(session, job.id)
    elif job is not None and job.state in ("failed", "cancelled"):
        jobs.retry(session, job.id)
    else:
        sweeps.submit_sweep(session, sweep)


def _rewind(session: Session, settings: Settings, training: Training, step: int) -> None:
    folder = training_folder(settings, training.id)
    try:
        chosen = find_checkpoint(folder, step)
    except CheckpointMissing as error:
        raise StudioError(error.code, error.message, hint=error.hint, status=404) from error
    rewind(folder, step)
    training.tokens_trained, training.error = chosen.tokens, None
    session.flush()


def _invalid(error: ValueError | SettingsRefused) -> StudioError:
    if isinstance(error, SettingsRefused):
        return StudioError("invalid_input", error.message, hint=error.hint, status=422)
    said = sentence(error) if isinstance(error, ValidationError) else f"{error}."
    return StudioError("invalid_input", said, status=422, fields={"value": said})


def _field(name: str) -> tuple[type[BaseModel], str]:
    """The class and the field of a setting by its full name; of an architecture's, the first that has it."""
    group, _, inner = name.rpartition(".")
    if not group:
        return TrainerConfig, name
    return next(one for one in KINDS[group].values() if inner in one.model_fields), inner


def _title(name: str) -> str:
    home, field = _field(name)
    return home.model_fields[field].title or field


def _live(config: TrainerConfig, name: str, value: float) -> LiveSetting:
    group, _, inner = name.rpartition(".")
    home: type[BaseModel] = type(getattr(config, group)) if group else TrainerConfig
    shown = cast("Mapping[str, Any]", home.model_json_schema()["properties"][inner])
    kinds = [shown, *shown.get("anyOf", [])]

    def bound(key: str) -> float | None:
        return next((one[key] for one in kinds if key in one), None)

    return LiveSetting(
        name=name,
        title=shown["title"],
        description=shown["description"],
        unit=shown.get("unit"),
        value=value,
        integer=any(one.get("type") == "integer" for one in kinds),
        minimum=bound("minimum"),
        exclusive_minimum=bound("exclusiveMinimum"),
        maximum=bound("maximum"),
    )
