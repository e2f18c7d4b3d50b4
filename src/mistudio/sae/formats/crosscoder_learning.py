"""Crosscoders of the dictionary_learning family (science-of-finetuning): model.safetensors or a .pt, config.json.

Facts from its `CrossCoder` and `BatchTopKCrossCoder`: encoder.weight [layers, width, latents], decoder.weight
[layers, latents, width], decoder.bias [layers, width]; ReLU, or what exceeds `threshold` when multiplied by
the decoder norm that `code_normalization_id` names. Activations are read here layer after layer, [N, layers·width].
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.sae.config import ArchitectureConfig, BatchTopKConfig, JumpReLUConfig, StandardConfig
from mistudio.sae.dictionary import SAE, DecoderNorm
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats.exchange import (
    assemble,
    check_holds,
    read_sidecar,
    uncentred,
    validated,
    write_json,
    write_safetensors,
    write_sidecar,
)
from mistudio.sae.formats.source import Source
from mistudio.sae.formats.tensor_files import TensorFile

TITLE = FORMATS["crosscoder_learning"].title
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"

_NORMALISATIONS = {1: "CROSSCODER", 2: "SAE", 3: "MIXED", 4: "NONE", 5: "DECOUPLED"}
_REQUIRED = {"encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"}
_OPTIONAL = {"code_normalization_id", "k", "threshold"}


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    name = _file(source)
    return name is not None and len(source.tensors(name).shapes.get("encoder.weight", [])) == 3


def _file(source: Source) -> str | None:
    return source.find("*.safetensors") or source.find("*.pt", "*.pth")


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read the weights; how norms count is read from them too."""
    file = source.tensors(_file(source) or WEIGHTS_FILE)
    strange = sorted(set(file.shapes) - _REQUIRED - _OPTIONAL)
    if strange:
        raise SAEFormatError(f"{file.path} holds {', '.join(strange[:5])}, which is not supported.")
    encoder, decoder = file.take("encoder.weight"), file.take("decoder.weight")
    sites, width, d_sae = encoder.shape
    if list(decoder.shape) != [sites, d_sae, width]:
        raise SAEFormatError(
            f"{file.path}: the encoder is {list(encoder.shape)} and the decoder {list(decoder.shape)}; "
            "crosscoders that read and write different layers are not supported."
        )
    if source.has(CONFIG_FILE):
        source.json(CONFIG_FILE)  # nothing is needed from it, but torn it means a torn copy
    own = read_sidecar(source)
    weights = {
        "W_enc": encoder.permute(2, 0, 1).reshape(d_sae, -1),
        "W_dec": decoder.permute(1, 0, 2).reshape(d_sae, -1),
        "b_enc": file.take("encoder.bias", [d_sae]),
        "b_dec": file.take("decoder.bias", [sites, width]).reshape(-1),
    }
    architecture: ArchitectureConfig = (
        own.architecture if isinstance(own.architecture, StandardConfig) else StandardConfig()
    )
    decoder_norm: DecoderNorm = "free"
    if "k" in file.shapes:
        architecture, decoder_norm = _batch_topk(file, weights, own.architecture)
    return assemble(
        file.path,
        architecture,
        weights,
        n_sites=sites,
        apply_b_dec_to_input=False,
        decoder_norm=decoder_norm,
        metadata=own.metadata,
        device=device,
        dtype=dtype,
    )


def _batch_topk(
    file: TensorFile, weights: dict[str, Tensor], own: ArchitectureConfig | None
) -> tuple[ArchitectureConfig, DecoderNorm]:
    """The architecture of a file with a threshold, which is put into `weights`."""
    number = file.whole("code_normalization_id") if "code_normalization_id" in file.shapes else 1
    normalisation = _NORMALISATIONS.get(number, str(number))
    threshold = torch.tensor(max(0.0, file.scalar("threshold")), dtype=torch.float64)
    if normalisation == "SAE":
        weights["threshold"] = threshold.float() / weights["W_dec"].float().norm(dim=1).clamp_min(1e-8)
        return validated(JumpReLUConfig, {"target_l0": None}, file.path), "unit"
    if normalisation not in ("CROSSCODER", "NONE"):
        raise SAEFormatError(
            f"{file.path} weighs its latents by the code normalisation {normalisation}, which is not supported.",
            hint="Supported: CROSSCODER, SAE, NONE.",
        )
    weights["threshold"] = threshold
    fields = own.model_dump() if isinstance(own, BatchTopKConfig) else {}
    architecture = validated(BatchTopKConfig, fields | {"k": file.whole("k")}, file.path)
    return architecture, "free" if normalisation == "CROSSCODER" else "unit"


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, ("standard", "batch_topk"), sites=True)
    if sae.n_sites == 1:
        raise SAEFormatError(f"The format {TITLE} holds crosscoders only, and this reads one layer.")


def write(sae: SAE, folder: Path) -> None:
    """Write both files."""
    check(sae)
    weights = uncentred(sae)
    sites, m = sae.n_sites, sae.d_sae
    number = 1 if sae.decoder_norm == "free" else 4
    theirs = {
        "encoder.weight": weights["W_enc"].reshape(m, sites, -1).permute(1, 2, 0),
        "encoder.bias": weights["b_enc"],
        "decoder.weight": weights["W_dec"].reshape(m, sites, -1).permute(1, 0, 2),
        "decoder.bias": weights["b_dec"].reshape(sites, -1),
        "code_normalization_id": torch.tensor(number),
    }
    config: dict[str, Any] = {
        "activation_dim": sae.d_in // sites,
        "dict_size": m,
        "num_layers": sites,
        "code_normalization": _NORMALISATIONS[number],
    }
    if isinstance(sae.architecture, BatchTopKConfig):
        config["k"] = sae.architecture.k
        theirs["k"] = torch.tensor(sae.architecture.k, dtype=torch.int)
        theirs["threshold"] = weights["threshold"].float()
    with written_whole(folder) as partial:
        write_safetensors(theirs, partial / WEIGHTS_FILE)
        write_json(config, partial / CONFIG_FILE)
        write_sidecar(sae, partial)
