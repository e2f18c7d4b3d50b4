"""SAELens folders: cfg.json and sae_weights.safetensors (read: all releases; written: the layout of 6.x).

Their encoder is stored as [d_in, d_sae], ours as rows per latent. At inference SAELens has no BatchTopK
and no Matryoshka: they are written as JumpReLU with the fitted threshold, as SAELens itself does, and our
record in the metadata brings them back. A transcoder is ReLU or JumpReLU there, never TopK or gated.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.sae.config import (
    AbsTopKConfig,
    ArchitectureConfig,
    GatedConfig,
    MatchingPursuitConfig,
    StandardConfig,
    TopKConfig,
)
from mistudio.sae.config.architectures import TemporalConfig
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats import sae_lens_temporal
from mistudio.sae.formats.exchange import (
    OwnRecord,
    assemble,
    check_holds,
    check_ranks_plainly,
    read_thresholds,
    thresholds_of,
    validated,
    write_json,
    write_safetensors,
)
from mistudio.sae.formats.sae_lens_config import CONFIG_FILE, read_config
from mistudio.sae.formats.source import Source, number, whole_number
from mistudio.sae.formats.tensor_files import TensorFile

TITLE = FORMATS["sae_lens"].title
WEIGHTS_FILE = "sae_weights.safetensors"

_LAYOUT_VERSION = "6.0.0"
"""The oldest SAELens release that reads this layout without converting it."""
_SCALER_FILE = "activation_scaler.json"
_OWN = "mistudio"
_TRANSCODERS = {
    "transcoder": "standard",
    "skip_transcoder": "standard",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_PLAIN = ("standard", "gated", "topk", "abstopk", "jumprelu", "matching_pursuit", "temporal")
_ONLY_TRAINED = ("batchtopk", "matryoshka_batchtopk")
_THEIR_NAMES = {
    "standard": "standard",
    "gated": "gated",
    "topk": "topk",
    "abs_topk": "abstopk",
    "jump_relu": "jumprelu",
    "batch_topk": "jumprelu",
    "matryoshka": "jumprelu",
    "matching_pursuit": "matching_pursuit",
    "temporal": "temporal",
}
_TOKEN_NORMS = {"none": "none", "constant_norm_rescale": "unit_norm", "layer_norm": "layer_norm"}
_THEIR_NORMS = {ours: theirs for theirs, ours in _TOKEN_NORMS.items()}


def recognises(source: Source) -> bool:
    """Whether a folder looks like one of these (it may still be torn)."""
    if source.named not in (None, CONFIG_FILE, WEIGHTS_FILE):
        return False
    if source.has(WEIGHTS_FILE):
        return source.has(CONFIG_FILE) or "encoder.weight" not in source.tensors(WEIGHTS_FILE).shapes
    return source.has(CONFIG_FILE) and not source.has("sae.safetensors")


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read both files, checked against each other."""
    for name, other in ((CONFIG_FILE, WEIGHTS_FILE), (WEIGHTS_FILE, CONFIG_FILE)):
        if not source.has(name):
            raise SAEFormatError(f"{source.folder} has {other} but no {name}.", hint="Copy both files.")
    where = source.folder / CONFIG_FILE
    config = read_config(source)
    theirs = str(config["architecture"])
    transcoder = theirs in _TRANSCODERS
    kind = _TRANSCODERS.get(theirs, theirs)
    if kind in _ONLY_TRAINED:
        raise SAEFormatError(
            f"{where} is a checkpoint of a {kind} training, without what inference needs.",
            hint="Save it with SAELens' save_inference_model.",
        )
    if kind not in _PLAIN:
        raise SAEFormatError(
            f"{where} names the architecture {theirs[:80]!r}, which is not supported.",
            hint=f"Supported: {', '.join((*_PLAIN, *_TRANSCODERS))}.",
        )
    d_in, d_sae = whole_number(config, "d_in", where), whole_number(config, "d_sae", where)
    d_out = whole_number(config, "d_out", where) if transcoder else d_in
    own = OwnRecord.parse(config["metadata"].get(_OWN))
    file = source.tensors(WEIGHTS_FILE)
    if kind == "temporal":
        architecture, weights = sae_lens_temporal.read(config, file, d_in, d_sae, where)
        decoder_norm = "unit"
    else:
        weights = _read_weights(file, theirs, kind, d_in, d_out, d_sae)
        architecture, decoder_norm = _architecture(kind, config, weights, own, where)
    rescales = kind in ("topk", "abstopk") and config.get("rescale_acts_by_decoder_norm") is True
    token_norm, scale = _normalisation(config, source, transcoder)
    sae = assemble(
        where,
        architecture,
        weights,
        n_sites=own.n_sites,
        apply_b_dec_to_input=not transcoder and bool(config.get("apply_b_dec_to_input", True)),
        decoder_norm="free" if rescales else decoder_norm,
        token_norm=token_norm,
        metadata=_metadata(config),
        device=device,
        dtype=dtype,
    )
    if scale is not None:
        sae.fold_activation_scale(scale)
    if rescales:
        # SAELens' latents of such a dictionary already carry their decoder norms
        sae.fold_decoder_norms()
    return sae


