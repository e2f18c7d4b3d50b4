"""What the web may ask about steering."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from mistudio.models.announce import announce
from mistudio.steering import generations, sessions
from mistudio.steering.schemas import GenerateRequest, GenerationOut, SessionCreate, SessionOut
from mistudio.steering.tables import SteeringGeneration, SteeringSession
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, paginate, problems

router = APIRouter(prefix="/steering", tags=["steering"])


@router.post(
    "/sessions",
    status_code=202,
    response_model=SessionOut,
    summary="Open a steering session",
    responses=problems(404, 409, 422),
)
def create_session(session: SessionDep, studio: StudioDep, wanted: SessionCreate) -> SessionOut:
    """Its job loads the model and the SAEs and keeps them; requests may be sent at once and wait until then."""
    opened = sessions.create_session(session, wanted)
    announce(session, studio.events, "steering_sessions", opened.id, "created")
    return sessions.sessions_out(session, [opened])[0]


@router.get(
    "/sessions", response_model=Page[SessionOut], summary="List steering sessions", responses=problems(422)
)
def list_sessions(
    session: ReadingDep,
    page: PageDep,
    model_id: Annotated[str | None, Query(description="Only those of this model.")] = None,
) -> Page[SessionOut]:
    """Newest first. `sort`: created_at, name, id."""
    sorts = {
        "created_at": SteeringSession.created_at,
        "name": SteeringSession.name,
        "id": SteeringSession.id,
    }
    statement = select(SteeringSession)
    if model_id is not None:
        statement = statement.where(SteeringSession.model_id == model_id)
    found = paginate(
        session, statement, page, sorts=sorts, default_sort="-created_at", search=[SteeringSession.name]
    )
    return Page(
        items=sessions.sessions_out(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


@router.get(
    "/sessions/{session_id}",
    response_model=SessionOut,
    summary="One steering session",
    responses=problems(404),
)
def show_session(session_id: str, session: ReadingDep) -> SessionOut:
    """Its model, SAEs and phase."""
    return sessions.sessions_out(session, [sessions.get_session(session, session_id)])[0]


@router.post(
    "/sessions/{session_id}/resume",
    status_code=202,
    response_model=SessionOut,
    summary="Open an ended session again",
    responses=problems(404, 409),
)
def resume_session(session_id: str, session: SessionDep) -> SessionOut:
    """A new job loads the same model and SAEs; what was generated before stays in it."""
    return sessions.sessions_out(session, [sessions.resume_session(session, session_id)])[0]


@router.post(
    "/sessions/{session_id}/end",
    status_code=202,
    response_model=SessionOut,
    summary="End a steering session",
    responses=problems(404, 409),
)
def end_session(session_id: str, session: SessionDep) -> SessionOut:
    """Frees its memory; what it wrote stays."""
    return sessions.sessions_out(session, [sessions.end_session(session, session_id)])[0]


@router.delete(
    "/sessions/{session_id}", status_code=204, summary="Delete a steering session", responses=problems(404)
)
def delete_session(
    session_id: str, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> Response:
    """With all that was generated in it; ends it first."""
    sessions.delete_session(session, settings, session_id)
    announce(session, studio.events, "steering_sessions", session_id, "deleted")
    return Response(status_code=204)


@router.post(
    "/sessions/{session_id}/generate",
    status_code=202,
    response_model=GenerationOut,
    summary="Write with and without steering",
    responses=problems(400, 404, 409, 422),
)
def generate(
    session_id: str, wanted: GenerateRequest, session: SessionDep, studio: StudioDep
) -> GenerationOut:
    """Queued in the session. Tokens come as events on the channel `steering/{session_id}`; polling works too."""
    made = generations.request_generation(session, session_id, wanted)
    out = generations.generations_out(session, [made])[0]
    generations.announce_generation(session, studio.events, out)
    return out


@router.get(
    "/sessions/{session_id}/generations",
    response_model=Page[GenerationOut],
    summary="What a session wrote",
    responses=problems(404, 422),
)
def list_generations(session_id: str, session: ReadingDep, page: PageDep) -> Page[GenerationOut]:
    """Newest first. `sort`: created_at, id."""
    sessions.get_session(session, session_id)
    found = paginate(
        session,
        select(SteeringGeneration).where(SteeringGeneration.session_id == session_id),
        page,
        sorts={"created_at": SteeringGeneration.created_at, "id": SteeringGeneration.id},
        default_sort="-created_at",
    )
    return Page(
        items=generations.generations_out(session, found.items),
        total=found.total,
        next_cursor=found.next_cursor,
    )


@router.get(
    "/generations/{generation_id}",
    response_model=GenerationOut,
    summary="One generation",
    responses=problems(404),
)
def show_generation(generation_id: str, session: ReadingDep) -> GenerationOut:
    """Request, resolved features, both texts with their tokens."""
    return generations.generations_out(session, [generations.get_generation(session, generation_id)])[0]


@router.post(
    "/generations/{generation_id}/cancel",
    status_code=202,
    response_model=GenerationOut,
    summary="Stop one generation",
    responses=problems(404, 409),
)
def cancel_generation(generation_id: str, session: SessionDep, studio: StudioDep) -> GenerationOut:
    """What is written so far stays; the session goes on."""
    stopped = generations.cancel_generation(session, generation_id)
    out = generations.generations_out(session, [stopped])[0]
    generations.announce_generation(session, studio.events, out)
    return out


@router.delete(
    "/generations/{generation_id}", status_code=204, summary="Delete a generation", responses=problems(404)
)
def delete_generation(generation_id: str, session: SessionDep, studio: StudioDep) -> Response:
    """Stops it first if it is being written."""
    session_id = generations.delete_generation(session, generation_id)
    generations.announce_deleted(session, studio.events, session_id, generation_id)
    return Response(status_code=204)
