"""Between the one in-memory form of a dictionary and what a community format can hold.

Readers hand over weights as rows per latent and get an `SAE`; writers ask for the form that their format
wants, or are refused with the sentence that says what the format cannot hold.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from mistudio.sae.architectures.temporal import Temporal
from mistudio.sae.config import (
    ArchitectureConfig,
    BatchTopKConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    StandardConfig,
)
from mistudio.sae.config.architectures import Config
from mistudio.sae.dictionary import SAE, DecoderNorm
from mistudio.sae.errors import SAEError, SAEFormatError
from mistudio.sae.formats.source import Source
from mistudio.sae.formats.tensor_files import finite

SIDECAR = "mistudio.json"
"""A file beside a foreign one with what that cannot hold: training settings and where the dictionary belongs."""

ConfigT = TypeVar("ConfigT", bound=Config)
_ANY_ARCHITECTURE: TypeAdapter[ArchitectureConfig] = TypeAdapter(ArchitectureConfig)
THRESHOLDED = ("jump_relu", "batch_topk", "matryoshka", "standard")
"""Architectures whose latents, at inference, are those above a threshold of their own."""


def assemble(
    where: Path,
    architecture: ArchitectureConfig,
    weights: Mapping[str, Tensor],
    *,
    device: torch.device | str,
    dtype: torch.dtype | None,
    **form: Any,
) -> SAE:
    """An SAE with these weights (rows per latent), each checked against the others' shapes.

    `form` are the other arguments of `SAE`; without a `dtype` the weights keep that of the file. Nothing is
    allocated before the shapes agree, so that no file can ask for more memory than it has bytes for.
    """
    missing = [name for name in ("W_enc", "W_dec") if name not in weights]
    if missing:
        raise SAEFormatError(f"{where}: {' and '.join(missing)} is missing.")
    W_enc, W_dec = weights["W_enc"], weights["W_dec"]
    if W_enc.ndim != 2 or W_dec.ndim != 2 or W_enc.shape[0] != W_dec.shape[0]:
        raise SAEFormatError(
            f"{where}: the encoder is {list(W_enc.shape)} and the decoder {list(W_dec.shape)}, "
            "which are not [latents, width] of one dictionary."
        )
    (d_sae, d_in), d_out = W_enc.shape, W_dec.shape[1]
    try:
        # on no device: a weight takes memory only once it is known to fit
        sae = SAE(
            architecture,
            d_in,
            d_sae,
            d_out=d_out,
            skip="W_skip" in weights,
            device="meta",
            dtype=dtype or W_dec.dtype,
            **form,
        )
        for name, target in list(sae.named_parameters()):
            setattr(sae, name, nn.Parameter(_filled(target, weights, name, device), requires_grad=False))
        for name, target in list(sae.named_buffers()):
            known = name in weights or name == "threshold"
            state = (
                _filled(target, weights, name, device) if known else torch.zeros_like(target, device=device)
            )
            sae.register_buffer(name, state)
        if isinstance(sae.activation, Temporal):
            sae.activation.attach(sae, weights)
    except SAEError as error:
        raise SAEFormatError(f"{where}: {error.message}", hint=error.hint) from error
    for name, value in (*sae.named_parameters(), *sae.named_buffers()):
        finite(value, name, where)
    return sae


def _filled(target: Tensor, weights: Mapping[str, Tensor], name: str, device: torch.device | str) -> Tensor:
    """The named weight in the type and shape of `target`, in memory of its own."""
    value = weights.get(name)
    if value is None or value.shape != target.shape:
        found = "missing" if value is None else list(value.shape)
        raise SAEError(f"{name} is {found}, but it should be {list(target.shape)}.")
    return torch.empty(target.shape, dtype=target.dtype, device=device).copy_(value)


def validated(config: type[ConfigT], fields: Mapping[str, Any], where: Path) -> ConfigT:
    """The settings of an architecture, or what is wrong with them."""
    try:
        return config.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise SAEFormatError(f"{where}: {name}: {problem['msg']}.") from error


def read_thresholds(
    where: Path, thresholds: Tensor, W_dec: Tensor, own: "OwnRecord"
) -> tuple[ArchitectureConfig, dict[str, Tensor], DecoderNorm]:
    """Architecture, threshold weights and decoder norm of a file with a threshold [m] per latent.

    JumpReLU, unless our own record names another architecture and its one threshold gives these. Below 0
    thresholds act like 0, since latents are positive.
    """
    thresholds = thresholds.clamp_min(0)
    architecture = own.architecture
    if isinstance(architecture, BatchTopKConfig | MatryoshkaConfig) and own.threshold is not None:
        one = torch.tensor(own.threshold, dtype=torch.float64)
        expected = one.clamp_min(0).to(thresholds).expand_as(thresholds)
        if own.decoder_norm == "free":
            expected = expected / _site_norms(W_dec, own.n_sites)
        if architecture.k <= thresholds.numel() and torch.allclose(expected, thresholds, rtol=1e-4, atol=0):
            return architecture, {"threshold": one}, own.decoder_norm
    if isinstance(architecture, StandardConfig) and not bool(thresholds.any()):
        return architecture, {}, own.decoder_norm
    if not isinstance(architecture, JumpReLUConfig):
        architecture = validated(JumpReLUConfig, {"target_l0": None}, where)
    return architecture, {"threshold": thresholds}, own.decoder_norm


def _site_norms(W_dec: Tensor, n_sites: int) -> Tensor:
    if W_dec.shape[1] % n_sites:
        return W_dec.norm(dim=1)
    return W_dec.unflatten(1, (n_sites, -1)).norm(dim=2).sum(1)


@dataclass(frozen=True)
class OwnRecord:
    """What we write into, or beside, a foreign file of ours, so that it comes back as it was."""

    architecture: ArchitectureConfig | None = None
    decoder_norm: DecoderNorm = "unit"
    n_sites: int = 1
    threshold: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def of(sae: SAE) -> "OwnRecord":
        """The record of this dictionary."""
        scalar = dict(sae.named_buffers()).get("threshold")
        return OwnRecord(
            sae.architecture,
            sae.decoder_norm,
            sae.n_sites,
            None if scalar is None else float(scalar),
            sae.metadata,
        )

    def dump(self) -> dict[str, Any]:
        """As JSON, without the metadata."""
        return {
            "architecture": None if self.architecture is None else self.architecture.model_dump(mode="json"),
            "decoder_norm": self.decoder_norm,
            "n_sites": self.n_sites,
            "threshold": self.threshold,
        }

    @staticmethod
    def parse(content: Any) -> "OwnRecord":
        """The record, as far as this version understands it: a foreign or newer one only says less."""
        if not isinstance(content, dict):
            return OwnRecord()
        try:
            architecture = _ANY_ARCHITECTURE.validate_python(content.get("architecture"))
        except ValidationError:
            architecture = None
        sites, threshold = content.get("n_sites"), content.get("threshold")
        metadata = content.get("metadata")
        return OwnRecord(
            architecture,
            "free" if content.get("decoder_norm") == "free" else "unit",
            sites if isinstance(sites, int) and not isinstance(sites, bool) and 0 < sites < 1000 else 1,
            threshold if isinstance(threshold, float) and abs(threshold) < 1e30 else None,
            dict(metadata) if isinstance(metadata, dict) else {},
        )


def read_sidecar(source: Source) -> OwnRecord:
    """What we wrote beside a foreign file, if anything."""
    return OwnRecord.parse(source.json(SIDECAR)) if source.has(SIDECAR) else OwnRecord()


def write_sidecar(sae: SAE, folder: Path) -> None:
    """Write that file."""
    own = OwnRecord.of(sae)
    write_json({**own.dump(), "metadata": own.metadata}, folder / SIDECAR)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write an object as JSON."""
    try:
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except (TypeError, ValueError) as error:
        raise SAEFormatError(
            f"The dictionary's metadata cannot be written as JSON ({error}).",
            hint="Keep texts, numbers, lists and dictionaries in it only.",
        ) from error


