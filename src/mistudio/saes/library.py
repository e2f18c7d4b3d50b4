"""The SAEs that are there: register, import, list, open, change, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mistudio.db import Base, new_id
from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import Job, JobOut, latest_jobs, submit
from mistudio.lm.hooks import head_not_found, parse_hook, place_of
from mistudio.models.deletion import delete_owner, users_of
from mistudio.models.library import ready_model
from mistudio.models.local_paths import local_path
from mistudio.models.names import add_row, choose_name
from mistudio.models.schemas import UserOut
from mistudio.models.tables import Model
from mistudio.saes.schemas import (
    ImportedOrigin,
    ImportParams,
    SaeChange,
    SaeImport,
    SaeOut,
    TrainedOrigin,
)
from mistudio.saes.tables import Sae
from mistudio.settings import Settings
from mistudio.store import delete_folder, disk_errors, folder_bytes, owner_folder

if TYPE_CHECKING:
    from mistudio.sae import SAE

# Tables of what belongs to an SAE and goes with it unasked: its extractions and all that is below those.
OWN = "extractions"


def register_sae(
    session: Session,
    settings: Settings,
    sae: SAE,
    *,
    name: str,
    training_id: str | None = None,
    model_id: str | None = None,
    hook: str | None = None,
    metrics: dict[str, Any] | None = None,
    origin: dict[str, Any] | None = None,
) -> Sae:
    """Store a dictionary in a folder of its own, and its row.

    `name` is made unique by a number when it is taken. `metrics` may hold numbers only. Nothing stays when it fails.
    """
    row = Sae(
        id=new_id("sa"),
        name=choose_name(session, Sae.name, None, name),
        training_id=training_id,
        model_id=model_id,
        hook=hook,
        metrics=_finite(metrics or {}),
        origin=origin or {"kind": "trained"},
    )
    write_sae(settings, sae, row)
    try:
        add_row(session, row)
    except BaseException:
        delete_folder(settings.data_dir, sae_folder(settings, row.id))
        raise
    return row


def register_trained(
    session: Session,
    settings: Settings,
    sae: SAE,
    *,
    name: str,
    model: str | None = None,
    metrics: dict[str, Any] | None = None,
    tokens: int | None = None,
    held_out_tokens: int | None = None,
) -> Sae:
    """As `register_sae`, for a dictionary that was trained outside of the application.

    `model`: id or name of the model that it belongs to; by default the one that its metadata names, if it is here.
    Raises NotFound, StudioError `hook_not_found` or `sae_does_not_fit`.
    """
    found = named_model(session, sae.metadata.get("model_name"))
    if model is not None:
        found = session.get(Model, model) or session.scalar(select(Model).where(Model.name == model))
        if found is None:
            raise NotFound("model", model)
    hook = sae.metadata.get("hook_name")
    if isinstance(hook, str) and hook:
        check_hook(found, hook, sae.d_in)
    else:
        hook = None
    if found is not None:
        sae.metadata["model_name"] = found.name
    origin = TrainedOrigin(tokens=tokens, held_out_tokens=held_out_tokens)
    return register_sae(
        session,
        settings,
        sae,
        name=name,
        model_id=found.id if found is not None else None,
        hook=hook,
        metrics=metrics,
        origin=origin.model_dump(mode="json", exclude_none=True),
    )


def find_sae(session: Session, name: str) -> Sae:
    """The complete SAE of this id or name. Raises NotFound, naming those that there are; Conflict `sae_not_ready`."""
    sae = session.get(Sae, name) or session.scalar(select(Sae).where(Sae.name == name))
    if sae is None:
        names = session.scalars(select(Sae.name).order_by(Sae.created_at.desc()).limit(8)).all()
        hint = f"The newest are {', '.join(f'“{one}”' for one in names)}." if names else "It holds none yet."
        raise StudioError("sae_not_found", f"The data folder holds no SAE “{name}”.", hint=hint, status=404)
    return ready_sae(session, sae.id)


def write_sae(settings: Settings, sae: SAE, row: Sae) -> None:
    """Write the dictionary's folder, whole or not at all, and describe it in the row. Raises DiskFull."""
    from mistudio.sae import save_sae

    folder = sae_folder(settings, row.id)
    with disk_errors(folder):
        save_sae(sae, folder)
    row.architecture = sae.architecture.kind
    row.d_in, row.d_sae = sae.d_in, sae.d_sae
    row.config = {
        "architecture": sae.architecture.model_dump(mode="json"),
        "d_out": sae.d_out,
        "transcoder": sae.is_transcoder,
        "n_sites": sae.n_sites,
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "decoder_norm": sae.decoder_norm,
        "token_norm": sae.token_norm,
        "metadata": sae.metadata,
    }
    row.bytes = folder_bytes(folder)


