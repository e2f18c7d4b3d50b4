"""What the web may ask about SAEs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from fastapi.responses import StreamingResponse
from sqlalchemy import select

from mistudio.models.announce import announce
from mistudio.models.schemas import UserOut
from mistudio.sae.format_info import FORMATS
from mistudio.saes import archive, evaluation, library, weights
from mistudio.saes.schemas import (
    EvaluationCreate,
    EvaluationOut,
    EvaluationsCreate,
    FormatOut,
    SaeChange,
    SaeImport,
    SaeOut,
    SaeWeights,
)
from mistudio.saes.tables import Sae
from mistudio.web import (
    Page,
    PageDep,
    ReadingDep,
    SessionDep,
    SettingsDep,
    StudioDep,
    accepts_upload,
    paginate,
    problems,
)

router = APIRouter(prefix="/saes", tags=["saes"])


@router.get("", response_model=Page[SaeOut], summary="List SAEs", responses=problems(422))
def list_saes(
    session: ReadingDep,
    page: PageDep,
    model_id: Annotated[str | None, Query(description="Only those of this model.")] = None,
    training_id: Annotated[str | None, Query(description="Only those of this training.")] = None,
) -> Page[SaeOut]:
    """All dictionaries. `sort`: name, created_at, d_sae, bytes, hook, id."""
    sorts = {
        "name": Sae.name,
        "created_at": Sae.created_at,
        "d_sae": Sae.d_sae,
        "bytes": Sae.bytes,
        "hook": Sae.hook,
        "id": Sae.id,
    }
    statement = select(Sae)
    if model_id is not None:
        statement = statement.where(Sae.model_id == model_id)
    if training_id is not None:
        statement = statement.where(Sae.training_id == training_id)
    found = paginate(
        session,
        statement,
        page,
        sorts=sorts,
        default_sort="-created_at",
        search=[Sae.name, Sae.hook, Sae.notes],
    )
    return Page(
        items=library.saes_out(session, found.items), total=found.total, next_cursor=found.next_cursor
    )


@router.get("/formats", response_model=list[FormatOut], summary="Formats that are read and written")
def list_formats() -> list[FormatOut]:
    """The community's formats, in the order in which they are tried on files."""
    return [FormatOut(name=name, **asdict(info)) for name, info in FORMATS.items()]


@router.post(
    "/import",
    response_model=SaeOut,
    status_code=202,
    summary="Import an SAE from a folder or file on the server",
    responses=problems(400, 403, 404, 409, 422),
)
def import_sae(wanted: SaeImport, session: SessionDep, settings: SettingsDep, studio: StudioDep) -> SaeOut:
    """The answer's `job` reads and verifies it."""
    sae, _ = library.add_import(session, settings, wanted)
    announce(session, studio.events, "saes", sae.id, "created")
    return library.saes_out(session, [sae])[0]


@router.post(
    "/upload",
    response_model=SaeOut,
    status_code=202,
    summary="Import an SAE from an uploaded file",
    responses=problems(400, 404, 409, 413, 422, 507),
)
@accepts_upload
def upload_sae(
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    file: Annotated[
        UploadFile,
        File(
            description="A zip file of the folder of one SAE, or its file with tensors, in any known format."
        ),
    ],
    name: Annotated[str | None, Form(min_length=1, max_length=200)] = None,
    model_id: Annotated[str | None, Form()] = None,
    hook: Annotated[str | None, Form(max_length=200)] = None,
) -> SaeOut:
    """The answer's `job` unpacks and verifies it."""
    stored = archive.receive_upload(settings, file.file, file.filename)
    sae, _ = library.add_upload(session, settings, stored, name=name, model_id=model_id, hook=hook)
    announce(session, studio.events, "saes", sae.id, "created")
    return library.saes_out(session, [sae])[0]


