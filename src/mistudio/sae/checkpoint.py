"""The files of a training checkpoint: one safetensors file, and a JSON file that vouches for it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mistudio.sae.errors import TornCheckpoint
from mistudio.sae.folders import STATE_FILE, recover, written_whole

TENSORS_FILE = "state.safetensors"
_FORMAT = 1


def write(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write both files whole; `state` must be JSON."""
    with written_whole(folder) as partial:
        path = partial / TENSORS_FILE
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
        record = {"format": _FORMAT, "sha256": _digest(path), **state}
        (partial / STATE_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Both files of a checkpoint, checked against each other; raises TornCheckpoint naming what is wrong."""
    recover(folder)
    hint = "Resume from an earlier checkpoint, or start the training again."
    for name in (STATE_FILE, TENSORS_FILE):
        if not (folder / name).is_file():
            raise TornCheckpoint(f"The checkpoint {folder} has no {name}.", hint=hint)
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise TornCheckpoint(f"{folder / STATE_FILE} is not readable JSON ({error}).", hint=hint) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise TornCheckpoint(
            f"{folder / STATE_FILE} is not a checkpoint of this version (format {_FORMAT}).", hint=hint
        )
    path = folder / TENSORS_FILE
    if _digest(path) != state.get("sha256"):
        raise TornCheckpoint(
            f"{path} does not match its checksum: the file is incomplete or damaged.", hint=hint
        )
    try:
        return load_file(path), state
    except SafetensorError as error:
        raise TornCheckpoint(f"{path} is not a safetensors file ({error}).", hint=hint) from error


def restore(
    target: Tensor, tensors: dict[str, Tensor], name: str, folder: Path, rows: slice = slice(None)
) -> None:
    """Copy the named tensor of a checkpoint, or some of its rows, into `target`, which must have its shape and type."""
    saved = tensors.get(name)
    if saved is not None and saved.ndim:
        saved = saved[rows]
    if saved is None or saved.shape != target.shape or saved.dtype != target.dtype:
        found = "nothing" if saved is None else f"{list(saved.shape)} {saved.dtype}"
        raise TornCheckpoint(
            f"The checkpoint {folder} holds {found} for {name}, "
            f"but this training needs {list(target.shape)} {target.dtype}.",
            hint="It was written for other activations or another configuration.",
        )
    with torch.no_grad():
        target.copy_(saved)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
