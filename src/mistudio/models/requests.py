"""What is asked of a loaded model: requests, the session that serves them, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.db import utc_now
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobError, JobOut, latest_jobs
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.models import warm
from mistudio.models.announce import Publisher, after_commit
from mistudio.models.library import get_model, loading_of, ready_model
from mistudio.models.request_schemas import (
    GenerationResult,
    GenerationWanted,
    LensResult,
    LensWanted,
    ModelRequestOut,
    ModelSessionOut,
    ModelSessionWanted,
    RequestKind,
    RequestState,
    SessionParams,
)
from mistudio.models.tables import Model, ModelRequest

JOB_KIND = "models.session"
# Requests of one model that are kept; the oldest go first.
KEPT = 100
_SHOWN = 30
_WANTED: dict[str, type[GenerationWanted] | type[LensWanted]] = {
    "generate": GenerationWanted,
    "lens": LensWanted,
}


def channel_of(model_id: str) -> str:
    """The channel on which a model's answers stream."""
    return f"playground/{model_id}"


def session_subject(model_id: str) -> str:
    """The subject of the job that keeps a model loaded."""
    return f"models/{model_id}/session"


def session_job(session: Session, model_id: str) -> Job | None:
    """The newest job that kept a model loaded."""
    return latest_jobs(session, [session_subject(model_id)]).get(session_subject(model_id))


def open_session(session: Session, model: Model, wanted: ModelSessionWanted | None = None) -> Job:
    """The job that keeps the model loaded as its settings say, queued if there is none.

    A session that loaded it otherwise, before its settings were changed, is asked to end.
    """
    wanted = wanted or ModelSessionWanted()
    params = SessionParams(model_id=model.id, loading=loading_of(model), **wanted.model_dump())
    job = session_job(session, model.id)
    if job is not None and warm.takes_requests(job):
        if SessionParams.model_validate(job.params).loading == params.loading:
            return job
        jobs.request_stop(session, job.id)
    return _submit(session, model, session_subject(model.id), params)


def _submit(session: Session, model: Model, subject: str, params: SessionParams) -> Job:
    # Somebody sits in front of it.
    title = f"Playground: {model.name}"
    return jobs.submit(session, JOB_KIND, subject=subject, title=title, params=params, priority=10)


def end_session(session: Session, model_id: str) -> None:
    """Ask the session to unload the model. Raises Conflict `session_ended`."""
    job = session_job(session, get_model(session, model_id).id)
    if job is None or not warm.takes_requests(job):
        raise Conflict("session_ended", "The model is not loaded, so there is nothing to end.")
    jobs.request_stop(session, job.id)


def session_out(session: Session, model_id: str) -> ModelSessionOut:
    """Whether the model is loaded, and how."""
    job = session_job(session, model_id)
    return ModelSessionOut(
        phase=warm.phase_of(job),
        loading=SessionParams.model_validate(job.params).loading if job else None,
        job=JobOut.model_validate(job) if job else None,
    )


def request(
    session: Session, model_id: str, kind: RequestKind, wanted: GenerationWanted | LensWanted
) -> ModelRequest:
    """Store the request and put it into the inbox of the model's session, which is opened if need be.

    Raises NotFound, Conflict `model_not_ready`, StudioError `no_chat_template`.
    """
    model = _askable(session, model_id, wanted)
    return _ask(session, model, open_session(session, model), kind, wanted)


def ask_once(
    session: Session, model_id: str, kind: RequestKind, wanted: GenerationWanted | LensWanted
) -> ModelRequest:
    """As `request`, of a job of its own that ends when it has answered (for the command line)."""
    model = _askable(session, model_id, wanted)
    params = SessionParams(model_id=model.id, loading=loading_of(model), idle_seconds=0)
    return _ask(session, model, _submit(session, model, f"models/{model.id}/question", params), kind, wanted)


def _askable(session: Session, model_id: str, wanted: GenerationWanted | LensWanted) -> Model:
    model = ready_model(session, model_id)
    if wanted.messages is not None and not model.has_chat_template:
        raise StudioError(
            "no_chat_template",
            f"The model “{model.name}” has no chat template.",
            hint="Give a prompt as plain text, or use a model that was tuned for chat.",
            fields={"messages": "this model takes plain text only"},
        )
    return model


def _ask(
    session: Session, model: Model, job: Job, kind: RequestKind, wanted: GenerationWanted | LensWanted
) -> ModelRequest:
    made = ModelRequest(model_id=model.id, job_id=job.id, kind=kind, request=wanted.model_dump(mode="json"))
    session.add(made)
    session.flush()
    warm.ask(session, job.id, made.id)
    _forget_old(session, model.id)
    return made