def _read_weights(
    file: TensorFile, theirs: str, kind: str, d_in: int, d_out: int, d_sae: int
) -> dict[str, Tensor]:
    shapes = {"W_enc": [d_in, d_sae], "W_dec": [d_sae, d_out], "b_enc": [d_sae], "b_dec": [d_out]}
    if kind == "gated":
        del shapes["b_enc"]
        shapes |= {"b_gate": [d_sae], "b_mag": [d_sae], "r_mag": [d_sae]}
    elif kind == "jumprelu":
        shapes["threshold"] = [d_sae]
    elif kind == "matching_pursuit":
        del shapes["b_enc"], shapes["W_enc"]
    if "skip" in theirs:
        shapes["W_skip"] = [d_out, d_in]
    found = set(file.shapes)
    if "scaling_factor" in found:
        if bool((file.take("scaling_factor", [d_sae]) != 1).any()):
            raise SAEFormatError(f"{file.path}: scaling_factor (a finetuning scale) is not supported.")
        found.remove("scaling_factor")
    if found != shapes.keys():
        raise SAEFormatError(
            f"{file.path} holds {', '.join(sorted(found)[:20]) or 'nothing'}; expected {', '.join(sorted(shapes))}."
        )
    for name, shape in shapes.items():
        if file.shapes[name] != shape:
            raise SAEFormatError(
                f"{file.path}: {name} is {file.shapes[name]}, but {CONFIG_FILE} makes it {shape}."
            )
    weights = {name: file.take(name) for name in shapes}
    if kind == "matching_pursuit":
        return weights | {"W_enc": weights["W_dec"], "b_enc": weights["W_dec"].new_zeros(d_sae)}
    weights["W_enc"] = weights["W_enc"].T
    if kind == "gated":
        weights["b_enc"] = weights.pop("b_gate")
    return weights


def _architecture(
    kind: str, config: dict[str, Any], weights: dict[str, Tensor], own: OwnRecord, where: Path
) -> tuple[ArchitectureConfig, Any]:
    """Our settings for it, and whether its decoder norms count; what a threshold becomes is put in `weights`."""
    if kind == "jumprelu":
        architecture, threshold, norm = read_thresholds(
            where, weights.pop("threshold"), weights["W_dec"], own
        )
        weights |= threshold
        return architecture, norm
    fields = {} if own.architecture is None else own.architecture.model_dump()
    if kind == "matching_pursuit":
        if not bool(config.get("apply_b_dec_to_input", True)):
            weights["b_dec"] = torch.zeros_like(weights["b_dec"])  # not added either, then
        iterations = config.get("max_iterations")
        fields = {
            "max_iterations": weights["W_dec"].shape[1] if iterations is None else iterations,
            "residual_threshold": config.get("residual_threshold", 1e-2),
            "stop_on_duplicate": config.get("stop_on_duplicate_support", True),
        }
        return validated(MatchingPursuitConfig, fields, where), "unit"
    if kind == "abstopk":
        return validated(AbsTopKConfig, {"k": config.get("k")}, where), "unit"
    ours = {"topk": TopKConfig, "standard": StandardConfig, "gated": GatedConfig}[kind]
    fields = fields if fields.get("kind") == kind else {}
    if kind == "topk":
        return validated(ours, fields | {"k": config.get("k")}, where), "unit"
    return validated(ours, fields, where), own.decoder_norm


