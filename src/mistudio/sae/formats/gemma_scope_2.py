"""Gemma Scope 2: params.safetensors, with config.json. JumpReLU autoencoders, transcoders and skip transcoders.

Facts from SAELens' loader for Gemma 3: w_enc [width, latents], w_dec [latents, width], b_enc, b_dec,
threshold, and affine_skip_connection [d_in, d_out] in transcoders with one. Cross-layer transcoders have a
w_dec of three dimensions and are refused by name.
"""

import re
from pathlib import Path
from typing import Any

import torch

from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
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
    write_json,
    write_safetensors,
    write_sidecar,
)
from mistudio.sae.formats.source import Source

TITLE = FORMATS["gemma_scope_2"].title
CONFIG_FILE, WEIGHTS_FILE = "config.json", "params.safetensors"

_SKIP = "affine_skip_connection"
_MODULES = {
    "output": "hook_resid_post",
    "self_attn.o_proj.input": "attn.hook_z",
    "pre_feedforward_layernorm.output": "hook_mlp_in",
    "post_feedforward_layernorm.output": "hook_mlp_out",
}


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    name = source.find("*.safetensors")
    return name is not None and {"w_enc", "w_dec", "threshold"} <= source.tensors(name).shapes.keys()


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read the file; config.json, if there, only says where the dictionary belongs."""
    file = source.tensors(source.find("*.safetensors") or WEIGHTS_FILE)
    if len(file.shapes.get("w_dec", [])) == 3:
        raise SAEFormatError(
            f"{file.path} is one layer of a cross-layer transcoder (w_dec is {file.shapes['w_dec']}), "
            "which is not supported."
        )
    weights = {
        "W_enc": file.matrix("w_enc").T,
        "W_dec": file.matrix("w_dec"),
        "b_enc": file.take("b_enc"),
        "b_dec": file.take("b_dec"),
    }
    if _SKIP in file.shapes:
        weights["W_skip"] = file.matrix(_SKIP).T
    thresholds = file.take("threshold", file.shapes["b_enc"])
    own, about = read_sidecar(source), _metadata(source)
    architecture, threshold, decoder_norm = read_thresholds(file.path, thresholds, weights["W_dec"], own)
    return assemble(
        file.path,
        architecture,
        weights | threshold,
        apply_b_dec_to_input=False,
        decoder_norm=decoder_norm,
        metadata=own.metadata or about,
        device=device,
        dtype=dtype,
    )


def _metadata(source: Source) -> dict[str, Any]:
    config = source.json(CONFIG_FILE) if source.has(CONFIG_FILE) else {}
    metadata: dict[str, Any] = {}
    model = config.get("model_name")
    if isinstance(model, str):
        metadata["model_name"] = model if "/" in model else f"google/{model.replace('-v3', '-3')}"
    for key, theirs in (("hook_name", "hf_hook_point_in"), ("hook_name_out", "hf_hook_point_out")):
        match = re.fullmatch(r"model\.layers\.(\d+)\.([\w.]+)", str(config.get(theirs)))
        if match and match[2] in _MODULES:
            metadata[key] = f"blocks.{match[1]}.{_MODULES[match[2]]}"
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, THRESHOLDED, transcoder="any", skip=True)


def write(sae: SAE, folder: Path) -> None:
    """Write both files, and beside them what they cannot hold."""
    check(sae)
    weights = uncentred(sae)
    theirs = {
        "w_enc": weights["W_enc"].T,
        "w_dec": weights["W_dec"],
        "b_enc": weights["b_enc"],
        "b_dec": weights["b_dec"],
        "threshold": thresholds_of(sae),
    }
    if sae.W_skip is not None:
        theirs[_SKIP] = weights["W_skip"].T
    config: dict[str, Any] = {"architecture": "jump_relu"}
    if sae.metadata.get("model_name"):
        config["model_name"] = str(sae.metadata["model_name"])
    for key, name in (("hf_hook_point_in", "hook_name"), ("hf_hook_point_out", "hook_name_out")):
        match = re.fullmatch(r"blocks\.(\d+)\.([\w.]+)", str(sae.metadata.get(name)))
        module = next((m for m, hook in _MODULES.items() if match and hook == match[2]), None)
        if match and module:
            config[key] = f"model.layers.{match[1]}.{module}"
    if sae.is_transcoder:
        config["affine_connection"] = sae.W_skip is not None
    with written_whole(folder) as partial:
        write_safetensors(theirs, partial / WEIGHTS_FILE)
        write_json(config, partial / CONFIG_FILE)
        write_sidecar(sae, partial)
