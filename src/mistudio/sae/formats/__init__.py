"""Community formats, at the edge: each reads into, and writes from, the one in-memory `SAE`."""

from pathlib import Path
from typing import Literal

import torch

from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.formats import sae_lens

Format = Literal["sae_lens"]
_FORMATS = {"sae_lens": sae_lens}


def load_sae(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> SAE:
    """Read a dictionary from a folder in any known format.

    Raises SAEFormatError, naming what was found and what is understood.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SAEFormatError(
            f"There is no folder {folder}.", hint="Give the folder that holds the dictionary."
        )
    for module in _FORMATS.values():
        if module.recognises(folder):
            return module.read(folder, device=device, dtype=dtype)
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
    raise SAEFormatError(
        f"The folder {folder} holds no dictionary in a known format (found: {found}).",
        hint="Known: " + "; ".join(module.DESCRIPTION for module in _FORMATS.values()) + ".",
    )


def save_sae(sae: SAE, folder: str | Path, *, format: Format = "sae_lens") -> None:
    """Write a dictionary to a folder, whole or not at all; an existing folder is replaced."""
    if format not in _FORMATS:
        raise SAEFormatError(f"Unknown format {format!r}.", hint=f"Known: {', '.join(_FORMATS)}.")
    _FORMATS[format].write(sae, Path(folder))
