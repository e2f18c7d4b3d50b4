"""Qwen Scope: layer{n}.sae.pt. TopK of the residual stream, one file per layer.

Facts from its model cards: W_enc [latents, width], W_dec [width, latents], b_enc, b_dec; the input is not
centred. How many latents are active stands only in the repository's name (…-L0_50) or, in files of ours, in
config.json.
"""

from pathlib import Path
from typing import Any

import torch

from mistudio.sae.config import TopKConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats.exchange import (
    assemble,
    check_holds,
    check_ranks_plainly,
    read_sidecar,
    uncentred,
    validated,
    write_json,
    write_sidecar,
    write_torch,
)
from mistudio.sae.formats.source import Source

TITLE = FORMATS["qwen_scope"].title

CONFIG_FILE = "config.json"
_NAMES = {"W_enc", "W_dec", "b_enc", "b_dec"}


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    name = source.find("*.pt", "*.pth")
    if name is None or source.tensors(name).shapes.keys() != _NAMES:
        return False
    shapes = source.tensors(name).shapes
    return shapes["W_enc"] == [*shapes["b_enc"], *shapes["b_dec"]]


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read one layer's file."""
    file = source.tensors(source.find("*.pt", "*.pth") or "layer0.sae.pt")
    own = read_sidecar(source)
    fields = own.architecture.model_dump() if isinstance(own.architecture, TopKConfig) else {}
    named = source.in_path(r"L0_(\d+)")
    if source.has(CONFIG_FILE):
        fields["k"] = source.json(CONFIG_FILE).get("k")
    elif named:
        fields["k"] = int(named[1][:9])
    else:
        raise SAEFormatError(
            f"{file.path} does not say how many latents are active.",
            hint=f'Keep it in a folder named like its repository (…-L0_50), or put {{"k": 50}} into {CONFIG_FILE}.',
        )
    weights = {name: file.take(name) for name in ("W_enc", "b_enc", "b_dec")}
    weights["W_dec"] = file.matrix("W_dec").T
    return assemble(
        file.path,
        validated(TopKConfig, fields, file.path),
        weights,
        apply_b_dec_to_input=False,
        metadata=own.metadata or _metadata(source, file.path),
        device=device,
        dtype=dtype,
    )


def _metadata(source: Source, path: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    release = source.in_path(r"SAE-Res-(.+)-W\d+K-L0_\d+")
    layer = source.in_path(r"^layer(\d+)\.sae\.pt$", path)
    if release:
        metadata["model_name"] = f"Qwen/{release[1]}"
    if layer:
        metadata["hook_name"] = f"blocks.{layer[1]}.hook_resid_post"
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, ("topk",))
    check_ranks_plainly(sae, TITLE)


def write(sae: SAE, folder: Path) -> None:
    """Write one layer's file, and config.json with k."""
    check(sae)
    assert isinstance(sae.architecture, TopKConfig)
    weights = uncentred(sae)
    theirs = {name: weights[name] for name in sorted(_NAMES)} | {"W_dec": weights["W_dec"].T}
    parts = str(sae.metadata.get("hook_name") or "").split(".")
    layer = parts[1] if len(parts) > 2 and parts[1].isdigit() else "0"
    with written_whole(folder) as partial:
        write_torch(theirs, partial / f"layer{layer}.sae.pt")
        write_json({"k": sae.architecture.k}, partial / CONFIG_FILE)
        write_sidecar(sae, partial)
