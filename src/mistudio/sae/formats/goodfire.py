"""Goodfire's open dictionaries: one PyTorch file. ReLU, input not centred.

Facts from SAELens' loader: encoder_linear.weight [latents, width], decoder_linear.weight [width, latents],
and a bias each. Model and layer stand in the file's name (Llama-3.1-8B-Instruct-SAE-l19.pth).
"""

from pathlib import Path
from typing import Any

import torch

from mistudio.sae.config import StandardConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats.exchange import (
    assemble,
    check_holds,
    read_sidecar,
    uncentred,
    write_sidecar,
    write_torch,
)
from mistudio.sae.formats.source import Source

TITLE = FORMATS["goodfire"].title
WEIGHTS_FILE = "sae.pth"


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    name = source.find("*.pt", "*.pth")
    return name is not None and "encoder_linear.weight" in source.tensors(name).shapes


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read the file."""
    file = source.tensors(source.find("*.pt", "*.pth") or WEIGHTS_FILE)
    own = read_sidecar(source)
    weights = {
        "W_enc": file.matrix("encoder_linear.weight"),
        "W_dec": file.matrix("decoder_linear.weight").T,
        "b_enc": file.take("encoder_linear.bias"),
        "b_dec": file.take("decoder_linear.bias"),
    }
    ours = own.architecture
    return assemble(
        file.path,
        ours if isinstance(ours, StandardConfig) else StandardConfig(),
        weights,
        apply_b_dec_to_input=False,
        metadata=own.metadata or _metadata(file.path),
        device=device,
        dtype=dtype,
    )


def _metadata(path: Path) -> dict[str, Any]:
    model, found, layer = path.stem.rpartition("-SAE-l")
    if not found or not layer.isdigit():
        return {}
    return {"model_name": f"meta-llama/{model}", "hook_name": f"blocks.{layer}.hook_resid_post"}


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, ("standard",))


def write(sae: SAE, folder: Path) -> None:
    """Write the file, and beside it what it cannot hold."""
    check(sae)
    weights = uncentred(sae)
    theirs = {
        "encoder_linear.weight": weights["W_enc"],
        "encoder_linear.bias": weights["b_enc"],
        "decoder_linear.weight": weights["W_dec"].T,
        "decoder_linear.bias": weights["b_dec"],
    }
    with written_whole(folder) as partial:
        write_torch(theirs, partial / WEIGHTS_FILE)
        write_sidecar(sae, partial)
