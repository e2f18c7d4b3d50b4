"""What is asked of a steering session: requests with their strengths worked out, and what was written."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.db import utc_now
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.features.tables import Extraction, Feature
from mistudio.jobs import Job, JobError
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.models import warm
from mistudio.models.announce import Publisher, after_commit
from mistudio.saes.library import ready_sae
from mistudio.saes.tables import Sae
from mistudio.steering.schemas import (
    GenerateRequest,
    GenerationOut,
    GenerationState,
    ResolvedFeature,
    Side,
    SteeredFeature,
    TextOutput,
)
from mistudio.steering.sessions import channel_of, get_session, newest_extractions, open_job
from mistudio.steering.tables import SteeringGeneration, SteeringSession
from mistudio.templates.library import use_template


def request_generation(session: Session, session_id: str, wanted: GenerateRequest) -> SteeringGeneration:
    """Work out the strengths, store the request and put it into the session's inbox.

    Raises Conflict `session_ended`; StudioError for a feature that is not there or whose maximum is unknown, and for a
    chat with a model that has no chat template.
    """
    if wanted.template_id is not None:
        use_template(session, wanted.template_id, "steering")
    opened = get_session(session, session_id)
    job = open_job(session, opened)
    if wanted.messages is not None and not opened.model.has_chat_template:
        raise StudioError(
            "no_chat_template",
            f"The model “{opened.model.name}” has no chat template.",
            hint="Give a prompt as plain text, or use a model that was tuned for chat.",
            fields={"messages": "this model takes plain text only"},
        )
    made = SteeringGeneration(
        session_id=opened.id,
        job_id=job.id,
        request=wanted.model_dump(mode="json"),
        features=[one.model_dump(mode="json") for one in resolve_features(session, opened, wanted.features)],
    )
    session.add(made)
    session.flush()
    warm.ask(session, job.id, made.id)
    return made


def resolve_features(
    session: Session, opened: SteeringSession, features: Sequence[SteeredFeature]
) -> list[ResolvedFeature]:
    """Each feature with the maximum that its strength is a multiple of. Raises StudioError naming the feature."""
    newest = newest_extractions(session, opened.sae_ids)
    return [
        _resolve(session, opened, place, feature, newest.get(feature.sae_id))
        for place, feature in enumerate(features)
    ]


def _resolve(
    session: Session, opened: SteeringSession, place: int, feature: SteeredFeature, newest: str | None
) -> ResolvedFeature:
    if feature.sae_id not in opened.sae_ids:
        raise StudioError(
            "sae_not_in_session",
            f"The SAE “{feature.sae_id}” is not loaded in the session “{opened.name}”.",
            hint="Open a session with it.",
            fields={f"features.{place}.sae_id": "not loaded in this session"},
        )
    sae = ready_sae(session, feature.sae_id)
    if feature.index >= (sae.d_sae or 0):
        raise StudioError(
            "feature_unknown",
            f"The SAE “{sae.name}” has no latent {feature.index}: they are 0 to {(sae.d_sae or 1) - 1}.",
            fields={f"features.{place}.index": f"at most {(sae.d_sae or 1) - 1}"},
        )
    extraction_id = feature.extraction_id or newest
    row = session.get(Feature, (extraction_id, feature.index)) if extraction_id else None
    maximum, convention = None, "raw"
    if feature.unit == "max":
        extraction = _extraction(session, sae, extraction_id, place)
        maximum = row.max_activation if row is not None else 0.0
        if maximum <= 0:
            raise StudioError(
                "feature_never_fired",
                f"Latent {feature.index} of “{sae.name}” never fired in the extraction “{extraction.name}”, so "
                "there is no maximum to measure its strength in.",
                hint="Choose another feature, or give the strength with unit “raw”.",
                fields={f"features.{place}.unit": "its maximum is unknown"},
            )
        convention = (extraction.conventions or {}).get("decoder_norm", "raw")
    return ResolvedFeature(
        sae_id=sae.id,
        sae_name=sae.name,
        index=feature.index,
        mode=feature.mode,
        strength=feature.strength,
        unit=feature.unit,
        maximum=maximum,
        decoder_norm="folded" if convention == "folded" else "raw",
        extraction_id=extraction_id if row is not None else None,
        label=row.label if row is not None else None,
    )


def _extraction(session: Session, sae: Sae, extraction_id: str | None, place: int) -> Extraction:
    if extraction_id is None:
        raise StudioError(
            "maximum_unknown",
            f"The features of “{sae.name}” have not been extracted, so their maxima are unknown.",
            hint="Extract its features first, or give the strength with unit “raw”.",
            fields={f"features.{place}.unit": "the maximum is unknown"},
        )
    extraction = session.get(Extraction, extraction_id)
    if extraction is None:
        raise NotFound("extraction", extraction_id)
    if extraction.sae_id != sae.id or not extraction.ready:
        raise StudioError(
            "extraction_does_not_fit",
            f"The extraction “{extraction.name}” is not finished or belongs to another SAE than “{sae.name}”.",
            hint="Leave extraction_id out to take the newest one of this SAE.",
            fields={f"features.{place}.extraction_id": "not a finished extraction of this SAE"},
        )
    return extraction


def get_generation(session: Session, generation_id: str) -> SteeringGeneration:
    """The generation of this id. Raises NotFound."""
    found = session.get(SteeringGeneration, generation_id)
    if found is None:
        raise NotFound("generation", generation_id)
    return found


def cancel_generation(session: Session, generation_id: str) -> SteeringGeneration:
    """Stop writing it; what is there stays. Raises Conflict `generation_finished`."""
    made = get_generation(session, generation_id)
    if made.finished_at is not None:
        raise Conflict("generation_finished", "This text is finished, so there is nothing to stop.")
    job = session.get(Job, made.job_id) if made.job_id else None
    if job is not None and job.state in ("queued", "running"):
        warm.stop(session, job.id, made.id)
    if made.started_at is None or job is None or job.state in FINAL_STATES:
        finish_cancelled(made)
    return made


def finish_cancelled(made: SteeringGeneration) -> None:
    """Mark a generation as stopped, with what it has."""
    texts = {side: TextOutput.model_validate(made.outputs.get(side, {})) for side in _sides(made)}
    for text in texts.values():
        text.finish = text.finish or "cancelled"
    made.outputs = made.outputs | {side: text.model_dump(mode="json") for side, text in texts.items()}
    made.finished_at = utc_now()


def delete_generation(session: Session, generation_id: str) -> str:
    """Remove a generation, stopping it if need be; its session's id."""
    made = get_generation(session, generation_id)
    session_id = made.session_id
    job = session.get(Job, made.job_id) if made.job_id else None
    if made.finished_at is None and job is not None and job.state in ("queued", "running"):
        warm.stop(session, job.id, made.id)
    session.delete(made)
    session.flush()
    return session_id