def _normalisation(config: dict[str, Any], source: Source, transcoder: bool) -> tuple[Any, float | None]:
    """`token_norm` of what is read, and a scale of all activations that is still to be folded in."""
    where = source.folder / CONFIG_FILE
    asked = config.get("normalize_activations", "none")
    if config["architecture"] == "temporal":
        return "none", sae_lens_temporal.scale(config, where)
    if asked == "expected_average_only_in" and source.has(_SCALER_FILE):
        return "none", number(source.json(_SCALER_FILE), "scaling_factor", source.folder / _SCALER_FILE)
    if not isinstance(asked, str) or asked not in _TOKEN_NORMS:
        raise SAEFormatError(
            f"{where} asks for normalize_activations = {str(asked)[:80]}, which the files do not carry.",
            hint="Fold the normalisation into the weights with SAELens first.",
        )
    if transcoder and asked != "none":
        raise SAEFormatError(
            f"{where} asks for normalize_activations = {asked} in a transcoder: only its input would be "
            "normalised, which is not supported."
        )
    return _TOKEN_NORMS[asked], None


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in config["metadata"].items() if k != _OWN}
    if config.get("reshape_activations", "none") != "none":
        metadata["reshape_activations"] = config["reshape_activations"]
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    transcoder = _as_transcoder(sae)
    check_holds(
        sae,
        f"{TITLE} (as a transcoder)" if transcoder else TITLE,
        ("standard", "jump_relu", "batch_topk", "matryoshka") if transcoder else tuple(_THEIR_NAMES),
        transcoder="any",
        skip=transcoder,
        token_norms=("none",) if transcoder else tuple(_THEIR_NORMS),
        sites=True,
    )
    if isinstance(sae.architecture, TopKConfig | AbsTopKConfig):
        check_ranks_plainly(sae, TITLE)
    if isinstance(sae.architecture, MatchingPursuitConfig) and not torch.equal(sae.W_enc, sae.W_dec):
        raise SAEFormatError(f"The format {TITLE} cannot hold a matching pursuit with an encoder of its own.")


def _as_transcoder(sae: SAE) -> bool:
    return sae.is_transcoder and not sae.apply_b_dec_to_input


def write(sae: SAE, folder: Path) -> None:
    """Write both files; SAELens' `SAE.load_from_disk` then gives the same latents."""
    check(sae)
    transcoder = _as_transcoder(sae)
    name = _THEIR_NAMES[sae.architecture.kind]
    if transcoder:
        plain = "transcoder" if sae.W_skip is None else "skip_transcoder"
        name = plain if name == "standard" else f"jumprelu_{plain}"
    metadata = dict(sae.metadata)
    reshape = metadata.pop("reshape_activations", "none")
    metadata.setdefault("sae_lens_version", _LAYOUT_VERSION)
    metadata.setdefault("sae_lens_training_version", None)
    metadata[_OWN] = OwnRecord.of(sae).dump()
    config: dict[str, Any] = {
        "architecture": name,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": str(sae.W_enc.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": _THEIR_NORMS[sae.token_norm],
        "reshape_activations": reshape,
        "metadata": metadata,
    }
    if transcoder:
        config["d_out"] = sae.d_out
    if isinstance(sae.architecture, TopKConfig | AbsTopKConfig):
        config |= {"k": sae.architecture.k, "rescale_acts_by_decoder_norm": False}
    if isinstance(sae.architecture, MatchingPursuitConfig):
        config |= {
            "residual_threshold": sae.architecture.residual_threshold,
            "max_iterations": sae.architecture.max_iterations,
            "stop_on_duplicate_support": sae.architecture.stop_on_duplicate,
        }
    if isinstance(sae.architecture, TemporalConfig):
        config |= sae_lens_temporal.fields(sae)
    with written_whole(folder) as partial:
        write_safetensors(_their_weights(sae), partial / WEIGHTS_FILE)
        write_json(config, partial / CONFIG_FILE)


def _their_weights(sae: SAE) -> dict[str, Tensor]:
    kind = _THEIR_NAMES[sae.architecture.kind]
    if kind == "matching_pursuit":
        return {"W_dec": sae.W_dec, "b_dec": sae.b_dec}
    if kind == "temporal":
        return sae_lens_temporal.weights(sae)
    weights: dict[str, Tensor] = {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    weights["b_gate" if kind == "gated" else "b_enc"] = sae.b_enc
    if kind == "gated":
        weights |= {name: sae.get_parameter(name) for name in ("b_mag", "r_mag")}
    if kind == "jumprelu":
        weights["threshold"] = thresholds_of(sae)
    if sae.W_skip is not None:
        weights["W_skip"] = sae.W_skip
    return weights
