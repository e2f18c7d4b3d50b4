"""Neel Nanda's layout, used by Kissane and others: 0.pt and 0_cfg.json. ReLU autoencoders and crosscoders.

Facts from the published training scripts: W_enc [width, latents], W_dec [latents, width], and for
crosscoders [layers, width, latents], [latents, layers, width] and b_dec [layers, width]. Autoencoders centre
their input, crosscoders do not.
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
    centred,
    check_holds,
    read_sidecar,
    uncentred,
    write_json,
    write_sidecar,
    write_torch,
)
from mistudio.sae.formats.source import Source

TITLE = FORMATS["nanda"].title

_NAMES = {"W_enc", "W_dec", "b_enc", "b_dec"}


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    name = source.find("*.pt", "*.pth")
    return name is not None and source.tensors(name).shapes.keys() == _NAMES


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read the file; the configuration beside it only says where the dictionary belongs."""
    file = source.tensors(source.find("*.pt", "*.pth") or "0.pt")
    W_enc, W_dec, b_dec = file.take("W_enc"), file.take("W_dec"), file.take("b_dec")
    sites = W_enc.shape[0] if W_enc.ndim == 3 else 1
    if W_enc.ndim == 3:
        W_enc, W_dec = W_enc.flatten(0, 1), W_dec.flatten(1)
    else:
        W_enc = file.matrix("W_enc")
    own = read_sidecar(source)
    config_file = f"{file.path.stem}_cfg.json"
    config = source.json(config_file) if source.has(config_file) else {}
    ours = own.architecture
    return assemble(
        file.path,
        ours if isinstance(ours, StandardConfig) else StandardConfig(),
        {"W_enc": W_enc.T, "W_dec": W_dec, "b_enc": file.take("b_enc"), "b_dec": b_dec.flatten()},
        n_sites=sites,
        apply_b_dec_to_input=sites == 1,
        decoder_norm="unit" if sites == 1 else "free",
        metadata=own.metadata or _metadata(config),
        device=device,
        dtype=dtype,
    )


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for key, names in (
        ("hook_name", ("act_name", "hook_point")),
        ("model_name", ("model_name",)),
        ("context_size", ("seq_len",)),
    ):
        value = next((config[name] for name in names if name in config), None)
        if isinstance(value, str | int):
            metadata[key] = value
    if "hook_z" in str(metadata.get("hook_name")):
        metadata["reshape_activations"] = "hook_z"
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, ("standard",), sites=True)


def write(sae: SAE, folder: Path) -> None:
    """Write both files."""
    check(sae)
    weights = centred(sae) if sae.n_sites == 1 else uncentred(sae)
    theirs = {"W_enc": weights["W_enc"].T, **{n: weights[n] for n in ("W_dec", "b_enc", "b_dec")}}
    width = sae.d_in // sae.n_sites
    if sae.n_sites > 1:
        theirs["W_enc"] = theirs["W_enc"].unflatten(0, (sae.n_sites, width))
        theirs["W_dec"] = theirs["W_dec"].unflatten(1, (sae.n_sites, width))
        theirs["b_dec"] = theirs["b_dec"].unflatten(0, (sae.n_sites, width))
    config = {
        "d_in": width,
        "act_size": width,
        "dict_size": sae.d_sae,
        "enc_dtype": "fp32",
        "act_name": sae.metadata.get("hook_name"),
        "hook_point": sae.metadata.get("hook_name"),
        "model_name": sae.metadata.get("model_name"),
    }
    with written_whole(folder) as partial:
        write_torch(theirs, partial / "0.pt")
        write_json(config, partial / "0_cfg.json")
        write_sidecar(sae, partial)
