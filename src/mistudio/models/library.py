"""The models that are there: add, list, open, delete. Routes, commands and notebooks call these functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from mistudio.db import Database
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobOut, cancel_subject, latest_jobs, submit
from mistudio.jobs.schemas import FINAL_STATES
from mistudio.jobs.slots import usable_gpus
from mistudio.models.deletion import delete_owner, users_of
from mistudio.models.local_paths import local_file, local_folder
from mistudio.models.memory import forecast
from mistudio.models.names import add_row, choose_name
from mistudio.models.remote_code import check_consent, code_in
from mistudio.models.schemas import (
    AddModelParams,
    FolderModelSource,
    HubModelSource,
    MemoryForecastOut,
    ModelChange,
    ModelConsent,
    ModelCreate,
    ModelLoading,
    ModelOut,
    UserOut,
    VerifyParams,
)
from mistudio.models.tables import Model
from mistudio.models.tokenizer import ModelTokenizer, open_tokenizer_folder
from mistudio.settings import Settings
from mistudio.store import owner_folder

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel

# What was asked of a model goes with it without being named as its user.
_PARTS = frozenset({"model_requests"})


def add_model(
    session: Session, settings: Settings, wanted: ModelCreate, *, any_folder: bool = False
) -> tuple[Model, Job]:
    """Note a model and queue the job that fetches it.

    `any_folder` lifts the limit to `settings.import_folders` (for the command line). Raises StudioError for a path
    that is not there or not allowed or a way of loading that this machine has not, Conflict `name_taken`.
    """
    check_loading(settings, wanted.loading)
    source = wanted.source
    if isinstance(source, HubModelSource):
        default = source.repo.rpartition("/")[2]
    elif isinstance(source, FolderModelSource):
        path = local_folder(settings, source.path, any_folder=any_folder)
        source, default = source.model_copy(update={"path": str(path)}), path.name
    else:
        path = local_file(settings, source.path, any_folder=any_folder)
        source, default = source.model_copy(update={"path": str(path)}), path.stem
    model = Model(
        name=choose_name(session, Model.name, wanted.name, default),
        source=source.model_dump(mode="json"),
        loading=wanted.loading.model_dump(mode="json"),
        consent=wanted.consent.model_dump(mode="json"),
    )
    add_row(session, model)
    job = submit(
        session,
        "models.add",
        subject=f"models/{model.id}",
        title=f"Add model {model.name}",
        params=AddModelParams(model_id=model.id),
    )
    return model, job


def get_model(session: Session, model_id: str) -> Model:
    """The model of this id. Raises NotFound."""
    model = session.get(Model, model_id)
    if model is None:
        raise NotFound("model", model_id)
    return model


def ready_model(session: Session, model_id: str) -> Model:
    """As `get_model`, and its files are complete. Raises Conflict `model_not_ready`."""
    model = get_model(session, model_id)
    if not model.ready:
        raise Conflict(
            "model_not_ready",
            f"The model “{model.name}” is not complete.",
            hint="Wait for the job that adds it, or retry that job if it failed.",
        )
    return model


def check_loading(settings: Settings, loading: ModelLoading) -> None:
    """Raises StudioError `loading_impossible` where no job of this machine could load a model so.

    With dispatch=celery the workers are other machines: they say so themselves.
    """
    from mistudio.lm.quantization import quantization_obstacle

    if settings.dispatch != "local":
        return
    cuda = bool(usable_gpus(settings)) and loading.device != "cpu"
    if loading.device == "cuda" and not cuda:
        raise StudioError(
            "loading_impossible",
            "The model was to run on a GPU, and this machine has none that may be used.",
            hint="Choose auto or cpu as its device.",
            fields={"loading.device": "no GPU here"},
        )
    obstacle = quantization_obstacle(loading.quantization, cuda=cuda)
    if obstacle is not None:
        raise StudioError(
            "loading_impossible",
            obstacle,
            hint="Choose no quantization, or install it: pip install 'mistudio[quantized]'.",
            fields={"loading.quantization": "not possible here"},
        )


def loading_of(model: Model) -> ModelLoading:
    """How a model is loaded whenever it runs."""
    return ModelLoading.model_validate(model.loading)


def change_model(session: Session, settings: Settings, model_id: str, change: ModelChange) -> Model:
    """Give a model another name or another way of loading.

    Raises NotFound, Conflict `name_taken`, StudioError `loading_impossible`.
    """
    model = get_model(session, model_id)
    if change.name is not None:
        model.name = choose_name(session, Model.name, change.name, "", Model.id != model.id)
    if change.loading is not None:
        check_loading(settings, change.loading)
        model.loading = change.loading.model_dump(mode="json")
    return model


def verify_model(session: Session, model_id: str) -> Job:
    """Queue the self-test of its hook points. Raises Conflict `model_not_ready`, `verifying`."""
    model = ready_model(session, model_id)
    subject = f"models/{model.id}/verify"
    running = latest_jobs(session, [subject]).get(subject)
    if running is not None and running.state not in FINAL_STATES:
        raise Conflict("verifying", f"The hook points of “{model.name}” are being tested already.")
    return submit(
        session,
        "models.verify",
        subject=subject,
        title=f"Test hook points of {model.name}",
        params=VerifyParams(model_id=model.id),
    )


def modules_of(session: Session, model_id: str) -> dict[str, Any]:
    """The tree of its modules (see `mistudio.lm.architecture`). Raises Conflict `modules_unknown`."""
    model = ready_model(session, model_id)
    if model.modules is None:
        raise Conflict(
            "modules_unknown",
            f"The modules of “{model.name}” have not been looked at: it was added by an older version.",
            hint="Test its hook points: that looks at them too.",
        )
    return model.modules


def model_users(session: Session, model_id: str) -> list[UserOut]:
    """What a forced deletion would take with the model, one level deep."""
    return users_of(session, "models", [get_model(session, model_id).id], _PARTS)


def delete_model(
    session: Session, settings: Settings, model_id: str, *, force: bool = False
) -> list[tuple[str, str]]:
    """Delete a model, its folder and, with `force`, all that was made with it. Raises Conflict `in_use`."""
    model = get_model(session, model_id)
    gone = delete_owner(session, settings, "models", model.id, name=model.name, force=force, parts=_PARTS)
    for part in ("session", "question", "verify"):
        cancel_subject(session, f"models/{model_id}/{part}")
    return [(table, id) for table, id in gone if table not in _PARTS]


def models_out(session: Session, models: Sequence[Model]) -> list[ModelOut]:
    """Models as they cross the API, each with its latest job."""
    jobs = latest_jobs(session, [f"models/{model.id}" for model in models])
    found = [ModelOut.model_validate(model) for model in models]
    for out in found:
        if job := jobs.get(f"models/{out.id}"):
            out.job = JobOut.model_validate(job)
    return found


def model_folder(settings: Settings, model_id: str) -> Path:
    """Where a model's files are: a plain safetensors folder with its tokenizer."""
    return owner_folder(settings.data_dir, "models", model_id)