def _forget_old(session: Session, model_id: str) -> None:
    """Keep the newest requests only, and whatever is still to be answered."""
    active = select(Job.id).where(Job.state.not_in(FINAL_STATES))
    over = or_(
        ModelRequest.finished_at.is_not(None),
        ModelRequest.job_id.is_(None),
        ModelRequest.job_id.not_in(active),
    )
    old = (
        select(ModelRequest.id)
        .where(ModelRequest.model_id == model_id, over)
        .order_by(ModelRequest.created_at.desc(), ModelRequest.id.desc())
        .offset(KEPT)
    )
    if ids := session.scalars(old).all():
        session.execute(delete(ModelRequest).where(ModelRequest.id.in_(ids)))


def get_request(session: Session, model_id: str, request_id: str) -> ModelRequest:
    """The request of this id. Raises NotFound."""
    found = session.get(ModelRequest, request_id)
    if found is None or found.model_id != model_id:
        raise NotFound("request", request_id)
    return found


def cancel_request(session: Session, model_id: str, request_id: str) -> ModelRequest:
    """Stop serving it; what is there stays. Raises Conflict `request_finished`."""
    made = get_request(session, model_id, request_id)
    if made.finished_at is not None:
        raise Conflict("request_finished", "This request is finished, so there is nothing to stop.")
    job = _tell_to_stop(session, made)
    if made.started_at is None or job is None or job.state in FINAL_STATES:
        finish_cancelled(made)
    return made


def finish_cancelled(made: ModelRequest) -> None:
    """Mark a request as stopped, with what it has."""
    made.result = {**made.result, "finish": made.result.get("finish") or "cancelled"}
    made.finished_at = utc_now()


def delete_request(session: Session, model_id: str, request_id: str) -> None:
    """Remove a request, stopping it if need be."""
    made = get_request(session, model_id, request_id)
    if made.finished_at is None:
        _tell_to_stop(session, made)
    session.delete(made)
    session.flush()


def _tell_to_stop(session: Session, made: ModelRequest) -> Job | None:
    job = session.get(Job, made.job_id) if made.job_id else None
    if job is not None and job.state in ("queued", "running"):
        warm.stop(session, job.id, made.id)
    return job


def requests_out(
    session: Session, made: Sequence[ModelRequest], *, grids: bool = True
) -> list[ModelRequestOut]:
    """Requests as they cross the API; without `grids` the large results of the lens are left out."""
    ids = {one.job_id for one in made if one.finished_at is None and one.job_id}
    asked = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(ids)))}
    return [_out(one, asked.get(one.job_id or ""), grids) for one in made]


def _out(made: ModelRequest, job: Job | None, grids: bool) -> ModelRequestOut:
    state, error = _state(made, job)
    generate = made.kind == "generate"
    return ModelRequestOut(
        id=made.id,
        model_id=made.model_id,
        kind="generate" if generate else "lens",
        request=_WANTED[made.kind].model_validate(made.request),
        state=state,
        generation=GenerationResult.model_validate(made.result) if generate else None,
        lens=LensResult.model_validate(made.result) if not generate and grids and state == "done" else None,
        error=error,
        created_at=made.created_at,
        started_at=made.started_at,
        finished_at=made.finished_at,
    )


def _state(made: ModelRequest, job: Job | None) -> tuple[RequestState, JobError | None]:
    if made.error is not None:
        return "failed", JobError.model_validate(made.error)
    if made.finished_at is not None:
        return ("cancelled" if made.result.get("finish") == "cancelled" else "done"), None
    if job is None or job.state in FINAL_STATES:
        known = JobError.model_validate(job.error) if job is not None and job.error else None
        lost = JobError(
            code="session_ended",
            message="The model was unloaded before this request was finished.",
            hint="Ask again: that loads it.",
        )
        return "failed", known or lost
    return ("waiting" if made.started_at is None else "writing"), None


def announce_request(session: Session, publisher: Publisher, out: ModelRequestOut) -> None:
    """After the commit, tell the model's clients of a request's new state."""
    data = out.model_copy(update={"lens": None}).model_dump(mode="json")
    after_commit(session, lambda: publisher.publish(channel_of(out.model_id), "request", data))


def announce_deleted(session: Session, publisher: Publisher, model_id: str, request_id: str) -> None:
    """After the commit, tell the model's clients that a request is gone."""
    gone = {"request": request_id}
    after_commit(session, lambda: publisher.publish(channel_of(model_id), "deleted", gone))


def snapshot(session: Session, channel: str) -> dict[str, Any]:
    """The state that a client joining `playground/{model_id}` is given: the session and the newest requests."""
    _, _, model_id = channel.partition("/")
    get_model(session, model_id)
    newest = session.scalars(
        select(ModelRequest)
        .where(ModelRequest.model_id == model_id)
        .order_by(ModelRequest.created_at.desc(), ModelRequest.id.desc())
        .limit(_SHOWN)
    ).all()
    return {
        "session": session_out(session, model_id).model_dump(mode="json"),
        "requests": [out.model_dump(mode="json") for out in requests_out(session, newest, grids=False)],
    }