@router.post(
    "/evaluations",
    response_model=list[SaeOut],
    status_code=202,
    summary="Evaluate several SAEs of one model",
    responses=problems(400, 404, 409, 422),
)
def evaluate_saes(wanted: EvaluationsCreate, session: SessionDep) -> list[SaeOut]:
    """In one job, which the first SAE of the answer carries: every pass of the model serves all of them."""
    saes, _ = evaluation.add_evaluation(session, wanted.sae_ids, wanted)
    return library.saes_out(session, saes)


@router.get("/{sae_id}", response_model=SaeOut, summary="One SAE", responses=problems(404))
def show_sae(sae_id: str, session: ReadingDep) -> SaeOut:
    """A dictionary with its origin, configuration and metrics."""
    return library.saes_out(session, [library.get_sae(session, sae_id)])[0]


@router.patch(
    "/{sae_id}", response_model=SaeOut, summary="Change an SAE", responses=problems(400, 404, 409, 422)
)
def change_sae(sae_id: str, change: SaeChange, session: SessionDep, studio: StudioDep) -> SaeOut:
    """Rename, annotate, or say which model and hook point it belongs to."""
    sae = library.change_sae(session, sae_id, change)
    announce(session, studio.events, "saes", sae.id, "changed")
    return library.saes_out(session, [sae])[0]


@router.delete("/{sae_id}", status_code=204, summary="Delete an SAE", responses=problems(404, 409))
def delete_sae(
    sae_id: str,
    session: SessionDep,
    settings: SettingsDep,
    studio: StudioDep,
    force: Annotated[bool, Query(description="Also delete everything else that was made with it.")] = False,
) -> Response:
    """Its features go with it. Refused while something else uses it, unless forced."""
    for table, id in library.delete_sae(session, settings, sae_id, force=force):
        announce(session, studio.events, table, id, "deleted")
    return Response(status_code=204)


@router.get(
    "/{sae_id}/users", response_model=list[UserOut], summary="What uses an SAE", responses=problems(404)
)
def list_users(sae_id: str, session: ReadingDep) -> list[UserOut]:
    """What keeps it from being deleted without force."""
    return library.sae_users(session, library.get_sae(session, sae_id).id)


@router.get(
    "/{sae_id}/weights",
    response_model=SaeWeights,
    summary="Histograms of the weights",
    responses=problems(404, 409),
)
def show_weights(sae_id: str, session: ReadingDep, settings: SettingsDep) -> SaeWeights:
    """Norms of decoder and encoder directions, encoder biases, and how far the two directions agree."""
    return weights.describe(library.sae_folder(settings, library.ready_sae(session, sae_id).id))


@router.get(
    "/{sae_id}/download",
    summary="Download as a zip file",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}, **problems(404, 409)},
)
def download_sae(sae_id: str, session: ReadingDep, settings: SettingsDep) -> StreamingResponse:
    """Its folder as it is stored: in SAELens' format (`SAE.load_from_disk` reads it once unpacked) where that can hold
    it, else in our own. `mistudio saes export` writes the other formats."""
    sae = library.ready_sae(session, sae_id)
    return archive.download(library.sae_folder(settings, sae.id), sae.name)


@router.post(
    "/{sae_id}/evaluations",
    response_model=SaeOut,
    status_code=202,
    summary="Evaluate an SAE",
    responses=problems(400, 404, 409, 422),
)
def evaluate_sae(sae_id: str, session: SessionDep, wanted: EvaluationCreate | None = None) -> SaeOut:
    """Measure it with its model, in the answer's `job`: reconstruction, sparsity, and the model's loss with it spliced
    in. An empty body takes the usual settings."""
    saes, _ = evaluation.add_evaluation(session, [sae_id], wanted or EvaluationCreate())
    return library.saes_out(session, saes)[0]


@router.get(
    "/{sae_id}/evaluation",
    response_model=EvaluationOut | None,
    summary="The newest evaluation of an SAE",
    responses=problems(404),
)
def show_evaluation(sae_id: str, session: ReadingDep, settings: SettingsDep) -> EvaluationOut | None:
    """Its report with the meaning of every number; null where it was never evaluated."""
    return evaluation.read_evaluation(settings, library.get_sae(session, sae_id).id)
