"""Transcoders as circuit-tracer reads them: layer_{n}.safetensors. ReLU or JumpReLU, with or without a skip.

Facts from SAELens' loader for the Qwen 3 transcoders and from circuit-tracer: W_enc and W_dec are [latents,
width] both, b_enc, b_dec, perhaps W_skip [d_out, d_in] and activation_function.threshold [latents].
"""

from pathlib import Path

import torch

from mistudio.sae.config import StandardConfig
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
    write_safetensors,
    write_sidecar,
)
from mistudio.sae.formats.source import Source

TITLE = FORMATS["circuit_tracer"].title

_NAMES = {"W_enc", "W_dec", "b_enc", "b_dec"}
_THRESHOLD = "activation_function.threshold"


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    name = source.find("*.safetensors")
    if name is None or not source.tensors(name).shapes.keys() >= _NAMES:
        return False
    shapes = source.tensors(name).shapes
    return shapes["W_enc"][:1] == shapes["W_dec"][:1] == shapes["b_enc"]


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read one layer's file."""
    file = source.tensors(source.find("*.safetensors") or "layer_0.safetensors")
    own = read_sidecar(source)
    weights = {name: file.take(name) for name in _NAMES}
    if "W_skip" in file.shapes:
        weights["W_skip"] = file.take("W_skip")
    architecture, decoder_norm = own.architecture, own.decoder_norm
    if _THRESHOLD in file.shapes:
        thresholds = file.take(_THRESHOLD, file.shapes["b_enc"])
        architecture, threshold, decoder_norm = read_thresholds(file.path, thresholds, weights["W_dec"], own)
        weights |= threshold
    elif not isinstance(architecture, StandardConfig):
        architecture = StandardConfig()
    layer = source.in_path(r"^layer_(\d+)\.safetensors$", file.path)
    metadata = own.metadata
    if layer and not metadata:
        metadata = {f"hook_name{side}": f"blocks.{layer[1]}.hook_mlp_{kind}" for side, kind in _SIDES}
    return assemble(
        file.path,
        architecture,
        weights,
        apply_b_dec_to_input=False,
        decoder_norm=decoder_norm,
        metadata=metadata,
        device=device,
        dtype=dtype,
    )


_SIDES = (("", "in"), ("_out", "out"))


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, THRESHOLDED, transcoder="any", skip=True)


def write(sae: SAE, folder: Path) -> None:
    """Write one layer's file."""
    check(sae)
    weights = uncentred(sae)
    theirs = {name: weights[name] for name in sorted(_NAMES)}
    if sae.W_skip is not None:
        theirs["W_skip"] = weights["W_skip"]
    if sae.architecture.kind != "standard":
        theirs[_THRESHOLD] = thresholds_of(sae)
    parts = str(sae.metadata.get("hook_name") or "").split(".")
    layer = parts[1] if len(parts) > 2 and parts[1].isdigit() else "0"
    with written_whole(folder) as partial:
        write_safetensors(theirs, partial / f"layer_{layer}.safetensors")
        write_sidecar(sae, partial)
