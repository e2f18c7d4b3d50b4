"""Steering sessions as things: open, look at, resume, end, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.features.tables import Extraction
from mistudio.jobs import Job, JobOut, latest_jobs
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.models.deletion import delete_owner
from mistudio.models.library import ready_model
from mistudio.models.tables import Model
from mistudio.models.warm import phase_of, takes_requests
from mistudio.saes.library import check_hook, ready_sae
from mistudio.saes.tables import Sae
from mistudio.saes.uses import check_use
from mistudio.settings import Settings
from mistudio.steering.schemas import (
    SessionCreate,
    SessionOut,
    SessionParams,
    SessionSae,
    SessionSettings,
)
from mistudio.steering.tables import SteeringGeneration, SteeringSession

TABLE = "steering_sessions"
JOB_KIND = "steering.session"
_SHOWN = 30


def subject_of(session_id: str) -> str:
    """The subject of a session's job."""
    return f"{TABLE}/{session_id}"


def channel_of(session_id: str) -> str:
    """The channel on which a session's text streams."""
    return f"steering/{session_id}"


def create_session(session: Session, wanted: SessionCreate) -> SteeringSession:
    """Check that model and SAEs fit, insert the session and queue its job.

    Raises NotFound, Conflict (`model_not_ready`, `sae_not_ready`), StudioError `sae_not_supported`, `sae_does_not_fit`,
    `hook_not_found`.
    """
    model = ready_model(session, wanted.model_id)
    saes = [ready_sae(session, id) for id in dict.fromkeys(wanted.sae_ids)]
    for sae in saes:
        _check_fit(session, model, sae)
    opened = SteeringSession(
        name=wanted.name or f"{model.name} · {', '.join(sae.name for sae in saes)}"[:200],
        model_id=model.id,
        sae_ids=[sae.id for sae in saes],
        settings=wanted.settings.model_dump(mode="json"),
    )
    session.add(opened)
    session.flush()
    _submit(session, opened)
    return opened


def _check_fit(session: Session, model: Model, sae: Sae) -> None:
    check_use(sae, "steering")
    if sae.model_id is not None and sae.model_id != model.id:
        other = session.get(Model, sae.model_id)
        raise StudioError(
            "sae_does_not_fit",
            f"The SAE “{sae.name}” belongs to the model “{other.name if other else sae.model_id}”, not to "
            f"“{model.name}”.",
            hint="Open the session with that model, or choose an SAE of this one.",
            fields={"sae_ids": "belongs to another model"},
        )
    if sae.hook is None:
        raise StudioError(
            "sae_without_hook",
            f"The SAE “{sae.name}” does not say which hook point it belongs to.",
            hint="Set its hook point on its page first.",
            fields={"sae_ids": "has no hook point"},
        )
    check_hook(model, sae.hook, sae.d_in)


def _submit(session: Session, opened: SteeringSession) -> Job:
    return jobs.submit(
        session,
        JOB_KIND,
        subject=subject_of(opened.id),
        title=f"Steering: {opened.name}",
        params=SessionParams(session_id=opened.id),
        # Somebody sits in front of it.
        priority=10,
    )


def get_session(session: Session, session_id: str) -> SteeringSession:
    """The session of this id. Raises NotFound."""
    found = session.get(SteeringSession, session_id)
    if found is None:
        raise NotFound("steering_session", session_id)
    return found


def latest_job(session: Session, session_id: str) -> Job | None:
    """The session's newest job."""
    return latest_jobs(session, [subject_of(session_id)]).get(subject_of(session_id))


def open_job(session: Session, opened: SteeringSession) -> Job:
    """The session's job, which takes requests. Raises Conflict `session_ended` when it is over."""
    job = latest_job(session, opened.id)
    if job is None or not takes_requests(job):
        why = f" It failed: {job.error['message']}" if job is not None and job.error else ""
        raise Conflict(
            "session_ended",
            f"The steering session “{opened.name}” has ended.{why}",
            hint="Resume it, or open a new one.",
        )
    return job