def open_model(
    settings: Settings,
    model: Model | str,
    *,
    loading: ModelLoading | None = None,
    device: str | None = None,
) -> LanguageModel:
    """Load a model (or the model of an id) as its `loading` says, or as the argument does.

    `device` is where the caller's job runs models, by default where the settings say; a model that is to run on the CPU
    does so anyway. Of an id the row is read from the settings' database. Raises NotFound, ModelLoadError.
    """
    from mistudio.lm import ModelLoadError, load_language_model

    if isinstance(model, str):
        model = _row_of(settings, model)
    how = loading or loading_of(model)
    folder = model_folder(settings, model.id)
    where = device or settings.device
    if how.device == "cpu":
        where = "cpu"
    elif how.device == "cuda" and where == "cpu":
        raise ModelLoadError(
            "no_cuda",
            f"The model “{model.name}” is to run on a GPU, and this job was given none.",
            "Choose auto or cpu as its device.",
        )
    code = ModelConsent.model_validate(model.consent).code
    if code is not None:
        check_consent(code_in(folder), code, f"the model “{model.name}”")
    return load_language_model(
        folder,
        dtype=how.dtype,
        device=where,
        quantization=how.quantization,
        trust_remote_code=code is not None,
    )


def _row_of(settings: Settings, model_id: str) -> Model:
    database = Database(settings.effective_database_url)
    with database.reading() as session:
        found = get_model(session, model_id)
    database.dispose()
    return found


def open_tokenizer(settings: Settings, model: Model | str) -> ModelTokenizer:
    """A model's tokenizer, without PyTorch."""
    model_id = model if isinstance(model, str) else model.id
    return open_tokenizer_folder(model_folder(settings, model_id))


def forecast_memory(
    settings: Settings, model: Model, *, dtype: str, batch_size: int, context_length: int
) -> MemoryForecastOut:
    """What a forward pass and generation over `batch_size` texts of `context_length` tokens would take, in bytes."""
    from mistudio.lm.footprint import estimate

    footprint = estimate(model_folder(settings, model.id), dtype)
    return forecast(footprint, batch_size, context_length, cuda=bool(usable_gpus(settings)))


def forecast_all(
    settings: Settings, model: Model, *, batch_size: int, context_length: int
) -> list[MemoryForecastOut]:
    """As `forecast_memory`, for every precision."""
    from mistudio.lm.footprint import BYTES

    return [
        forecast_memory(settings, model, dtype=dtype, batch_size=batch_size, context_length=context_length)
        for dtype in BYTES
    ]
