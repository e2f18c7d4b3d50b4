"""Llama Scope and its successors (OpenMOSS' Language-Model-SAEs): JumpReLU with a threshold for all, or for each.

Facts from SAELens' two loaders. Llama Scope: hyperparams.json and checkpoints/final.safetensors, one
`jump_relu_threshold` in the model's own units. R1-Distill and later: config.json and sae_weights.safetensors
with `log_jumprelu_threshold` [latents]. Both: encoder.weight [latents, width], decoder.weight [width,
latents], an input that is not centred, and activations scaled to an average norm of √width where
`dataset_average_activation_norm` says what that norm was; the scale is folded into the weights here.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.sae.config import TopKConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats.exchange import (
    THRESHOLDED,
    assemble,
    check_holds,
    check_ranks_plainly,
    read_sidecar,
    read_thresholds,
    thresholds_of,
    uncentred,
    validated,
    write_json,
    write_safetensors,
    write_sidecar,
)
from mistudio.sae.formats.source import Source, number, section
from mistudio.sae.formats.tensor_files import TensorFile

TITLE = FORMATS["llama_scope"].title
CONFIG_FILE, WEIGHTS_FILE = "hyperparams.json", "checkpoints/final.safetensors"
LATER_CONFIG_FILE, LATER_WEIGHTS_FILE = "config.json", "sae_weights.safetensors"

_NORMS = "dataset_average_activation_norm"


def recognises(source: Source) -> bool:
    """Whether a folder looks like one of these."""
    if source.named in (None, CONFIG_FILE) and source.has(CONFIG_FILE):
        return True
    later = source.named in (None, LATER_CONFIG_FILE, LATER_WEIGHTS_FILE) and source.has(LATER_WEIGHTS_FILE)
    return later and "encoder.weight" in source.tensors(LATER_WEIGHTS_FILE).shapes


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read both files of either layout."""
    first = source.has(CONFIG_FILE)
    config_file = CONFIG_FILE if first else LATER_CONFIG_FILE
    where = source.folder / config_file
    config = source.json(config_file)
    file = source.tensors(WEIGHTS_FILE if first else LATER_WEIGHTS_FILE)
    weights = {
        "W_enc": file.matrix("encoder.weight"),
        "W_dec": file.matrix("decoder.weight").T,
        "b_enc": file.take("encoder.bias"),
    }
    d_out = weights["W_dec"].shape[-1]
    has_bias = "decoder.bias" in file.shapes
    weights["b_dec"] = file.take("decoder.bias") if has_bias else weights["W_dec"].new_zeros(d_out)
    scale_in, scale_out = _scales(config, file, where, weights)
    own = read_sidecar(source)
    metadata = own.metadata or _metadata(config)
    shape: dict[str, Any] = {"apply_b_dec_to_input": False, "metadata": metadata}
    if config.get("act_fn") == "topk":
        fields = own.architecture.model_dump() if isinstance(own.architecture, TopKConfig) else {}
        architecture = validated(TopKConfig, fields | {"k": config.get("top_k")}, where)
    else:
        thresholds = _thresholds(config, file, where, scale_in)
        architecture, threshold, norm = read_thresholds(where, thresholds, weights["W_dec"], own)
        weights |= threshold
        shape["decoder_norm"] = norm
    sae = assemble(where, architecture, weights, device=device, dtype=dtype, **shape)
    if (scale_in, scale_out) != (1.0, 1.0):
        sae.fold_activation_scale(scale_in, scale_out)
    return sae


