"""What the web may ask a model: to continue a text, and what its layers would say."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from mistudio.models import requests
from mistudio.models.library import get_model, ready_model
from mistudio.models.request_schemas import (
    GenerationWanted,
    LensWanted,
    ModelRequestOut,
    ModelSessionOut,
    ModelSessionWanted,
    RequestKind,
)
from mistudio.models.tables import ModelRequest
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, StudioDep, paginate, problems

router = APIRouter(prefix="/models/{model_id}", tags=["models"])


@router.get(
    "/session", response_model=ModelSessionOut, summary="Whether a model is loaded", responses=problems(404)
)
def show_session(model_id: str, session: ReadingDep) -> ModelSessionOut:
    """A loaded model answers at once; a question to one that is not loads it first."""
    return requests.session_out(session, get_model(session, model_id).id)


@router.post(
    "/session",
    response_model=ModelSessionOut,
    status_code=202,
    summary="Load a model for questions",
    responses=problems(404, 409, 422),
)
def open_session(
    model_id: str, session: SessionDep, wanted: ModelSessionWanted | None = None
) -> ModelSessionOut:
    """Its job keeps it loaded until nobody asks any more. One that is loaded stays as it is."""
    requests.open_session(session, ready_model(session, model_id), wanted)
    return requests.session_out(session, model_id)


@router.post(
    "/session/end",
    response_model=ModelSessionOut,
    status_code=202,
    summary="Unload a model",
    responses=problems(404, 409),
)
def end_session(model_id: str, session: SessionDep) -> ModelSessionOut:
    """Frees its memory."""
    requests.end_session(session, model_id)
    return requests.session_out(session, model_id)


@router.post(
    "/generate",
    response_model=ModelRequestOut,
    status_code=202,
    summary="Continue a text",
    responses=problems(400, 404, 409, 422),
)
def generate(
    model_id: str, wanted: GenerationWanted, session: SessionDep, studio: StudioDep
) -> ModelRequestOut:
    """Tokens come as events on the channel `playground/{model_id}`; polling the request works too."""
    return _asked(session, studio, model_id, "generate", wanted)


@router.post(
    "/lens",
    response_model=ModelRequestOut,
    status_code=202,
    summary="Look through the layers",
    responses=problems(400, 404, 409, 422),
)
def lens(model_id: str, wanted: LensWanted, session: SessionDep, studio: StudioDep) -> ModelRequestOut:
    """The logit lens for a prompt; get the request when it is done."""
    return _asked(session, studio, model_id, "lens", wanted)


def _asked(
    session: SessionDep,
    studio: StudioDep,
    model_id: str,
    kind: RequestKind,
    wanted: GenerationWanted | LensWanted,
) -> ModelRequestOut:
    made = requests.request(session, model_id, kind, wanted)
    out = requests.requests_out(session, [made])[0]
    requests.announce_request(session, studio.events, out)
    return out


@router.get(
    "/requests",
    response_model=Page[ModelRequestOut],
    summary="What was asked of a model",
    responses=problems(404, 422),
)
def list_requests(
    model_id: str,
    session: ReadingDep,
    page: PageDep,
    kind: Annotated[RequestKind | None, Query(description="Only these.")] = None,
) -> Page[ModelRequestOut]:
    """Newest first, without the lens's grids. The newest hundred are kept. `sort`: created_at, id."""
    statement = select(ModelRequest).where(ModelRequest.model_id == get_model(session, model_id).id)
    if kind is not None:
        statement = statement.where(ModelRequest.kind == kind)
    found = paginate(
        session,
        statement,
        page,
        sorts={"created_at": ModelRequest.created_at, "id": ModelRequest.id},
        default_sort="-created_at",
    )
    return Page(
        items=requests.requests_out(session, found.items, grids=False),
        total=found.total,
        next_cursor=found.next_cursor,
    )


@router.get(
    "/requests/{request_id}", response_model=ModelRequestOut, summary="One request", responses=problems(404)
)
def show_request(model_id: str, request_id: str, session: ReadingDep) -> ModelRequestOut:
    """What was asked and what came of it."""
    return requests.requests_out(session, [requests.get_request(session, model_id, request_id)])[0]


@router.post(
    "/requests/{request_id}/cancel",
    response_model=ModelRequestOut,
    status_code=202,
    summary="Stop one request",
    responses=problems(404, 409),
)
def cancel_request(model_id: str, request_id: str, session: SessionDep, studio: StudioDep) -> ModelRequestOut:
    """What is written so far stays; the model stays loaded."""
    stopped = requests.cancel_request(session, model_id, request_id)
    out = requests.requests_out(session, [stopped])[0]
    requests.announce_request(session, studio.events, out)
    return out


@router.delete("/requests/{request_id}", status_code=204, summary="Delete a request", responses=problems(404))
def delete_request(model_id: str, request_id: str, session: SessionDep, studio: StudioDep) -> Response:
    """Stops it first if it is being served."""
    requests.delete_request(session, model_id, request_id)
    requests.announce_deleted(session, studio.events, model_id, request_id)
    return Response(status_code=204)
