"""What the job `saes.import` does: unpack, verify, find where it belongs, and only then show."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistudio.errors import StudioError
from mistudio.jobs import JobCancelled, JobContext
from mistudio.lm.errors import HookNotFound
from mistudio.lm.hooks import parse_hook
from mistudio.models.library import get_model
from mistudio.models.tables import Model
from mistudio.sae.format_info import TENSOR_SUFFIXES
from mistudio.saes.archive import unpack, without_sae
from mistudio.saes.library import check_hook, named_model, sae_folder, write_sae
from mistudio.saes.schemas import ImportParams
from mistudio.saes.tables import Sae
from mistudio.store import delete_folder, owner_folder

if TYPE_CHECKING:
    from mistudio.sae import SAE


def import_sae(context: JobContext, params: ImportParams) -> dict[str, Any]:
    """Read the folder, file or zip file, and store the dictionary under the id that waits for it.

    Raises SAEFormatError for files that are torn or unknown, StudioError for zip files that are not of one SAE,
    `hook_not_found`, `sae_does_not_fit`.
    """
    uploads = owner_folder(context.data_dir, "sae_uploads", params.sae_id)
    context.data_dir.mkdir(parents=True, exist_ok=True)
    sae = _read(context, Path(params.path))
    with context.database.reading() as session:
        model = (
            get_model(session, params.model_id)
            if params.model_id
            else named_model(session, sae.metadata.get("model_name"))
        )
    hook = _hook(context, sae, model, params.hook)
    if model is None:
        named = sae.metadata.get("model_name")
        context.log(f"Its model ({named or 'not named'}) is not among the models here.", "warning")
    else:
        sae.metadata["model_name"] = model.name

    context.progress(0, None, "bytes", "Write")
    written = Sae(id=params.sae_id)
    delete_folder(context.data_dir, sae_folder(context.settings, params.sae_id))
    write_sae(context.settings, sae, written)
    with context.database.session() as session:
        row = session.get(Sae, params.sae_id)
        if row is not None:
            for name in ("architecture", "d_in", "d_sae", "config", "bytes"):
                setattr(row, name, getattr(written, name))
            row.hook = hook
            row.model_id = model.id if model is not None else None
    if row is None:  # deleted while this ran
        delete_folder(context.data_dir, sae_folder(context.settings, params.sae_id))
        raise JobCancelled
    if params.upload:
        shutil.rmtree(uploads, ignore_errors=True)
    for channel in ("saes", f"saes/{params.sae_id}"):
        context.publish(channel, "changed", {"id": params.sae_id})
    return {"d_in": sae.d_in, "d_sae": sae.d_sae, "architecture": sae.architecture.kind}


def _read(context: JobContext, path: Path) -> SAE:
    from mistudio.sae import SAEFormatError, load_sae

    if path.is_dir() or path.name.endswith(TENSOR_SUFFIXES):
        context.progress(0, None, "bytes", "Read and verify")
        return load_sae(path)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=context.data_dir) as scratch:
        context.progress(0, None, "bytes", "Unpack")
        # names of folders may say what an SAE is of, so the zip file's own name stays above them
        folder = Path(scratch, path.stem)
        folder.mkdir()
        unpack(path, folder)
        context.progress(0, None, "bytes", "Read and verify")
        try:
            return load_sae(_place(folder, path.name))
        except SAEFormatError as error:
            raise SAEFormatError(
                error.message.replace(f"{scratch}/", ""), hint=error.hint.replace(f"{scratch}/", "")
            ) from error


def _place(folder: Path, name: str) -> Path:
    """The one folder at or below `folder` with a dictionary; what else lies there (states of optimisers, …) may."""
    from mistudio.sae import SAEFormatError
    from mistudio.sae.formats import detect_format
    from mistudio.sae.formats.source import Source

    files = [path for path in folder.rglob("*") if path.name.endswith(TENSOR_SUFFIXES)]
    # checkpoints belong to the folder around them: weights in some formats, earlier states in others
    places = sorted({p.parent.parent if p.parent.name == "checkpoints" else p.parent for p in files})
    found: list[Path] = []
    refused: list[SAEFormatError] = []
    for place in places:
        try:
            detect_format(Source(place))
            found.append(place)
        except SAEFormatError as error:
            refused.append(error)
    if len(found) > 1:
        named = ", ".join(str(place.relative_to(folder)) for place in found[:5])
        raise StudioError(
            "zip_with_several_saes",
            f"“{name}” holds {len(found)} SAEs: {named.replace('., ', '/, ')}.",
            hint="Unpack it and import the folders one by one.",
        )
    if found:
        return found[0]
    if len(places) == 1:
        raise refused[0]
    raise without_sae(name, (str(file.relative_to(folder)) for file in files))


def _hook(context: JobContext, sae: SAE, model: Model | None, wanted: str | None) -> str | None:
    """The hook point that it reads, as the metadata is to name it; None, with a warning, where that is not known."""
    if sae.n_sites > 1:
        context.log("A crosscoder: it reads several hook points, and can be kept and exported.", "warning")
        return None
    hook = wanted or sae.metadata.get("hook_name")
    if not isinstance(hook, str) or not hook:
        context.log(
            "Its configuration names no hook point: say which one it reads before using it.", "warning"
        )
        return None
    try:
        parsed = parse_hook(hook)
    except HookNotFound as error:
        context.log(f"{error} Say which hook point it reads before using it.", "warning")
        return None
    head = sae.metadata.get("hook_head_index")
    if wanted is None and isinstance(head, int) and parsed.kind == "attn_z" and parsed.head is None:
        parsed = replace(parsed, head=head)  # SAELens keeps the head beside the name
    check_hook(model, str(parsed), sae.d_in)
    sae.metadata["hook_name"] = str(replace(parsed, head=None))
    if parsed.head is not None:
        sae.metadata["hook_head_index"] = parsed.head
    return str(parsed)