def write_safetensors(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, contiguous and on the CPU."""
    save_file({name: t.detach().cpu().contiguous() for name, t in weights.items()}, path)


def write_torch(content: Mapping[str, Any], path: Path) -> None:
    """Write a PyTorch archive of tensors and plain values."""
    torch.save(
        {n: t.detach().cpu().contiguous() if isinstance(t, Tensor) else t for n, t in content.items()}, path
    )


def check_holds(
    sae: SAE,
    title: str,
    kinds: Collection[str],
    *,
    transcoder: Literal["no", "same width", "any"] = "no",
    skip: bool = False,
    token_norms: Collection[str] = ("none",),
    sites: bool = False,
) -> None:
    """Refuse, by name, what a format cannot hold of this dictionary."""
    lacks: list[str] = []
    if sae.architecture.kind not in kinds:
        lacks.append(f"{sae.architecture.kind} dictionaries (only {', '.join(kinds)})")
    if sae.is_transcoder and transcoder == "no":
        lacks.append("a transcoder")
    elif sae.d_out != sae.d_in and transcoder != "any":
        lacks.append(f"an output of another width than its input ({sae.d_out} instead of {sae.d_in})")
    if sae.W_skip is not None and not skip:
        lacks.append("a skip connection")
    if sae.token_norm not in token_norms:
        norms = "without one" if tuple(token_norms) == ("none",) else f"with {', '.join(token_norms)}"
        lacks.append(f"the normalisation of tokens {sae.token_norm!r} (only {norms})")
    if sae.n_sites > 1 and not sites:
        lacks.append(f"a crosscoder over {sae.n_sites} layers")
    if lacks:
        raise SAEFormatError(
            f"The format {title} cannot hold {'; nor '.join(lacks)}.",
            hint="Choose another format; SAELens' holds most.",
        )


def check_ranks_plainly(sae: SAE, title: str) -> None:
    """Refuse a dictionary that ranks latents by value times decoder norm, unless all norms are equal."""
    if not sae.activation.ranks_latents or sae.decoder_norm == "unit":
        return
    norms = sae.decoder_norms()
    if float(norms.max()) > float(norms.min()) * (1 + 1e-4):
        raise SAEFormatError(
            f"The format {title} cannot hold that latents are ranked by value times decoder norm.",
            hint="Call fold_decoder_norms() on the dictionary first.",
        )


def centred(sae: SAE) -> dict[str, Tensor]:
    """All weights such that the decoder's bias is subtracted from the input: b_enc takes up the difference."""
    return _recentred(sae, 0 if sae.apply_b_dec_to_input else 1)


def uncentred(sae: SAE) -> dict[str, Tensor]:
    """All weights such that the encoder sees the input as it is."""
    return _recentred(sae, -1 if sae.apply_b_dec_to_input else 0)


def _recentred(sae: SAE, sign: int) -> dict[str, Tensor]:
    weights = {name: t.detach() for name, t in (*sae.named_parameters(), *sae.named_buffers())}
    if sign:
        if sae.d_in != sae.d_out:
            raise SAEFormatError(
                "This dictionary's decoder bias cannot be subtracted from an input of another width."
            )
        shift = sign * (sae.W_enc.double() @ sae.b_dec.double())
        weights["b_enc"] = (sae.b_enc.double() + shift).to(sae.b_enc)
        if "b_mag" in weights:
            scaled = shift * weights["r_mag"].double().exp()
            weights["b_mag"] = (weights["b_mag"].double() + scaled).to(sae.b_enc)
    return weights


def thresholds_of(sae: SAE) -> Tensor:
    """The threshold [m] above which each latent is active at inference, in units of its pre-activation."""
    kind = sae.architecture.kind
    if kind == "jump_relu":
        return sae.get_parameter("threshold").detach()
    if kind == "standard":
        return torch.zeros_like(sae.b_enc)
    threshold = float(sae.get_buffer("threshold"))
    norms = sae.ranking_norms()
    same = torch.full_like(sae.b_enc, max(0.0, threshold))
    return same if norms is None else same / norms
