"""Temporal SAEs as their authors publish them: conf.yaml and latest_ckpt.safetensors.

Facts from SAELens' loader: D [latents, width] is the decoder, E [width, latents] the encoder where that is not
the decoder's transpose, b its bias, and `sae.scaling_factor` multiplies activations before they are encoded.
"""

from pathlib import Path
from typing import Any

import torch
import yaml

from mistudio.sae.config.architectures import TemporalConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats import sae_lens_temporal
from mistudio.sae.formats.exchange import (
    assemble,
    check_holds,
    read_sidecar,
    write_safetensors,
    write_sidecar,
)
from mistudio.sae.formats.source import Source, section, whole_number

TITLE = FORMATS["temporal"].title
CONFIG_FILE, WEIGHTS_FILE = "conf.yaml", "latest_ckpt.safetensors"

_LARGEST_CONFIG = 2**18
_REQUIRED = (
    "n_heads",
    "n_attn_layers",
    "bottleneck_factor",
    "sae_diff_type",
    "kval_topk",
    "tied_weights",
    "scaling_factor",
)
_NAMES = {"D": "W_dec", "E": "W_enc", "b": "b_dec"}


def recognises(source: Source) -> bool:
    """Whether a folder looks like one of these."""
    return source.has(WEIGHTS_FILE) and source.named in (None, CONFIG_FILE, WEIGHTS_FILE)


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read both files, checked against each other."""
    where = source.folder / CONFIG_FILE
    config = _config(where)
    sae, llm = section(config, "sae", where), section(config, "llm", where)
    lacks = [key for key in _REQUIRED if key not in sae]
    if lacks:
        raise SAEFormatError(f"{where}: the section sae has no {', '.join(lacks)}.")
    file = source.tensors(WEIGHTS_FILE)
    d_in = whole_number(llm, "dimin", where)
    d_sae = file.shapes["D"][0] if len(file.shapes.get("D", [])) == 2 else 1
    theirs = file.renamed(_NAMES)
    described = sae | {
        "normalize_activations": "constant_scalar_rescale",
        "activation_normalization_factor": sae.get("scaling_factor"),
    }
    architecture, weights = sae_lens_temporal.read(described, theirs, d_in, d_sae, where)
    own = read_sidecar(source)
    layer = source.in_path(r"^layer_(\d+)$")
    made = assemble(
        where,
        architecture,
        weights,
        metadata=own.metadata or ({"hook_name": f"blocks.{layer[1]}.hook_resid_post"} if layer else {}),
        device=device,
        dtype=dtype,
    )
    factor = sae_lens_temporal.scale(described, where)
    if factor is not None and factor != 1:
        made.fold_activation_scale(factor)
    return made


def _config(where: Path) -> dict[str, Any]:
    if not where.is_file():
        raise SAEFormatError(
            f"{where.parent} has {WEIGHTS_FILE} but no {CONFIG_FILE}.", hint="Copy both files."
        )
    if where.stat().st_size > _LARGEST_CONFIG:
        raise SAEFormatError(f"{where} is larger than any configuration ({where.stat().st_size} bytes).")
    try:
        content: Any = yaml.safe_load(where.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise SAEFormatError(f"{where} is not readable YAML ({str(error)[:200]}).") from error
    if not isinstance(content, dict):
        raise SAEFormatError(f"{where} is not a configuration (a YAML mapping was expected).")
    return content


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, ("temporal",))
    if not sae.apply_b_dec_to_input:
        raise SAEFormatError(f"The format {TITLE} cannot hold an input that is not centred.")


def write(sae: SAE, folder: Path) -> None:
    """Write both files."""
    check(sae)
    assert isinstance(sae.architecture, TemporalConfig)
    back = {ours: theirs for theirs, ours in _NAMES.items()}
    weights = {back.get(name, name): t for name, t in sae_lens_temporal.weights(sae).items()}
    described = sae_lens_temporal.fields(sae)
    described["scaling_factor"] = described.pop("activation_normalization_factor")
    config = {
        "llm": {"dimin": sae.d_in},
        "sae": {"exp_factor": sae.d_sae / sae.d_in, **described},
        "data": {"dtype": str(sae.W_dec.dtype).removeprefix("torch.")},
    }
    with written_whole(folder) as partial:
        write_safetensors(weights, partial / WEIGHTS_FILE)
        (partial / CONFIG_FILE).write_text(yaml.safe_dump(config), encoding="utf-8")
        write_sidecar(sae, partial)
