"""What the web may ask about tokenizations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from mistudio import jobs
from mistudio.datasets import tokenizations
from mistudio.datasets.library import get_dataset, ready_dataset
from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenization_schemas import (
    SequencePage,
    TokenizationCreate,
    TokenizationOut,
    TokenizationPreview,
)
from mistudio.models.announce import announce
from mistudio.models.deletion import users_of
from mistudio.models.library import ready_model
from mistudio.models.schemas import UserOut
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, paginate, problems

tokenization_router = APIRouter(tags=["tokenizations"])
PREFIX = "/datasets/{dataset_id}/tokenizations"
_SORTS = {
    "name": Tokenization.name,
    "created_at": Tokenization.created_at,
    "n_tokens": Tokenization.n_tokens,
    "id": Tokenization.id,
}


def _page(
    session: Session, page: PageDep, dataset_id: str | None, model_id: str | None
) -> Page[TokenizationOut]:
    query = tokenizations.list_query(dataset_id, model_id)
    found = paginate(
        session, query, page, sorts=_SORTS, default_sort="-created_at", search=[Tokenization.name]
    )
    return Page(
        items=tokenizations.tokenizations_out(session, found.items),
        total=found.total,
        next_cursor=found.next_cursor,
    )


ModelId = Annotated[str | None, Query(description="Only those for this model.")]


@tokenization_router.get(
    "/tokenizations",
    response_model=Page[TokenizationOut],
    summary="List tokenizations",
    responses=problems(422),
)
def list_all_tokenizations(
    session: ReadingDep, page: PageDep, model_id: ModelId = None
) -> Page[TokenizationOut]:
    """Tokenizations of all data sets. `sort`: name, created_at, n_tokens, id."""
    return _page(session, page, None, model_id)


@tokenization_router.get(
    "/tokenizations/{tokenization_id}",
    response_model=TokenizationOut,
    summary="One tokenization",
    responses=problems(404),
)
def show_any_tokenization(tokenization_id: str, session: ReadingDep) -> TokenizationOut:
    """A tokenization by its id alone."""
    found = tokenizations.get_tokenization(session, tokenization_id)
    return tokenizations.tokenizations_out(session, [found])[0]


@tokenization_router.get(
    PREFIX,
    response_model=Page[TokenizationOut],
    summary="List tokenizations of a data set",
    responses=problems(404, 422),
)
def list_tokenizations(
    dataset_id: str, session: ReadingDep, page: PageDep, model_id: ModelId = None
) -> Page[TokenizationOut]:
    """Tokenizations with their latest job. `sort`: name, created_at, n_tokens, id."""
    return _page(session, page, get_dataset(session, dataset_id).id, model_id)


@tokenization_router.post(
    PREFIX,
    response_model=TokenizationOut,
    status_code=202,
    summary="Tokenize a data set",
    responses=problems(400, 404, 409, 422),
)
def create_tokenization(
    dataset_id: str,
    wanted: TokenizationCreate,
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
) -> TokenizationOut:
    """A data set may have any number of tokenizations. The answer's `job` makes this one."""
    made, _ = tokenizations.add_tokenization(session, settings, dataset_id, wanted)
    announce(session, studio.events, "tokenizations", made.id, "created")
    announce(session, studio.events, "datasets", made.dataset_id, "changed")
    return tokenizations.tokenizations_out(session, [made])[0]


@tokenization_router.post(
    f"{PREFIX}/preview",
    response_model=TokenizationPreview,
    summary="Preview a tokenization",
    responses=problems(400, 404, 409, 422),
)
def preview_tokenization(
    dataset_id: str,
    wanted: TokenizationCreate,
    session: ReadingDep,
    settings: SettingsDep,
    offset: Annotated[int, Query(ge=0, le=2**53, description="First row.")] = 0,
    rows: Annotated[int, Query(ge=1, le=100, description="Rows read.")] = 10,
    limit: Annotated[int, Query(ge=1, le=100, description="Sequences shown.")] = 5,
) -> TokenizationPreview:
    """What some rows would become under these settings, and what is left out of them, before any run."""
    dataset, model = ready_dataset(session, dataset_id), ready_model(session, wanted.model_id)
    return tokenizations.preview_tokenization(
        settings, dataset, model, wanted, offset=offset, rows=rows, limit=limit
    )


@tokenization_router.get(
    f"{PREFIX}/{{key}}", response_model=TokenizationOut, summary="One tokenization", responses=problems(404)
)
def show_tokenization(dataset_id: str, key: str, session: ReadingDep) -> TokenizationOut:
    """By its id or its name; a model's id finds the newest one for that model."""
    found = tokenizations.find_tokenization(session, dataset_id, key)
    return tokenizations.tokenizations_out(session, [found])[0]


@tokenization_router.get(
    f"{PREFIX}/{{key}}/sequences",
    response_model=SequencePage,
    summary="Sequences as tokens",
    responses=problems(404, 409, 422),
)
def list_sequences(
    dataset_id: str,
    key: str,
    session: ReadingDep,
    settings: SettingsDep,
    offset: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 5,
) -> SequencePage:
    """Finished sequences, padding left out."""
    found = tokenizations.find_tokenization(session, dataset_id, key)
    if not found.ready:
        raise tokenizations.not_ready(found)
    return tokenizations.page_of_sequences(settings, found, offset=offset, limit=limit)


@tokenization_router.get(
    f"{PREFIX}/{{key}}/users",
    response_model=list[UserOut],
    summary="What uses a tokenization",
    responses=problems(404),
)
def list_users(dataset_id: str, key: str, session: ReadingDep) -> list[UserOut]:
    """Trainings, caches and others that were made from it."""
    found = tokenizations.find_tokenization(session, dataset_id, key)
    return users_of(session, "tokenizations", [found.id])


@tokenization_router.post(
    f"{PREFIX}/{{key}}/cancel",
    response_model=TokenizationOut,
    status_code=202,
    summary="Cancel a tokenization",
    responses=problems(404, 409),
)
def cancel_tokenization(dataset_id: str, key: str, session: SessionDep) -> TokenizationOut:
    """Queued or running."""
    found = tokenizations.find_tokenization(session, dataset_id, key)
    jobs.cancel(session, tokenizations.job_of(session, found).id)
    return tokenizations.tokenizations_out(session, [found])[0]


@tokenization_router.post(
    f"{PREFIX}/{{key}}/retry",
    response_model=TokenizationOut,
    status_code=202,
    summary="Retry a tokenization",
    responses=problems(404, 409),
)
def retry_tokenization(dataset_id: str, key: str, session: SessionDep) -> TokenizationOut:
    """After it failed or was cancelled."""
    found = tokenizations.find_tokenization(session, dataset_id, key)
    jobs.retry(session, tokenizations.job_of(session, found).id)
    return tokenizations.tokenizations_out(session, [found])[0]


@tokenization_router.delete(
    f"{PREFIX}/{{key}}", status_code=204, summary="Delete a tokenization", responses=problems(404, 409)
)
def delete_tokenization(
    dataset_id: str,
    key: str,
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    force: Annotated[bool, Query(description="Also delete everything that was made from it.")] = False,
) -> Response:
    """Refused with the names of its users while there are any, unless forced. Cancels its job."""
    found = tokenizations.find_tokenization(session, dataset_id, key)
    for table, id in tokenizations.delete_tokenization(session, settings, found, force=force):
        announce(session, studio.events, table, id, "deleted")
    announce(session, studio.events, "datasets", dataset_id, "changed")
    return Response(status_code=204)
