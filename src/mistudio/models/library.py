"""The models that are there: add, list, open, delete. Routes, commands and notebooks call these functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from mistudio.errors import Conflict, NotFound
from mistudio.jobs import Job, JobOut, latest_jobs, submit
from mistudio.models.deletion import delete_owner
from mistudio.models.local_paths import local_file, local_folder
from mistudio.models.names import add_row, choose_name
from mistudio.models.schemas import (
    AddModelParams,
    FolderModelSource,
    HubModelSource,
    MemoryForecastOut,
    ModelCreate,
    ModelOut,
)
from mistudio.models.tables import Model
from mistudio.models.tokenizer import ModelTokenizer, open_tokenizer_folder
from mistudio.settings import Settings
from mistudio.store import owner_folder

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel


def add_model(
    session: Session, settings: Settings, wanted: ModelCreate, *, any_folder: bool = False
) -> tuple[Model, Job]:
    """Note a model and queue the job that fetches it.

    `any_folder` lifts the limit to `settings.import_folders` (for the command line). Raises StudioError for a path
    that is not there or not allowed, Conflict `name_taken`.
    """
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
        name=choose_name(session, Model.name, wanted.name, default), source=source.model_dump(mode="json")
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


def rename_model(session: Session, model_id: str, name: str) -> Model:
    """Give a model another name. Raises Conflict `name_taken`."""
    model = get_model(session, model_id)
    model.name = choose_name(session, Model.name, name, "", Model.id != model.id)
    return model


def delete_model(
    session: Session, settings: Settings, model_id: str, *, force: bool = False
) -> list[tuple[str, str]]:
    """Delete a model, its folder and, with `force`, all that was made with it. Raises Conflict `in_use`."""
    model = get_model(session, model_id)
    return delete_owner(session, settings, "models", model.id, name=model.name, force=force)


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
    settings: Settings, model: Model | str, *, dtype: str = "float32", device: str | None = None
) -> LanguageModel:
    """Load a model (or the model of an id) on the device that the settings name. Raises ModelLoadError."""
    from mistudio.lm import load_language_model

    model_id = model if isinstance(model, str) else model.id
    return load_language_model(
        model_folder(settings, model_id), dtype=dtype, device=device or settings.device
    )


def open_tokenizer(settings: Settings, model: Model | str) -> ModelTokenizer:
    """A model's tokenizer, without PyTorch."""
    model_id = model if isinstance(model, str) else model.id
    return open_tokenizer_folder(model_folder(settings, model_id))


def forecast_memory(
    settings: Settings, model: Model, *, dtype: str, batch_size: int, context_length: int
) -> MemoryForecastOut:
    """What a forward pass and generation over `batch_size` texts of `context_length` tokens would take, in bytes."""
    import psutil

    from mistudio.lm.footprint import estimate

    footprint: Any = estimate(model_folder(settings, model.id), dtype)
    tokens = batch_size * context_length
    activations = tokens * (footprint.forward_bytes_per_token + footprint.activation_bytes_per_token)
    cache = tokens * footprint.kv_cache_bytes_per_token
    logits = batch_size * footprint.logits_bytes_per_token
    return MemoryForecastOut(
        dtype=dtype,
        weights=footprint.weight_bytes,
        activations=activations,
        kv_cache=cache,
        logits=logits,
        total=footprint.weight_bytes + activations + cache + logits,
        available=psutil.virtual_memory().available,
    )
