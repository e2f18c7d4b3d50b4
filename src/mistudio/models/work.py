"""What the job `models.add` does: fetch, verify, look at, and only then show."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from mistudio.errors import StudioError
from mistudio.jobs import JobContext
from mistudio.models.library import get_model, model_folder
from mistudio.models.schemas import (
    AddModelParams,
    HookPointOut,
    HubModelSource,
    ModelSource,
)
from mistudio.models.subjects import announce_changed, working_for
from mistudio.models.tables import Model
from mistudio.models.tokenizer import FILE as TOKENIZER_FILE
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.store import FolderDraft, delete_folder, disk_errors, folder_bytes, sweep_temporaries

_COPIED = (".json", ".jinja", ".txt", ".model")
_CHUNK = 8 << 20
Value = TypeVar("Value")


def add_model(context: JobContext, params: AddModelParams) -> dict[str, Any]:
    """Fetch the model into its folder, which appears whole or not at all, and describe it in its row."""
    with context.database.reading() as session:
        row = get_model(session, params.model_id)
        source: Any = TypeAdapter(ModelSource).validate_python(row.source)
    folder = model_folder(context.settings, params.model_id)
    with working_for(context, Model, params.model_id, folder):
        found = _fetch(context, source, folder)
        with context.database.session() as session:
            model = get_model(session, params.model_id)
            for name, value in found.items():
                setattr(model, name, value)
    announce_changed(context, "models", params.model_id)
    return {"parameters": found["parameters"], "bytes": found["bytes"]}


def _fetch(context: JobContext, source: Any, folder: Path) -> dict[str, Any]:
    """Make the folder, whole or not at all; returns the columns of the row."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder.parent)
    delete_folder(context.data_dir, folder)  # of an attempt that died between its last two steps
    draft = FolderDraft(folder)
    try:
        with disk_errors(folder):
            if isinstance(source, HubModelSource):
                _download(context, source, draft.path)
            else:
                _bring(context, Path(source.path), draft.path)
            found = _look(context, draft.path)
        context.check()
        draft.commit()
    except BaseException:
        draft.abort()
        raise
    return found | {"bytes": folder_bytes(folder)}


def prepare_hub(context: JobContext) -> str | None:
    """Give the hub's client the settings' patience before it is imported; returns the token."""
    seconds = str(max(1, round(context.settings.hub_timeout_seconds)))
    os.environ["HF_HUB_ETAG_TIMEOUT"] = os.environ["HF_HUB_DOWNLOAD_TIMEOUT"] = seconds
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub.constants as constants

    # Another import may have come first; the client reads these at each call.
    constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = int(seconds)
    constants.DEFAULT_REQUEST_TIMEOUT = int(seconds)
    token = context.settings.hf_token
    return token.get_secret_value() if token else None


