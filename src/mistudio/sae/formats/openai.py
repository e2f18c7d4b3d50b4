"""OpenAI's sparse_autoencoder: one PyTorch file. ReLU, or TopK of tokens brought to mean 0 and variance 1.

Facts from its `Autoencoder` (Gao et al. 2024, arXiv 2406.04093): pre_bias [width], encoder.weight
[latents, width], latent_bias [latents], decoder.weight [width, latents] (or decoder.linear.weight, the
encoder's own, in tied ones); `activation` names the function, and TopK implies layer normalisation.
"""

from pathlib import Path
from typing import Any

import torch

from mistudio.sae.config import ArchitectureConfig, StandardConfig, TopKConfig
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
    validated,
    write_sidecar,
    write_torch,
)
from mistudio.sae.formats.source import Source

TITLE = FORMATS["openai"].title
WEIGHTS_FILE = "autoencoder.pt"


def recognises(source: Source) -> bool:
    """Whether a folder or file looks like one of these."""
    name = source.find("*.pt", "*.pth")
    return name is not None and {"pre_bias", "latent_bias"} <= source.tensors(name).shapes.keys()


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read the file."""
    file = source.tensors(source.find("*.pt", "*.pth") or WEIGHTS_FILE)
    own = read_sidecar(source)
    activation = file.values.get("activation", "ReLU")
    settings = file.values.get("activation_state_dict") or {}
    architecture: ArchitectureConfig
    if activation == "TopK" and isinstance(settings, dict):
        if settings.get("postact_fn", "ReLU") != "ReLU":
            raise SAEFormatError(f"{file.path} keeps negative values of its TopK, which is not supported.")
        fields = own.architecture.model_dump() if isinstance(own.architecture, TopKConfig) else {}
        architecture = validated(TopKConfig, fields | {"k": settings.get("k")}, file.path)
    elif activation == "ReLU":
        ours = own.architecture
        architecture = ours if isinstance(ours, StandardConfig) else StandardConfig()
    else:
        raise SAEFormatError(
            f"{file.path} names the activation {str(activation)[:80]!r}, which is not supported.",
            hint="Supported: ReLU, TopK.",
        )
    tied = "decoder.weight" not in file.shapes and "decoder.linear.weight" in file.shapes
    weights = {
        "W_enc": file.matrix("encoder.weight"),
        "W_dec": file.take("decoder.linear.weight") if tied else file.matrix("decoder.weight").T,
        "b_enc": file.take("latent_bias"),
        "b_dec": file.take("pre_bias"),
    }
    return assemble(
        file.path,
        architecture,
        weights,
        token_norm="layer_norm" if activation == "TopK" else "none",
        metadata=own.metadata,
        device=device,
        dtype=dtype,
    )


def check(sae: SAE) -> None:
    """Refuse what this format cannot hold."""
    topk = isinstance(sae.architecture, TopKConfig)
    check_holds(sae, TITLE, ("topk", "standard"), token_norms=("layer_norm",) if topk else ("none",))
    check_ranks_plainly(sae, TITLE)


def write(sae: SAE, folder: Path) -> None:
    """Write the file; their `Autoencoder.from_state_dict` then gives the same latents."""
    check(sae)
    weights = centred(sae)
    theirs: dict[str, Any] = {
        "pre_bias": weights["b_dec"],
        "latent_bias": weights["b_enc"],
        "stats_last_nonzero": torch.zeros(sae.d_sae, dtype=torch.long),
        "latents_activation_frequency": torch.ones(sae.d_sae),
        "latents_mean_square": torch.zeros(sae.d_sae),
        "encoder.weight": weights["W_enc"],
        "decoder.weight": weights["W_dec"].T,
        "activation": "ReLU",
        "activation_state_dict": {},
    }
    if isinstance(sae.architecture, TopKConfig):
        theirs |= {
            "activation": "TopK",
            "activation_state_dict": {"k": sae.architecture.k, "postact_fn": "ReLU"},
        }
    with written_whole(folder) as partial:
        write_torch(theirs, partial / WEIGHTS_FILE)
        write_sidecar(sae, partial)
