"""What the jobs `models.add` and `models.verify` do: fetch, look at and only then show; test the hook points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from mistudio.hub.arrivals import arriving
from mistudio.jobs import JobContext
from mistudio.models.fetch import bring, download, interruptible
from mistudio.models.library import get_model, loading_of, model_folder, open_model
from mistudio.models.schemas import (
    AddModelParams,
    HookPointOut,
    HubModelSource,
    ModelConsent,
    ModelSource,
    VerifyParams,
)
from mistudio.models.subjects import announce_changed, working_for
from mistudio.models.tables import Model
from mistudio.models.tokenizer import FILE as TOKENIZER_FILE
from mistudio.models.tokenizer import ModelTokenizer
from mistudio.store import FolderDraft, delete_folder, disk_errors, folder_bytes, sweep_temporaries

if TYPE_CHECKING:
    from mistudio.lm import LanguageModel


def add_model(context: JobContext, params: AddModelParams) -> dict[str, Any]:
    """Fetch the model into its folder, which appears whole or not at all, and describe it in its row."""
    with context.database.reading() as session:
        row = get_model(session, params.model_id)
        source: Any = TypeAdapter(ModelSource).validate_python(row.source)
        consent = ModelConsent.model_validate(row.consent)
    folder = model_folder(context.settings, params.model_id)
    with (
        arriving(context, params.model_id) as held,
        working_for(context, Model, params.model_id, folder),
    ):
        found = _fetch(context, source, consent, held, folder)
        with context.database.session() as session:
            model = get_model(session, params.model_id)
            for name, value in found.items():
                setattr(model, name, value)
    announce_changed(context, "models", params.model_id)
    return {"parameters": found["parameters"], "bytes": found["bytes"]}


def verify_model(context: JobContext, params: VerifyParams) -> dict[str, Any]:
    """Test the hook points of the model as it is loaded by others, and look at its modules anew."""
    from mistudio.lm.architecture import module_tree

    context.progress(0, None, "passes", "Load the model")
    with working_for(context, Model, params.model_id, model_folder(context.settings, params.model_id)):
        with context.database.reading() as session:
            row = get_model(session, params.model_id)
            loading = loading_of(row)
        model = interruptible(
            context, lambda: open_model(context.settings, row, loading=loading, device=context.device)
        )
        report = _verify(context, model, str(loading.quantization))
        with context.database.session() as session:
            row = get_model(session, params.model_id)
            row.hook_report = report
            if row.modules is None:
                row.modules = module_tree(model)
    announce_changed(context, "models", params.model_id)
    return {"passed": report["passed"]}


def _verify(context: JobContext, model: LanguageModel, quantization: str = "none") -> dict[str, Any]:
    from mistudio.lm.selftest import verify_hooks

    report = verify_hooks(
        model, lambda done, total: context.progress(done, total, "passes", "Test the hook points")
    )
    for one in report.verdicts:
        if one.verdict == "wrong" or not one.shape or one.writes is False:
            context.log(
                f"{one.kind} did not pass its test ({one.check}; gap {one.gap}, in a large batch "
                f"{one.batch_gap}).",
                "warning",
            )
    return report.as_dict() | {"quantization": quantization}


def _fetch(
    context: JobContext, source: Any, consent: ModelConsent, held: Path, folder: Path
) -> dict[str, Any]:
    """Make the folder, whole or not at all; returns the columns of the row."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder.parent)
    delete_folder(context.data_dir, folder)  # of an attempt that died between its last two steps
    draft = FolderDraft(folder)
    try:
        with disk_errors(folder):
            if isinstance(source, HubModelSource):
                download(context, source, consent, held, draft.path)
            else:
                bring(context, Path(source.path), consent, draft.path)
            found = _look(context, consent, draft.path)
        context.check()
        draft.commit()
    except BaseException:
        draft.abort()
        raise
    return found | {"bytes": folder_bytes(folder)}


def _look(context: JobContext, consent: ModelConsent, folder: Path) -> dict[str, Any]:
    """Load the model once: what its row says is what was seen."""
    from mistudio.lm import estimate, load_language_model, load_tokenizer
    from mistudio.lm.architecture import module_tree

    trusted = consent.code is not None
    context.progress(0, None, "bytes", "Load and look")
    if not (folder / TOKENIZER_FILE).is_file():
        load_tokenizer(folder, trust_remote_code=trusted).save_pretrained(folder)
    tokenizer = ModelTokenizer(folder)
    footprint = estimate(folder)
    model = interruptible(
        context,
        lambda: load_language_model(folder, dtype="auto", device="cpu", trust_remote_code=trusted),
    )
    if tokenizer.vocab_size > model.vocab_size:
        context.log(
            f"The tokenizer knows {tokenizer.vocab_size:,} tokens and the model {model.vocab_size:,}: "
            "texts that need the others will be refused.",
            "warning",
        )
    points = [
        HookPointOut(name=point.name, layer=point.layer, kind=point.kind, d=point.d, n_heads=point.n_heads)
        for point in interruptible(context, model.hook_points)
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
        "modules": module_tree(model),
        "hook_report": _verify(context, model),
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
