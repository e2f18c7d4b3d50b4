"""What the web may ask about models."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from mistudio.jobs import JobOut
from mistudio.models import library
from mistudio.models.announce import announce
from mistudio.models.configuration import configuration
from mistudio.models.plain_errors import said_plainly
from mistudio.models.playground_routes import router as playground_router
from mistudio.models.preview import preview_model
from mistudio.models.schemas import (
    MemoryForecastOut,
    ModelChange,
    ModelConfigOut,
    ModelCreate,
    ModelOut,
    ModelPreviewOut,
    ModelPreviewWanted,
    ModuleNodeOut,
    TokenizeOut,
    TokenizeRequest,
    UserOut,
)
from mistudio.models.tables import Model
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, StudioDep, paginate, problems

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", response_model=Page[ModelOut], summary="List models", responses=problems(422))
def list_models(session: ReadingDep, page: PageDep) -> Page[ModelOut]:
    """Models with their latest job. `sort`: name, created_at, parameters, bytes, id."""
    sorts = {
        "name": Model.name,
        "created_at": Model.created_at,
        "parameters": Model.parameters,
        "bytes": Model.bytes,
        "id": Model.id,
    }
    found = paginate(
        session,
        select(Model),
        page,
        sorts=sorts,
        default_sort="-created_at",
        search=[Model.name, Model.architecture],
    )
    return Page(
        items=library.models_out(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


@router.post(
    "",
    response_model=ModelOut,
    status_code=202,
    summary="Add a model",
    responses=problems(400, 403, 409, 422),
)
def create_model(
    wanted: ModelCreate, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> ModelOut:
    """From the hub, from a folder or from a GGUF file. The answer's `job` fetches it."""
    model, _ = library.add_model(session, settings, wanted)
    announce(session, studio.events, "models", model.id, "created")
    return library.models_out(session, [model])[0]


@router.post(
    "/preview",
    response_model=ModelPreviewOut,
    summary="Look at a model before adding it",
    responses=problems(400, 403, 404, 422, 502, 503),
)
def preview(wanted: ModelPreviewWanted, settings: SettingsDep) -> ModelPreviewOut:
    """Files, sizes, license, the Python files that come with it, and the memory it will take in every precision."""
    with said_plainly():
        return preview_model(settings, wanted)


@router.get("/{model_id}", response_model=ModelOut, summary="One model", responses=problems(404))
def show_model(model_id: str, session: ReadingDep) -> ModelOut:
    """A model with its hook points."""
    return library.models_out(session, [library.get_model(session, model_id)])[0]


@router.patch(
    "/{model_id}",
    response_model=ModelOut,
    summary="Change a model's name or loading",
    responses=problems(400, 404, 409, 422),
)
def change_model(
    model_id: str, change: ModelChange, session: SessionDep, settings: SettingsDep, studio: StudioDep
) -> ModelOut:
    """Another name, or another precision, quantization or device for whatever runs from now on."""
    model = library.change_model(session, settings, model_id, change)
    announce(session, studio.events, "models", model.id, "changed")
    return library.models_out(session, [model])[0]


@router.delete("/{model_id}", status_code=204, summary="Delete a model", responses=problems(404, 409))
def delete_model(
    model_id: str,
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    force: Annotated[bool, Query(description="Also delete everything that was made with it.")] = False,
) -> Response:
    """Refused with the names of its users while there are any, unless forced."""
    for table, id in library.delete_model(session, settings, model_id, force=force):
        announce(session, studio.events, table, id, "deleted")
    return Response(status_code=204)


@router.get(
    "/{model_id}/users", response_model=list[UserOut], summary="What uses a model", responses=problems(404)
)
def list_users(model_id: str, session: ReadingDep) -> list[UserOut]:
    """What a forced deletion would take with it, one level deep."""
    return library.model_users(session, model_id)


@router.post(
    "/{model_id}/tokenize",
    response_model=TokenizeOut,
    summary="Text to tokens",
    responses=problems(404, 409, 422),
)
def tokenize(
    model_id: str, request: TokenizeRequest, session: ReadingDep, settings: SettingsDep
) -> TokenizeOut:
    """Cut a text into the model's tokens."""
    tokenizer = library.open_tokenizer(settings, library.ready_model(session, model_id))
    return TokenizeOut(tokens=tokenizer.tokenize(request.text, special_tokens=request.special_tokens))


@router.get(
    "/{model_id}/memory",
    response_model=MemoryForecastOut,
    summary="Forecast memory",
    responses=problems(404, 409, 422),
)
def forecast_memory(
    model_id: str,
    session: ReadingDep,
    settings: SettingsDep,
    dtype: Literal["float32", "bfloat16", "float16", "int8", "int4"] = "float32",
    batch_size: Annotated[int, Query(ge=1, le=4096, description="Texts at once.")] = 16,
    context_length: Annotated[int, Query(ge=1, le=1_000_000, description="Tokens in each.")] = 128,
) -> MemoryForecastOut:
    """Bytes for weights, activations, the key/value cache and logits."""
    return library.forecast_memory(
        settings,
        library.ready_model(session, model_id),
        dtype=dtype,
        batch_size=batch_size,
        context_length=context_length,
    )


@router.get(
    "/{model_id}/memory/all",
    response_model=list[MemoryForecastOut],
    summary="Forecast memory in every precision",
    responses=problems(404, 409, 422),
)
def forecast_all(
    model_id: str,
    session: ReadingDep,
    settings: SettingsDep,
    batch_size: Annotated[int, Query(ge=1, le=4096, description="Texts at once.")] = 16,
    context_length: Annotated[int, Query(ge=1, le=1_000_000, description="Tokens in each.")] = 128,
) -> list[MemoryForecastOut]:
    """As the forecast for one precision, with the formula of each figure."""
    return library.forecast_all(
        settings,
        library.ready_model(session, model_id),
        batch_size=batch_size,
        context_length=context_length,
    )


@router.get(
    "/{model_id}/modules",
    response_model=ModuleNodeOut,
    summary="Its modules as a tree",
    responses=problems(404, 409),
)
def show_modules(model_id: str, session: ReadingDep) -> dict[str, object]:
    """Modules with their parameters' shapes and the hook points at each; equal neighbours in a list are one node."""
    return library.modules_of(session, model_id)


@router.get(
    "/{model_id}/configuration",
    response_model=ModelConfigOut,
    summary="Its configuration",
    responses=problems(404, 409),
)
def show_configuration(model_id: str, session: ReadingDep, settings: SettingsDep) -> ModelConfigOut:
    """What its files say: model, generation, tokenizer, chat template, special tokens."""
    model = library.ready_model(session, model_id)
    return configuration(library.model_folder(settings, model.id))


@router.post(
    "/{model_id}/verify",
    response_model=JobOut,
    status_code=202,
    summary="Test its hook points",
    responses=problems(404, 409),
)
def verify(model_id: str, session: SessionDep) -> JobOut:
    """A job that compares what is read at every hook point with what the model computes without us."""
    return JobOut.model_validate(library.verify_model(session, model_id))


models_router = router
router = APIRouter()
router.include_router(models_router)
router.include_router(playground_router)
