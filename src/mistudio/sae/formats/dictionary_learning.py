"""dictionary_learning: ae.pt, a state dict of one of seven classes, and config.json, which names the class.

Facts from its `dictionary.py` and `trainers/`: nn.Linear weights are [out, in]; W_enc is [width, latents]
and W_dec [latents, width] in the classes that have them; only JumpReluAutoEncoder and AutoEncoderNew do not
centre their input. BatchTopKSAE and MatryoshkaBatchTopKSAE keep, at inference, what exceeds `threshold`.
"""

from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.sae.architectures.matryoshka import Matryoshka
from mistudio.sae.config import (
    ArchitectureConfig,
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    StandardConfig,
    TopKConfig,
)
from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import written_whole
from mistudio.sae.format_info import FORMATS
from mistudio.sae.formats.exchange import (
    OwnRecord,
    assemble,
    centred,
    check_holds,
    check_ranks_plainly,
    read_sidecar,
    thresholds_of,
    uncentred,
    validated,
    write_json,
    write_sidecar,
    write_torch,
)
from mistudio.sae.formats.source import Source
from mistudio.sae.formats.tensor_files import TensorFile

TITLE = FORMATS["dictionary_learning"].title
CONFIG_FILE, WEIGHTS_FILE = "config.json", "ae.pt"

_CLASSES = {
    "AutoEncoder": "standard",
    "AutoEncoderNew": "standard",
    "GatedAutoEncoder": "gated",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batch_topk",
    "MatryoshkaBatchTopKSAE": "matryoshka",
    "JumpReluAutoEncoder": "jump_relu",
}
_UNCENTRED = ("AutoEncoderNew", "JumpReluAutoEncoder")
_DECODER_BIAS = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias", "GatedAutoEncoder": "decoder_bias"}
_TRANSPOSED = ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder")
_TRAINERS = {
    "AutoEncoder": "StandardTrainer",
    "AutoEncoderNew": "StandardTrainerAprilUpdate",
    "GatedAutoEncoder": "GatedSAETrainer",
    "AutoEncoderTopK": "TopKTrainer",
    "BatchTopKSAE": "BatchTopKTrainer",
    "MatryoshkaBatchTopKSAE": "MatryoshkaBatchTopKTrainer",
    "JumpReluAutoEncoder": "JumpReluTrainer",
}
_CONFIGS = {
    "standard": StandardConfig,
    "gated": GatedConfig,
    "topk": TopKConfig,
    "batch_topk": BatchTopKConfig,
    "matryoshka": MatryoshkaConfig,
}


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    if source.named in (None, CONFIG_FILE, WEIGHTS_FILE) and source.has(WEIGHTS_FILE):
        return True
    name = source.find("*.pt", "*.pth")
    return name is not None and _class_by_tensors(source.tensors(name)) is not None


