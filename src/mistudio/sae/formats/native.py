"""miStudio's own folders: everything a dictionary is, for those that no community format can hold.

mistudio.json says how the dictionary is built, weights.safetensors holds every weight under its own name.
"""

from pathlib import Path
from typing import Any, get_args

import torch

from mistudio.sae.dictionary import SAE, DecoderNorm, TokenNorm
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import written_whole
from mistudio.sae.formats.exchange import (
    SIDECAR,
    OwnRecord,
    assemble,
    write_json,
    write_safetensors,
)
from mistudio.sae.formats.source import Source

WEIGHTS_FILE = "weights.safetensors"

_LAYOUT = 1


def recognises(source: Source) -> bool:
    """Whether a folder looks like one of these."""
    return source.has(SIDECAR) and source.has(WEIGHTS_FILE) and source.named in (None, SIDECAR, WEIGHTS_FILE)


def read(source: Source, *, device: torch.device | str, dtype: torch.dtype | None) -> SAE:
    """Read both files, checked against each other."""
    where = source.folder / SIDECAR
    content = source.json(SIDECAR)
    own = OwnRecord.parse(content)
    if content.get("layout") != _LAYOUT or own.architecture is None:
        raise SAEFormatError(
            f"{where} was written by a version of miStudio that this one does not understand.",
            hint="Update miStudio.",
        )
    file = source.tensors(WEIGHTS_FILE)
    sae = assemble(
        where,
        own.architecture,
        {name: file.take(name) for name in file.shapes},
        n_sites=own.n_sites,
        apply_b_dec_to_input=content.get("apply_b_dec_to_input") is True,
        decoder_norm=_choice(content, "decoder_norm", get_args(DecoderNorm), where),
        token_norm=_choice(content, "token_norm", get_args(TokenNorm), where),
        metadata=own.metadata,
        device=device,
        dtype=dtype,
    )
    strange = set(file.shapes) - {name for name, _ in (*sae.named_parameters(), *sae.named_buffers())}
    if strange:
        raise SAEFormatError(
            f"{file.path} holds {', '.join(sorted(strange)[:5])}, which {where} does not name."
        )
    return sae


def _choice(content: dict[str, Any], key: str, choices: tuple[str, ...], where: Path) -> Any:
    if content.get(key) not in choices:
        raise SAEFormatError(f"{where}: {key} must be one of {', '.join(choices)}.")
    return content[key]


def check(sae: SAE) -> None:
    """Every dictionary fits."""
    del sae


def write(sae: SAE, folder: Path) -> None:
    """Write both files."""
    own = OwnRecord.of(sae)
    content = {
        "layout": _LAYOUT,
        **own.dump(),
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "token_norm": sae.token_norm,
        "metadata": own.metadata,
    }
    with written_whole(folder) as partial:
        weights = dict((*sae.named_parameters(), *sae.named_buffers()))
        write_safetensors(weights, partial / WEIGHTS_FILE)
        write_json(content, partial / SIDECAR)
