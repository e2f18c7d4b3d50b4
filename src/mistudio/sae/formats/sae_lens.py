"""SAELens 6.x folders: cfg.json and sae_weights.safetensors.

Their encoder is stored as [d_in, d_sae], ours as rows per latent. Not representable here yet, and refused by
name: activation normalisation at run time, and architectures other than standard and topk.
"""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mistudio.sae.config import ArchitectureConfig, StandardConfig, TopKConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import recover, written_whole

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
DESCRIPTION = f"SAELens 6 ({CONFIG_FILE} and {WEIGHTS_FILE})"

_LAYOUT_VERSION = "6.0.0"
"""The oldest SAELens release that reads this layout without converting it."""
_CONFIGS: dict[str, type[TopKConfig | StandardConfig]] = {"topk": TopKConfig, "standard": StandardConfig}
_OWN = "mistudio"


def recognises(folder: Path) -> bool:
    """Whether a folder looks like one of these (it may still be torn)."""
    recover(folder)
    return (folder / CONFIG_FILE).exists() or (folder / WEIGHTS_FILE).exists()


def write(sae: SAE, folder: Path) -> None:
    """Write both files; SAELens' `SAE.load_from_disk` then gives the same latents."""
    if sae.architecture.kind not in _CONFIGS:
        raise SAEFormatError(f"SAELens' format cannot hold a {sae.architecture.kind} dictionary yet.")
    dtype = str(sae.W_enc.dtype).removeprefix("torch.")
    metadata = dict(sae.metadata)
    reshape = metadata.pop("reshape_activations", "none")
    metadata.setdefault("sae_lens_version", _LAYOUT_VERSION)
    metadata.setdefault("sae_lens_training_version", None)
    metadata[_OWN] = {"architecture": sae.architecture.model_dump(mode="json")}
    config: dict[str, Any] = {
        "architecture": sae.architecture.kind,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": dtype,
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": reshape,
        "metadata": metadata,
    }
    if isinstance(sae.architecture, TopKConfig):
        config |= {
            "k": sae.architecture.k,
            "rescale_acts_by_decoder_norm": sae.decoder_norm == "free",
        }
    W_enc, b_enc = sae.W_enc, sae.b_enc
    weights = {"W_enc": W_enc.T, "W_dec": sae.W_dec, "b_enc": b_enc, "b_dec": sae.b_dec}
    with written_whole(folder) as partial:
        save_file({n: t.detach().cpu().contiguous() for n, t in weights.items()}, partial / WEIGHTS_FILE)
        (partial / CONFIG_FILE).write_text(json.dumps(config, indent=1), encoding="utf-8")


def read(folder: Path, *, device: torch.device | str, dtype: torch.dtype) -> SAE:
    """Read both files, checked against each other."""
    config = _read_config(folder)
    d_in, d_sae = _size(config, "d_in", folder), _size(config, "d_sae", folder)
    architecture = _architecture(config, folder)
    if isinstance(architecture, TopKConfig) and architecture.k > d_sae:
        raise SAEFormatError(
            f"{folder / CONFIG_FILE}: k is {architecture.k}, but there are only {d_sae} latents."
        )
    rescales = architecture.kind == "topk" and config.get("rescale_acts_by_decoder_norm") is True
    metadata = {k: v for k, v in config["metadata"].items() if k != _OWN}
    if config.get("reshape_activations", "none") != "none":
        metadata["reshape_activations"] = config["reshape_activations"]
    weights = _read_weights(folder, d_in, d_sae)
    sae = SAE(
        architecture,
        d_in,
        d_sae,
        apply_b_dec_to_input=bool(config.get("apply_b_dec_to_input", True)),
        decoder_norm="free" if rescales else "unit",
        metadata=metadata,
        device=device,
        dtype=dtype,
    )
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            parameter.copy_(weights[name].T if name == "W_enc" else weights[name])
    if rescales:
        # SAELens' latents of such a dictionary already carry their decoder norms
        sae.fold_decoder_norms()
    return sae


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise SAEFormatError(f"{folder} has {WEIGHTS_FILE} but no {CONFIG_FILE}.", hint="Copy both files.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SAEFormatError(f"{path} is not readable JSON ({error}).") from error
    if not isinstance(config, dict) or not isinstance(config.get("metadata", {}), dict):
        raise SAEFormatError(f"{path} is not a SAELens configuration (a JSON object was expected).")
    config.setdefault("metadata", {})
    version = config["metadata"].get("sae_lens_version") or config.get("sae_lens_version")
    if not isinstance(version, str) or not version.split(".")[0].isdigit() or int(version.split(".")[0]) < 6:
        raise SAEFormatError(
            f"{path} was written by SAELens {version or 'of an unknown version'}, in a layout older than 6.",
            hint="Load and save it with SAELens 6 first.",
        )
    normalisation = config.get("normalize_activations", "none")
    if normalisation != "none":
        raise SAEFormatError(
            f"{path} asks for normalize_activations = {normalisation}, which is not supported.",
            hint="Fold the normalisation into the weights with SAELens first.",
        )
    return config


def _architecture(config: dict[str, Any], folder: Path) -> ArchitectureConfig:
    kind = config.get("architecture")
    if not isinstance(kind, str) or kind not in _CONFIGS:
        raise SAEFormatError(
            f"{folder / CONFIG_FILE} names the architecture {kind!r}, which is not supported.",
            hint=f"Supported: {', '.join(_CONFIGS)}.",
        )
    own = config["metadata"].get(_OWN)
    fields = own.get("architecture") if isinstance(own, dict) else None
    fields = dict(fields) if isinstance(fields, dict) and fields.get("kind") == kind else {}
    if kind == "topk":
        fields["k"] = config.get("k")
    try:
        return _CONFIGS[kind].model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise SAEFormatError(f"{folder / CONFIG_FILE}: {where}: {problem['msg']}.") from error


def _size(config: dict[str, Any], key: str, folder: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SAEFormatError(f"{folder / CONFIG_FILE}: {key} must be a positive whole number, not {value!r}.")
    return value


def _read_weights(folder: Path, d_in: int, d_sae: int) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise SAEFormatError(f"{folder} has {CONFIG_FILE} but no {WEIGHTS_FILE}.", hint="Copy both files.")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SAEFormatError(
            f"{path} is incomplete or not a safetensors file ({error}).", hint="Copy or download it again."
        ) from error
    shapes = {"W_enc": [d_in, d_sae], "W_dec": [d_sae, d_in], "b_enc": [d_sae], "b_dec": [d_in]}
    if weights.keys() != shapes.keys():
        raise SAEFormatError(
            f"{path} holds {', '.join(sorted(weights)) or 'nothing'}; expected {', '.join(sorted(shapes))}."
        )
    for name, shape in shapes.items():
        tensor = weights[name]
        if list(tensor.shape) != shape:
            raise SAEFormatError(
                f"{path}: {name} is {list(tensor.shape)}, but {CONFIG_FILE} makes it {shape}."
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise SAEFormatError(f"{path}: {name} holds values that are not finite numbers.")
    return weights
