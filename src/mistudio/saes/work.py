"""What the job `saes.import` does: unpack, verify, find where it belongs, and only then show."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from mistudio.jobs import JobCancelled, JobContext
from mistudio.lm.hooks import parse_hook
from mistudio.models.library import get_model
from mistudio.saes.archive import unpack
from mistudio.saes.library import check_hook, named_model, sae_folder, write_sae
from mistudio.saes.schemas import ImportParams
from mistudio.saes.tables import Sae
from mistudio.store import delete_folder, owner_folder


def import_sae(context: JobContext, params: ImportParams) -> dict[str, Any]:
    """Read the folder or zip file, and store the dictionary under the id that waits for it.

    Raises SAEFormatError for files that are torn or unknown, StudioError `sae_does_not_fit`.
    """
    from mistudio.sae import load_sae

    uploads = owner_folder(context.data_dir, "sae_uploads", params.sae_id)
    context.data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=context.data_dir) as scratch:
        path = Path(params.path)
        if path.is_file():
            context.progress(0, None, "bytes", "Unpack")
            unpack(path, Path(scratch))
            path = Path(scratch)
        context.progress(0, None, "bytes", "Read and verify")
        sae = load_sae(path)
    hook = params.hook or sae.metadata.get("hook_name")
    with context.database.reading() as session:
        model = (
            get_model(session, params.model_id)
            if params.model_id
            else named_model(session, sae.metadata.get("model_name"))
        )
    if isinstance(hook, str) and hook:
        check_hook(model, hook, sae.d_in)
        hook = str(parse_hook(hook))
        sae.metadata["hook_name"] = hook
    else:
        hook = None
        context.log(
            "Its configuration names no hook point: say which one it reads before using it.", "warning"
        )
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
