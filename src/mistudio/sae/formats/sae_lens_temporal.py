"""What SAELens' files say of a temporal dictionary: attention layers, and an encoder that may be the decoder."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.sae.architectures.temporal import Temporal
from mistudio.sae.config.architectures import TemporalConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.formats.exchange import validated
from mistudio.sae.formats.source import number
from mistudio.sae.formats.tensor_files import TensorFile


def read(
    config: dict[str, Any], file: TensorFile, d_in: int, d_sae: int, where: Path
) -> tuple[TemporalConfig, dict[str, Tensor]]:
    """Settings, and weights as rows per latent."""
    topk = config.get("sae_diff_type", "topk") == "topk"
    fields = {
        "k": config.get("kval_topk") if topk else None,
        "n_heads": config.get("n_heads", 8),
        "n_layers": config.get("n_attn_layers", 1),
        "bottleneck_factor": config.get("bottleneck_factor", 64),
    }
    architecture = validated(TemporalConfig, fields, where)
    tied = config.get("tied_weights", True) is True
    centred = config.get("apply_b_dec_to_input", True) is True
    shapes = {"W_dec": [d_sae, d_in], "b_dec": [d_in]} | ({} if tied else {"W_enc": [d_in, d_sae]})
    shapes |= dict(Temporal.weight_shapes(architecture, d_sae))
    if file.shapes.keys() != shapes.keys():
        strange = sorted(file.shapes.keys() ^ shapes.keys())[:6]
        raise SAEFormatError(f"{file.path}: {', '.join(strange)} should not be there, or is missing.")
    weights = {name: file.take(name, shape) for name, shape in shapes.items()}
    weights["W_enc"] = weights["W_dec"] if tied else weights["W_enc"].T
    weights["b_enc"] = weights["W_dec"].new_zeros(d_sae)
    if tied and not centred:
        weights["b_dec"] = torch.zeros_like(weights["b_dec"])  # not added either, then
    return architecture, weights


def scale(config: dict[str, Any], where: Path) -> float | None:
    """What activations are multiplied by before they are encoded."""
    asked = config.get("normalize_activations", "none")
    if asked == "none":
        return None
    if asked != "constant_scalar_rescale":
        raise SAEFormatError(
            f"{where} asks for normalize_activations = {str(asked)[:80]} in a temporal dictionary, which is "
            "not supported.",
            hint="Supported: none, constant_scalar_rescale.",
        )
    factor = number(config, "activation_normalization_factor", where)
    if factor <= 0:
        raise SAEFormatError(f"{where}: activation_normalization_factor must be positive, not {factor}.")
    return factor


def fields(sae: SAE) -> dict[str, Any]:
    """What cfg.json says of it besides the sizes."""
    architecture = sae.architecture
    assert isinstance(architecture, TemporalConfig)
    return {
        "n_heads": architecture.n_heads,
        "n_attn_layers": architecture.n_layers,
        "bottleneck_factor": architecture.bottleneck_factor,
        "sae_diff_type": "relu" if architecture.k is None else "topk",
        "kval_topk": architecture.k,
        "tied_weights": _tied(sae),
        "activation_normalization_factor": 1.0,
    }


def weights(sae: SAE) -> dict[str, Tensor]:
    """Its weights by SAELens' names."""
    attention = {name: t for name, t in sae.named_parameters() if name.startswith("attn_layers.")}
    encoder = {} if _tied(sae) else {"W_enc": sae.W_enc.T}
    return {"W_dec": sae.W_dec, "b_dec": sae.b_dec} | encoder | attention


def _tied(sae: SAE) -> bool:
    return sae.apply_b_dec_to_input and torch.equal(sae.W_enc, sae.W_dec)