def resume_session(session: Session, session_id: str) -> SteeringSession:
    """Load the same model and SAEs again. Raises Conflict `session_under_way`, and as `create_session`."""
    opened = get_session(session, session_id)
    job = latest_job(session, session_id)
    if job is not None and job.state not in FINAL_STATES:
        raise Conflict("session_under_way", f"The steering session “{opened.name}” is under way already.")
    model = ready_model(session, opened.model_id)
    for sae_id in opened.sae_ids:
        _check_fit(session, model, ready_sae(session, sae_id))
    _submit(session, opened)
    return opened


def end_session(session: Session, session_id: str) -> SteeringSession:
    """Ask the session to end now; what is being written is kept as far as it is. Raises Conflict `session_ended`."""
    opened = get_session(session, session_id)
    jobs.request_stop(session, open_job(session, opened).id)
    return opened


def delete_session(session: Session, settings: Settings, session_id: str) -> None:
    """Cancel its job and remove it with all its generations."""
    opened = get_session(session, session_id)
    delete_owner(session, settings, TABLE, opened.id, name=opened.name, force=True)


def newest_extractions(session: Session, sae_ids: Sequence[str]) -> dict[str, str]:
    """The newest finished extraction of each SAE that has one."""
    rows = session.execute(
        select(Extraction.sae_id, Extraction.id)
        .where(Extraction.sae_id.in_(sae_ids), Extraction.bytes.is_not(None))
        .order_by(Extraction.created_at, Extraction.id)
    ).all()
    return {row[0]: row[1] for row in rows}


def sessions_out(session: Session, opened: Sequence[SteeringSession]) -> list[SessionOut]:
    """Sessions as they cross the API, with as many queries however many they are."""
    newest = latest_jobs(session, [subject_of(one.id) for one in opened])
    models = session.scalars(select(Model).where(Model.id.in_({one.model_id for one in opened}))).all()
    model_of = {model.id: model for model in models}
    sae_ids = sorted({id for one in opened for id in one.sae_ids})
    sae_of = {sae.id: sae for sae in session.scalars(select(Sae).where(Sae.id.in_(sae_ids)))}
    extractions = newest_extractions(session, sae_ids)
    counted = session.execute(
        select(SteeringGeneration.session_id, func.count())
        .where(SteeringGeneration.session_id.in_([one.id for one in opened]))
        .group_by(SteeringGeneration.session_id)
    ).all()
    counts: dict[str, int] = {row[0]: row[1] for row in counted}
    found: list[SessionOut] = []
    for one in opened:
        job = newest.get(subject_of(one.id))
        model = model_of[one.model_id]
        saes = [(id, sae_of.get(id)) for id in one.sae_ids]
        found.append(
            SessionOut(
                id=one.id,
                name=one.name,
                model_id=model.id,
                model_name=model.name,
                has_chat_template=model.has_chat_template,
                saes=[
                    SessionSae(
                        id=id,
                        name=sae.name if sae else None,
                        hook=sae.hook if sae else None,
                        d_sae=sae.d_sae if sae else None,
                        extraction_id=extractions.get(id),
                    )
                    for id, sae in saes
                ],
                settings=SessionSettings.model_validate(one.settings),
                created_at=one.created_at,
                phase=phase_of(job),
                generation_count=counts.get(one.id, 0),
                job=JobOut.model_validate(job) if job is not None else None,
            )
        )
    return found


def snapshot(session: Session, channel: str) -> dict[str, Any]:
    """The state that a client joining `steering` or `steering/{session_id}` is given: sessions, or one session with
    its latest generations, newest first."""
    from mistudio.steering.generations import generations_out

    _, _, session_id = channel.partition("/")
    if not session_id:
        recent = session.scalars(
            select(SteeringSession).order_by(SteeringSession.created_at.desc()).limit(_SHOWN)
        ).all()
        return {"sessions": [out.model_dump(mode="json") for out in sessions_out(session, recent)]}
    opened = get_session(session, session_id)
    written = session.scalars(
        select(SteeringGeneration)
        .where(SteeringGeneration.session_id == session_id)
        .order_by(SteeringGeneration.created_at.desc(), SteeringGeneration.id.desc())
        .limit(_SHOWN)
    ).all()
    return {
        "session": sessions_out(session, [opened])[0].model_dump(mode="json"),
        "generations": [out.model_dump(mode="json") for out in generations_out(session, written)],
    }