def add_import(
    session: Session, settings: Settings, wanted: SaeImport, *, any_folder: bool = False
) -> tuple[Sae, Job]:
    """Note an SAE and queue the job that reads its folder or file.

    `any_folder` lifts the limit to `settings.import_folders` (for the command line). Raises StudioError for a path
    that is not there or not allowed and for a hook point that the model lacks, Conflict `name_taken`.
    """
    path = local_path(settings, wanted.path, any_folder=any_folder)
    if path.is_file() and path.stat().st_size == 0:
        raise StudioError("file_empty", f"The file “{wanted.path}” is empty.", fields={"path": "empty"})
    origin = ImportedOrigin(path=str(path))
    default = path.stem if path.is_file() else path.name
    params = ImportParams(sae_id=new_id("sa"), path=str(path), model_id=wanted.model_id, hook=wanted.hook)
    return _note(session, params, origin, wanted.name, default)


def add_upload(
    session: Session,
    settings: Settings,
    stored: Path,
    *,
    name: str | None = None,
    model_id: str | None = None,
    hook: str | None = None,
) -> tuple[Sae, Job]:
    """Note an SAE whose file `archive.receive_upload` has stored; the file goes when it is refused."""
    params = ImportParams(
        sae_id=stored.parent.name, path=str(stored), upload=True, model_id=model_id, hook=hook
    )
    origin = ImportedOrigin(path=stored.name, uploaded=True)
    try:
        return _note(session, params, origin, name, stored.stem)
    except BaseException:
        delete_folder(settings.data_dir, stored.parent)
        raise


def _note(
    session: Session, params: ImportParams, origin: ImportedOrigin, name: str | None, default: str
) -> tuple[Sae, Job]:
    model = ready_model(session, params.model_id) if params.model_id is not None else None
    if params.hook is not None:
        check_hook(model, params.hook, None)
    sae = Sae(
        id=params.sae_id,
        name=choose_name(session, Sae.name, name, default or "SAE"),
        model_id=params.model_id,
        hook=params.hook,
        origin=origin.model_dump(mode="json"),
    )
    add_row(session, sae)
    job = submit(
        session, "saes.import", subject=f"saes/{sae.id}", title=f"Import SAE {sae.name}", params=params
    )
    return sae, job


def get_sae(session: Session, sae_id: str) -> Sae:
    """The SAE of this id. Raises NotFound."""
    sae = session.get(Sae, sae_id)
    if sae is None:
        raise NotFound("sae", sae_id)
    return sae


def ready_sae(session: Session, sae_id: str) -> Sae:
    """As `get_sae`, and its weights are there. Raises Conflict `sae_not_ready`."""
    sae = get_sae(session, sae_id)
    if not sae.ready:
        raise Conflict(
            "sae_not_ready",
            f"The SAE “{sae.name}” is not complete.",
            hint="Wait for the job that imports it, or delete it if that failed.",
        )
    return sae


def change_sae(session: Session, sae_id: str, change: SaeChange) -> Sae:
    """Rename or annotate an SAE, or say where it belongs.

    Raises Conflict `name_taken`, StudioError `hook_not_found`, `sae_does_not_fit`.
    """
    sae = get_sae(session, sae_id)
    if change.name is not None:
        sae.name = choose_name(session, Sae.name, change.name, "", Sae.id != sae.id)
    if change.notes is not None:
        sae.notes = change.notes
    if change.model_id is not None or change.hook is not None:
        model_id = change.model_id or sae.model_id
        model = ready_model(session, model_id) if model_id else None
        hook = change.hook or sae.hook
        if hook is not None:
            check_hook(model, hook, sae.d_in)
        sae.model_id, sae.hook = model_id, hook
    session.flush()
    return sae