def _class_by_tensors(file: TensorFile) -> str | None:
    """The class whose state dict this is, as far as names tell."""
    names = {name for name in file.shapes if name not in ("k", "threshold")}
    linear = {"encoder.weight", "decoder.weight"}
    if any(len(file.shapes[name]) != 2 for name in linear & names):
        return None
    by_names = {
        frozenset(linear | {"encoder.bias", "bias"}): "AutoEncoder",
        frozenset(linear | {"encoder.bias", "decoder.bias"}): "AutoEncoderNew",
        frozenset(linear | {"decoder_bias", "r_mag", "gate_bias", "mag_bias"}): "GatedAutoEncoder",
        frozenset(linear | {"encoder.bias", "b_dec"}): "AutoEncoderTopK or BatchTopKSAE",
        frozenset({"W_enc", "b_enc", "W_dec", "b_dec", "group_sizes"}): "MatryoshkaBatchTopKSAE",
    }
    found = by_names.get(frozenset(names))
    if found is None and names == {"W_enc", "b_enc", "W_dec", "b_dec"} and "threshold" in file.shapes:
        return "JumpReluAutoEncoder"
    return found


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read ae.pt as the class that config.json names, or that its tensors show."""
    plain = source.named in (None, CONFIG_FILE, WEIGHTS_FILE) and source.has(WEIGHTS_FILE)
    file = source.tensors(WEIGHTS_FILE if plain else source.find("*.pt", "*.pth") or WEIGHTS_FILE)
    trainer, buffer = _config(source)
    named = trainer.get("dict_class") or _class_by_tensors(file)
    if not isinstance(named, str) or named not in _CLASSES:
        raise SAEFormatError(
            f"{file.path} is of the class {str(named)[:80]}, which is not supported by that name.",
            hint=f"{CONFIG_FILE} must give trainer.dict_class as one of {', '.join(_CLASSES)}.",
        )
    weights = _weights(file, named)
    own = read_sidecar(source)
    architecture = _architecture(named, file, trainer, own, weights)
    return assemble(
        file.path,
        architecture,
        weights,
        apply_b_dec_to_input=named not in _UNCENTRED,
        metadata=own.metadata or _metadata(trainer, buffer),
        device=device,
        dtype=dtype,
    )


def _config(source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    if not source.has(CONFIG_FILE):
        return {}, {}
    config = source.json(CONFIG_FILE)
    parts = [config.get("trainer"), config.get("buffer")]
    trainer, buffer = [part if isinstance(part, dict) else {} for part in parts]
    return trainer, buffer


def _weights(file: TensorFile, named: str) -> dict[str, Tensor]:
    if named in _TRANSPOSED:
        W_enc, W_dec, b_enc = file.matrix("W_enc").T, file.matrix("W_dec"), file.take("b_enc")
    else:
        W_enc, W_dec = file.matrix("encoder.weight"), file.matrix("decoder.weight").T
        b_enc = file.take("gate_bias" if named == "GatedAutoEncoder" else "encoder.bias")
    weights = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": b_enc}
    weights["b_dec"] = file.take(_DECODER_BIAS.get(named, "b_dec"))
    if named == "GatedAutoEncoder":
        weights |= {"r_mag": file.take("r_mag"), "b_mag": file.take("mag_bias")}
    if named == "JumpReluAutoEncoder":
        weights["threshold"] = file.take("threshold").clamp_min(0)
    if _CLASSES[named] in ("batch_topk", "matryoshka"):
        weights["threshold"] = torch.tensor(max(0.0, file.scalar("threshold")), dtype=torch.float64)
    return weights


def _architecture(
    named: str,
    file: TensorFile,
    trainer: dict[str, Any],
    own: OwnRecord,
    weights: dict[str, Tensor],
) -> ArchitectureConfig:
    kind = _CLASSES[named]
    ours = own.architecture
    fields = ours.model_dump() if ours is not None and ours.kind == kind else {}
    if kind == "jump_relu":
        return validated(JumpReLUConfig, fields or {"target_l0": None}, file.path)
    if kind in ("topk", "batch_topk", "matryoshka"):
        fields["k"] = file.whole("k") if "k" in file.shapes else trainer.get("k")
    if kind == "matryoshka":
        d_sae = weights["W_enc"].shape[0]
        sizes = file.whole_numbers("group_sizes")
        if min(sizes, default=0) < 1 or sum(sizes) != d_sae:
            raise SAEFormatError(f"{file.path}: group_sizes must be positive and add up to {d_sae} latents.")
        widths = list(accumulate(sizes))[:-1]
        if not (isinstance(ours, MatryoshkaConfig) and Matryoshka(ours).widths(d_sae) == [*widths, d_sae]):
            fields["prefix_fractions"] = [width / d_sae for width in widths]
    return validated(_CONFIGS[kind], fields, file.path)


def _metadata(trainer: dict[str, Any], buffer: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if isinstance(trainer.get("lm_name"), str):
        metadata["model_name"] = trainer["lm_name"]
    if isinstance(trainer.get("layer"), int):
        where = str(trainer.get("submodule_name") or "")
        kind = "mlp_out" if "mlp" in where else "attn_out" if "att" in where else "resid_post"
        metadata["hook_name"] = f"blocks.{trainer['layer']}.hook_{kind}"
    if isinstance(buffer.get("ctx_len"), int):
        metadata["context_size"] = buffer["ctx_len"]
    return metadata


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    check_holds(sae, TITLE, tuple(dict.fromkeys(_CLASSES.values())))
    check_ranks_plainly(sae, TITLE)


def write(sae: SAE, folder: Path) -> None:
    """Write both files; the class named in config.json then loads ae.pt and gives the same latents."""
    check(sae)
    kind = sae.architecture.kind
    fits = [name for name, k in _CLASSES.items() if k == kind]
    named = next((n for n in fits if (n in _UNCENTRED) != sae.apply_b_dec_to_input), fits[0])
    weights = uncentred(sae) if named in _UNCENTRED else centred(sae)
    theirs: dict[str, Any] = {_DECODER_BIAS.get(named, "b_dec"): weights["b_dec"]}
    if named in _TRANSPOSED:
        theirs |= {"W_enc": weights["W_enc"].T, "W_dec": weights["W_dec"], "b_enc": weights["b_enc"]}
    else:
        theirs |= {"encoder.weight": weights["W_enc"], "decoder.weight": weights["W_dec"].T}
        theirs["gate_bias" if kind == "gated" else "encoder.bias"] = weights["b_enc"]
    if kind == "gated":
        theirs |= {"r_mag": weights["r_mag"], "mag_bias": weights["b_mag"]}
    trainer: dict[str, Any] = {
        "dict_class": named,
        "trainer_class": _TRAINERS[named],
        "activation_dim": sae.d_in,
        "dict_size": sae.d_sae,
        "lm_name": str(sae.metadata.get("model_name") or ""),
        "layer": _layer(sae),
        "submodule_name": str(sae.metadata.get("hook_name") or ""),
    }
    if isinstance(sae.architecture, TopKConfig | BatchTopKConfig | MatryoshkaConfig):
        threshold = thresholds_of(sae)[0] if kind != "topk" else torch.tensor(-1.0)
        theirs |= {"k": torch.tensor(sae.architecture.k, dtype=torch.int), "threshold": threshold.float()}
        trainer["k"] = sae.architecture.k
    elif kind == "jump_relu":
        theirs["threshold"] = thresholds_of(sae)
    if isinstance(sae.activation, Matryoshka):
        widths = [0, *sae.activation.widths(sae.d_sae)]
        theirs["group_sizes"] = torch.tensor([b - a for a, b in pairwise(widths)])
    config = {"trainer": trainer, "buffer": {"ctx_len": sae.metadata.get("context_size"), "io": "out"}}
    with written_whole(folder) as partial:
        write_torch(theirs, partial / WEIGHTS_FILE)
        write_json(config, partial / CONFIG_FILE)
        write_sidecar(sae, partial)


def _layer(sae: SAE) -> int | None:
    parts = str(sae.metadata.get("hook_name") or "").split(".")
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else None
