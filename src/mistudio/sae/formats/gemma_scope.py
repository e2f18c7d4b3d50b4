"""Gemma Scope (1): params.npz. JumpReLU autoencoders and transcoders of Gemma 2.

Facts from the release (Lieberum et al. 2024, arXiv 2408.05147): W_enc [width, latents], W_dec [latents,
width], b_enc, b_dec, threshold; the input is not centred. Model and layer stand in the path only. Embedding
dictionaries are of embeddings before Gemma multiplies them by √width: the factor is folded in here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mistudio.sae.dictionary import SAE
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats.exchange import (
    THRESHOLDED,
    assemble,
    check_holds,
    read_sidecar,
    read_thresholds,
    thresholds_of,
    uncentred,
    write_sidecar,
)
from mistudio.sae.formats.source import Source

TITLE = FORMATS["gemma_scope"].title
WEIGHTS_FILE = "params.npz"

NAMES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
_KINDS = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    return source.find("*.npz") is not None


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read the file; where it belongs is taken from the folders' names, as far as they say."""
    file = source.tensors(source.find("*.npz") or WEIGHTS_FILE)
    renamed = {name: f"W_{name[2:]}" if name.startswith("w_") else name for name in file.shapes}
    weights = {renamed[name]: file.take(name) for name in file.shapes if renamed[name] in NAMES}
    for name in NAMES:
        if name not in weights:
            file.take(name)  # which says that it is missing
    d_sae = file.shapes["b_enc"]
    thresholds = file.take("threshold", d_sae)
    weights["W_enc"] = file.matrix(next(n for n in file.shapes if renamed[n] == "W_enc")).T
    own = read_sidecar(source)
    architecture, threshold, decoder_norm = read_thresholds(file.path, thresholds, weights["W_dec"], own)
    del weights["threshold"]
    weights |= threshold
    if source.in_path(r"^embedding$"):
        root = weights["b_dec"].numel() ** 0.5
        weights |= {"W_enc": weights["W_enc"] / root, "W_dec": weights["W_dec"] * root}
    return assemble(
        file.path,
        architecture,
        weights,
        apply_b_dec_to_input=False,
        decoder_norm=decoder_norm,
        metadata=own.metadata or _metadata(source),
        device=device,
        dtype=dtype,
    )


def _metadata(source: Source) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    release = source.in_path(r"gemma-scope-(\w+)-(pt|it)-(\w+)")
    layer = source.in_path(r"^layer_(\d+)$")
    if release:
        metadata["model_name"] = f"google/gemma-2-{release[1]}" + ("-it" if release[2] == "it" else "")
    if layer and release and release[3] in _KINDS:
        metadata["hook_name"] = f"blocks.{layer[1]}.{_KINDS[release[3]]}"
        if release[3] == "att":
            metadata["reshape_activations"] = "hook_z"
    elif layer and release and release[3] == "transcoders":
        metadata["hook_name"] = f"blocks.{layer[1]}.hook_mlp_in"
        metadata["hook_name_out"] = f"blocks.{layer[1]}.hook_mlp_out"
    elif source.in_path(r"^embedding$"):
        metadata["hook_name"] = "blocks.0.hook_resid_pre"
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, THRESHOLDED, transcoder="any")


def write(sae: SAE, folder: Path) -> None:
    """Write params.npz, and beside it what it cannot hold."""
    check(sae)
    weights = {**uncentred(sae), "threshold": thresholds_of(sae)}
    weights["W_enc"] = weights["W_enc"].T
    arrays: dict[str, Any] = {
        name: np.ascontiguousarray(weights[name].detach().float().cpu().numpy()) for name in NAMES
    }
    with written_whole(folder) as partial:
        np.savez(partial / WEIGHTS_FILE, **arrays)
        write_sidecar(sae, partial)