def _sides(made: SteeringGeneration) -> tuple[Side, ...]:
    return ("unsteered", "steered") if made.request["compare"] else ("steered",)


def generations_out(session: Session, made: Sequence[SteeringGeneration]) -> list[GenerationOut]:
    """Generations as they cross the API."""
    ids = {one.job_id for one in made if one.finished_at is None and one.job_id}
    asked = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(ids)))}
    return [_out(one, asked.get(one.job_id or "")) for one in made]


def _out(made: SteeringGeneration, job: Job | None) -> GenerationOut:
    state, error = _state(made, job)
    return GenerationOut(
        id=made.id,
        session_id=made.session_id,
        request=GenerateRequest.model_validate(made.request),
        features=[ResolvedFeature.model_validate(one) for one in made.features],
        prompt_tokens=made.outputs.get("prompt_tokens", []),
        outputs={side: TextOutput.model_validate(made.outputs.get(side, {})) for side in _sides(made)},
        state=state,
        error=error,
        created_at=made.created_at,
        started_at=made.started_at,
        finished_at=made.finished_at,
    )


def _state(made: SteeringGeneration, job: Job | None) -> tuple[GenerationState, JobError | None]:
    if made.error is not None:
        return "failed", JobError.model_validate(made.error)
    if made.finished_at is not None:
        finishes = [made.outputs.get(side, {}).get("finish") for side in _sides(made)]
        return ("cancelled" if "cancelled" in finishes else "done"), None
    if job is None or job.state in FINAL_STATES:
        known = JobError.model_validate(job.error) if job is not None and job.error else None
        lost = JobError(
            code="session_ended",
            message="The session ended before this text was finished.",
            hint="Resume the session and ask again.",
        )
        return "failed", known or lost
    return ("waiting" if made.started_at is None else "writing"), None


def announce_generation(session: Session, publisher: Publisher, out: GenerationOut) -> None:
    """After the commit, tell the session's clients of a generation's new state."""
    data = out.model_dump(mode="json")
    after_commit(session, lambda: publisher.publish(channel_of(out.session_id), "generation", data))


def announce_deleted(session: Session, publisher: Publisher, session_id: str, generation_id: str) -> None:
    """After the commit, tell the session's clients that a generation is gone."""
    gone = {"generation": generation_id}
    after_commit(session, lambda: publisher.publish(channel_of(session_id), "deleted", gone))