def _scales(
    config: dict[str, Any], file: TensorFile, where: Path, weights: dict[str, Tensor]
) -> tuple[float, float]:
    """What the activations that are read, and those that are written, are multiplied by."""
    if config.get("norm_activation", "dataset-wise") != "dataset-wise":
        return 1.0, 1.0
    hooks = [config.get("hook_point_in"), config.get("hook_point_out") or config.get("hook_point_in")]
    stored = [f"{_NORMS}.{hook}" for hook in hooks]
    if all(name in file.shapes for name in stored):
        norms = [file.scalar(name) for name in stored]
    elif _NORMS in config:
        given = section(config, _NORMS, where)
        norms = [number(given, "in", where), number(given, "out" if "out" in given else "in", where)]
    else:
        raise SAEFormatError(
            f"{where} says that activations are scaled dataset-wise, but neither it nor the weights give "
            f"{_NORMS}.",
            hint=f'Add "{_NORMS}": {{"in": …, "out": …}} to {where.name}, from its authors or from SAELens.',
        )
    if min(norms) <= 0:
        raise SAEFormatError(f"{where}: {_NORMS} must be positive.")
    widths = weights["W_enc"].shape[-1], weights["W_dec"].shape[-1]
    return widths[0] ** 0.5 / norms[0], widths[1] ** 0.5 / norms[1]


def _thresholds(config: dict[str, Any], file: TensorFile, where: Path, scale: float) -> Tensor:
    """Thresholds [latents] in units of the scaled pre-activations."""
    shape = file.shapes["encoder.bias"]
    if "log_jumprelu_threshold" in file.shapes:
        return file.take("log_jumprelu_threshold", shape).exp()
    return torch.full(shape, number(config, "jump_relu_threshold", where) * scale)


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    hooks = config.get("hook_point_in"), config.get("hook_point_out")
    if isinstance(hooks[0], str):
        metadata["hook_name"] = hooks[0]
    if isinstance(hooks[1], str) and hooks[1] != hooks[0]:
        metadata["hook_name_out"] = hooks[1]
    if isinstance(config.get("model_name"), str):
        metadata["model_name"] = config["model_name"]
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, (*THRESHOLDED, "topk"), transcoder="any")
    check_ranks_plainly(sae, TITLE)


def write(sae: SAE, folder: Path) -> None:
    """Write both files: the first layout for one threshold (or TopK), the later one for many."""
    check(sae)
    weights = uncentred(sae)
    theirs = {
        "encoder.weight": weights["W_enc"],
        "encoder.bias": weights["b_enc"],
        "decoder.weight": weights["W_dec"].T,
        "decoder.bias": weights["b_dec"],
    }
    hook = sae.metadata.get("hook_name")
    config: dict[str, Any] = {
        "hook_point_in": hook,
        "hook_point_out": sae.metadata.get("hook_name_out") or hook,
        "model_name": sae.metadata.get("model_name"),
        "d_model": sae.d_in,
        "d_sae": sae.d_sae,
        "expansion_factor": sae.d_sae / sae.d_in,
        "use_decoder_bias": True,
        "norm_activation": "dataset-wise",
        _NORMS: {"in": sae.d_in**0.5, "out": sae.d_out**0.5},
        "sparsity_include_decoder_norm": False,
        "act_fn": "jumprelu",
    }
    names = CONFIG_FILE, WEIGHTS_FILE
    if isinstance(sae.architecture, TopKConfig):
        config |= {"act_fn": "topk", "top_k": sae.architecture.k}
    else:
        thresholds = thresholds_of(sae)
        if bool((thresholds == thresholds[0]).all()):
            config["jump_relu_threshold"] = float(thresholds[0])
        else:
            names = LATER_CONFIG_FILE, LATER_WEIGHTS_FILE
            # a logarithm cannot say 0: the smallest number acts the same
            theirs["log_jumprelu_threshold"] = thresholds.clamp_min(torch.finfo(thresholds.dtype).tiny).log()
            hooks = {config["hook_point_in"]: sae.d_in, config["hook_point_out"]: sae.d_out}
            theirs |= {f"{_NORMS}.{h}": torch.tensor(width**0.5) for h, width in hooks.items()}
    with written_whole(folder) as partial:
        (partial / names[1]).parent.mkdir(exist_ok=True)
        write_safetensors(theirs, partial / names[1])
        write_json(config, partial / names[0])
        write_sidecar(sae, partial)
