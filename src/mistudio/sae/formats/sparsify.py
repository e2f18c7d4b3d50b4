"""EleutherAI's sparsify: cfg.json and sae.safetensors, one folder per hook point. TopK, also as transcoder.

Facts from its `SparseCoder`: encoder.weight and W_dec are [latents, width] both; the input is centred by
b_dec unless `transcode`; W_skip·x is added where `skip_connection`.
"""

import re
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
    centred,
    check_holds,
    check_ranks_plainly,
    read_sidecar,
    uncentred,
    validated,
    write_json,
    write_safetensors,
    write_sidecar,
)
from mistudio.sae.formats.source import Source, whole_number

TITLE = FORMATS["sparsify"].title
CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae.safetensors"

_BOOLEANS = {"transcode": False, "skip_connection": False}
_KIND_OF_MODULE = {
    "": "resid_post",
    "mlp": "mlp_out",
    "attn": "attn_out",
    "attention": "attn_out",
    "self_attn": "attn_out",
}


def recognises(source: Source) -> bool:
    """Whether a folder looks like one of these."""
    return source.has(WEIGHTS_FILE) and source.named in (None, CONFIG_FILE, WEIGHTS_FILE)


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read both files, checked against each other."""
    where = source.folder / CONFIG_FILE
    config = source.json(CONFIG_FILE)
    activation = config.get("activation", "topk")
    if activation != "topk" or config.get("signed"):
        signed = "signed TopK" if config.get("signed") else str(activation)[:80]
        raise SAEFormatError(
            f"{where} names the activation {signed!r}, which is not supported.", hint="Supported: topk."
        )
    flags = {key: config.get(key, default) for key, default in _BOOLEANS.items()}
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise SAEFormatError(f"{where}: {key} must be true or false, not {str(value)[:80]!r}.")
    d_in = whole_number(config, "d_in", where)
    given = config.get("num_latents") not in (None, 0)
    d_sae = (
        whole_number(config, "num_latents", where)
        if given
        else d_in * whole_number(config, "expansion_factor", where)
    )
    file = source.tensors(WEIGHTS_FILE)
    weights = {
        "W_enc": file.take("encoder.weight", [d_sae, d_in]),
        "b_enc": file.take("encoder.bias", [d_sae]),
        "W_dec": file.take("W_dec", [d_sae, d_in]),
        "b_dec": file.take("b_dec", [d_in]),
    }
    if flags["skip_connection"]:
        weights["W_skip"] = file.take("W_skip", [d_in, d_in])
    own = read_sidecar(source)
    fields = own.architecture.model_dump() if isinstance(own.architecture, TopKConfig) else {}
    return assemble(
        where,
        validated(TopKConfig, fields | {"k": config.get("k")}, where),
        weights,
        apply_b_dec_to_input=not flags["transcode"],
        metadata=own.metadata or _metadata(source, flags["transcode"]),
        device=device,
        dtype=dtype,
    )


def _metadata(source: Source, transcode: bool) -> dict[str, Any]:
    """What the folder's name and the run's configuration above it say."""
    metadata: dict[str, Any] = {}
    name = source.folder.absolute().name
    match = re.fullmatch(r"(?:\w+\.)*?(?:layers|h|blocks)[._](\d+)(?:\.(\w+))?", name)
    if match and (match[2] or "") in _KIND_OF_MODULE:
        kind = _KIND_OF_MODULE[match[2] or ""]
        metadata["hook_name"] = f"blocks.{match[1]}.hook_{kind}"
        if transcode and kind == "mlp_out":
            metadata["hook_name"] = f"blocks.{match[1]}.hook_mlp_in"
            metadata["hook_name_out"] = f"blocks.{match[1]}.hook_mlp_out"
    try:
        run = Source(source.folder.absolute().parent).json("config.json")
    except SAEFormatError:
        return metadata
    for key, theirs in (("model_name", "model"), ("dataset_path", "dataset")):
        if isinstance(run.get(theirs), str):
            metadata[key] = run[theirs]
    if isinstance(run.get("ctx_len"), int):
        metadata["context_size"] = run["ctx_len"]
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, ("topk",), transcoder="same width", skip=True)
    check_ranks_plainly(sae, TITLE)


def write(sae: SAE, folder: Path) -> None:
    """Write both files; sparsify's `SparseCoder.load_from_disk` then gives the same latents."""
    check(sae)
    assert isinstance(sae.architecture, TopKConfig)
    transcode = sae.is_transcoder and not sae.apply_b_dec_to_input
    weights = uncentred(sae) if transcode else centred(sae)
    theirs = {
        "encoder.weight": weights["W_enc"],
        "encoder.bias": weights["b_enc"],
        "W_dec": weights["W_dec"],
        "b_dec": weights["b_dec"],
    }
    if sae.W_skip is not None:
        theirs["W_skip"] = weights["W_skip"]
    config = {
        "activation": "topk",
        "expansion_factor": max(1, sae.d_sae // sae.d_in),
        "normalize_decoder": bool((sae.decoder_norms() - 1).abs().max() < 1e-3),
        "num_latents": sae.d_sae,
        "k": sae.architecture.k,
        "multi_topk": False,
        "skip_connection": sae.W_skip is not None,
        "transcode": transcode,
        "d_in": sae.d_in,
    }
    with written_whole(folder) as partial:
        write_safetensors(theirs, partial / WEIGHTS_FILE)
        write_json(config, partial / CONFIG_FILE)
        write_sidecar(sae, partial)