def _download(context: JobContext, source: HubModelSource, folder: Path) -> None:
    token = prepare_hub(context)
    from mistudio.lm import hub_listing, hub_snapshot

    context.log(f"Looking at {source.repo} ({source.revision})")
    context.progress(0, None, "bytes", "Look at the repository")
    listing = hub_listing(
        source.repo,
        revision=source.revision,
        token=token,
        timeout=context.settings.hub_timeout_seconds,
    )
    free = shutil.disk_usage(folder).free
    if listing.needed_bytes > free:
        raise StudioError(
            "disk_full",
            f"{source.repo} needs {listing.needed_bytes:,} bytes and {free:,} are free in the data folder.",
            hint="Free some space, or choose another data folder.",
            status=507,
        )
    try:
        hub_snapshot(
            source.repo,
            revision=listing.commit,
            token=token,
            folder=folder,
            on_bytes=lambda done, total: context.progress(done, total, "bytes", "Download"),
        )
    except OSError as error:
        if error.errno is not None or "onsistency" not in str(error):
            raise
        raise StudioError(
            "download_broken",
            f"A file of {source.repo} arrived with another size than the hub announced.",
            hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    _verify(context, source.repo, listing.commit, token, folder)
    if listing.gguf is not None:
        gguf = folder / listing.gguf
        _convert(context, gguf, folder)
        gguf.unlink()


def _verify(context: JobContext, repo: str, commit: str, token: str | None, folder: Path) -> None:
    """Compare each large file's SHA-256 with what the hub says it is."""
    from huggingface_hub import HfApi

    from mistudio.lm.hub import hub_errors

    with hub_errors(repo, commit):
        info = HfApi(token=token).model_info(repo, revision=commit, files_metadata=True)
    sums = {
        s.rfilename: s.lfs.sha256 for s in info.siblings or [] if s.lfs and (folder / s.rfilename).is_file()
    }
    total = sum((folder / name).stat().st_size for name in sums)
    done = 0
    for name, expected in sums.items():
        digest = hashlib.sha256()
        with (folder / name).open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
                done += len(block)
                context.progress(done, total, "bytes", "Verify")
        if digest.hexdigest() != expected:
            raise StudioError(
                "download_broken",
                f"{name} of {repo} arrived damaged: its checksum is not the one that the hub announced.",
                hint="Retry; if it happens again, the hub or a proxy on the way is at fault.",
            )


def _bring(context: JobContext, path: Path, folder: Path) -> None:
    from mistudio.lm.checkpoint import INDEX, find_checkpoint

    checkpoint = find_checkpoint(path)
    if checkpoint.gguf is not None:
        _convert(context, checkpoint.folder / checkpoint.gguf, folder)
        return
    small = [
        entry.name
        for entry in checkpoint.folder.iterdir()
        if entry.is_file() and entry.suffix in _COPIED and not entry.name.endswith(".index.json")
    ]
    index = [INDEX] if (checkpoint.folder / INDEX).is_file() else []
    names = [*small, *index, *checkpoint.safetensors]
    total = sum((checkpoint.folder / name).stat().st_size for name in names)
    done = 0
    for name in names:
        with (checkpoint.folder / name).open("rb") as source, (folder / name).open("wb") as target:
            while block := source.read(_CHUNK):
                target.write(block)
                done += len(block)
                context.progress(done, total, "bytes", "Copy")


def _convert(context: JobContext, gguf: Path, folder: Path) -> None:
    """GGUF to safetensors, beside the draft's other files."""
    context.log(f"Converting {gguf.name} to safetensors")
    context.progress(0, None, "bytes", "Convert")
    converted = folder / "converted"

    def convert() -> Path:
        from mistudio.lm import convert_gguf

        return convert_gguf(gguf, converted)

    _interruptible(context, convert)
    for entry in list(converted.iterdir()):
        entry.rename(folder / entry.name)
    converted.rmdir()


def _look(context: JobContext, folder: Path) -> dict[str, Any]:
    """Load the model once: what its row says is what was seen."""
    from mistudio.lm import estimate, load_language_model, load_tokenizer

    context.progress(0, None, "bytes", "Load and look")
    if not (folder / TOKENIZER_FILE).is_file():
        load_tokenizer(folder).save_pretrained(folder)
    tokenizer = ModelTokenizer(folder)
    footprint = estimate(folder)
    model = _interruptible(context, lambda: load_language_model(folder, dtype="auto", device="cpu"))
    if tokenizer.vocab_size > model.vocab_size:
        context.log(
            f"The tokenizer knows {tokenizer.vocab_size:,} tokens and the model {model.vocab_size:,}: "
            "texts that need the others will be refused.",
            "warning",
        )
    points = [
        HookPointOut(name=point.name, layer=point.layer, kind=point.kind, d=point.d)
        for point in _interruptible(context, model.hook_points)
    ]
    config: Any = model.hf.config
    names: Any = getattr(config, "architectures", None)
    return {
        "architecture": str((names or [type(model.hf).__name__])[0]),
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "vocab_size": model.vocab_size,
        "context_length": model.context_limit,
        "parameters": footprint.parameters,
        "dtype": str(model.dtype).removeprefix("torch."),
        "hook_points": [point.model_dump() for point in points],
        "has_chat_template": _has_chat_template(folder),
    }


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        config: Any = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(isinstance(config, dict) and config.get("chat_template"))


def _interruptible(context: JobContext, work: Callable[[], Value]) -> Value:
    """Run one long call that reports nothing, and leave it behind as soon as the job is cancelled."""
    results: list[Value] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
        context.check()
    if failures:
        raise failures[0]
    return results[0]