def check_hook(model: Model | None, hook: str, d_in: int | None) -> None:
    """Refuse a hook point that the model lacks or whose width is another. Raises StudioError, HookNotFound."""
    parsed = parse_hook(hook)
    if model is None or parsed.layer is None:
        return
    whole = replace(parsed, head=None)
    point = next((p for p in model.hook_points if p["name"] == str(whole)), None)
    if point is None:
        kinds = ", ".join(sorted({place_of(p["kind"]) for p in model.hook_points}))
        raise StudioError(
            "hook_not_found",
            f"The model “{model.name}” has no hook point “{hook}”.",
            hint=f"It has blocks.0 to blocks.{(model.n_layers or 1) - 1}, each with {kinds}.",
            fields={"hook": "not a hook point of this model"},
        )
    width: int = point["d"]
    if parsed.head is not None:
        n_heads = point.get("n_heads") or 1
        if parsed.head >= n_heads:
            raise head_not_found(parsed, n_heads)
        width //= n_heads
    if d_in is not None and width != d_in:
        raise StudioError(
            "sae_does_not_fit",
            f"The SAE reads activations of width {d_in}, but {hook} of “{model.name}” has width {width}.",
            hint="Name the model and the hook point that it was trained on.",
            fields={"model_id": "its activations have another width"},
        )


def named_model(session: Session, name: Any) -> Model | None:
    """The model here that a configuration's `model_name` means: by name, repository, or the last part of it."""
    if not isinstance(name, str) or not name:
        return None
    models = [model for model in session.scalars(select(Model).order_by(Model.created_at)) if model.ready]
    for model in models:
        if name in (model.name, model.source.get("repo")):
            return model
    last = name.rpartition("/")[2].lower()
    for model in models:
        if last in (model.name.lower(), str(model.source.get("repo", "")).rpartition("/")[2].lower()):
            return model
    return None


def sae_users(session: Session, sae_id: str) -> list[UserOut]:
    """What uses an SAE, besides its own features and what belongs to those."""
    return users_of(session, "saes", [sae_id], owned_tables())


def delete_sae(
    session: Session, settings: Settings, sae_id: str, *, force: bool = False
) -> list[tuple[str, str]]:
    """Delete an SAE with its extractions. Raises Conflict `in_use` while something else uses it, unless `force`.

    Returns (table, id) of every row that went.
    """
    sae = get_sae(session, sae_id)
    return delete_owner(session, settings, "saes", sae.id, name=sae.name, force=force, parts=owned_tables())


def owned_tables() -> frozenset[str]:
    """The tables of what belongs to an SAE: extractions, and what is deleted with those and has an id."""
    tables = Base.metadata.sorted_tables
    owned = {OWN}
    while True:
        more = {
            table.name
            for table in tables
            for key in table.foreign_keys
            if "id" in table.c and key.column.table.name in owned and key.ondelete == "CASCADE"
        }
        if more <= owned:
            return frozenset(owned)
        owned |= more


def saes_out(session: Session, saes: Sequence[Sae]) -> list[SaeOut]:
    """SAEs as they cross the API, each with its model's name, its latest job and the number of its extractions."""
    ids = [sae.id for sae in saes]
    jobs = latest_jobs(session, [f"saes/{id}" for id in ids])
    model_ids = {sae.model_id for sae in saes if sae.model_id}
    named = session.execute(select(Model.id, Model.name).where(Model.id.in_(model_ids)))
    names: dict[str, str] = {row[0]: row[1] for row in named}
    extractions = Base.metadata.tables.get(OWN)
    counts: dict[str, int] = {}
    if extractions is not None:
        counted = (
            select(extractions.c.sae_id, func.count())
            .where(extractions.c.sae_id.in_(ids))
            .group_by(extractions.c.sae_id)
        )
        counts = {row[0]: row[1] for row in session.execute(counted)}
    found: list[SaeOut] = []
    for sae in saes:
        out = SaeOut.model_validate(sae)
        out.model_name = names.get(sae.model_id or "")
        out.layer = parse_hook(sae.hook).layer if sae.hook else None
        out.extraction_count = counts.get(sae.id, 0)
        if job := jobs.get(f"saes/{sae.id}"):
            out.job = JobOut.model_validate(job)
        found.append(out)
    return found


def sae_folder(settings: Settings, sae_id: str) -> Path:
    """Where an SAE's weights are: in SAELens' format where that can hold it, else in our own."""
    return owner_folder(settings.data_dir, "saes", sae_id)


def open_sae(settings: Settings, sae: Sae | str, *, device: str = "cpu") -> SAE:
    """Load an SAE (or the SAE of an id). Raises SAEFormatError for a damaged folder."""
    from mistudio.sae import load_sae

    return load_sae(sae_folder(settings, sae if isinstance(sae, str) else sae.id), device=device)


def _finite(metrics: dict[str, Any]) -> dict[str, float | None]:
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
    return {n: v if v == v and abs(v) != float("inf") else None for n, v in numbers.items()}
