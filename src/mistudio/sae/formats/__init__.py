"""Community formats, at the edge: each reads into, and writes from, the one in-memory `SAE`.

A format is one module with the same six names: TITLE, DESCRIPTION (its files), CANNOT_HOLD (in words),
`recognises`, `read`, `check` (refuses a dictionary that it cannot hold) and `write`.
"""

from pathlib import Path
from typing import Any, Literal

import torch

from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.formats import (
    circuit_tracer,
    crosscoder_learning,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    goodfire,
    llama_scope,
    nanda,
    native,
    openai,
    qwen_scope,
    sae_lens,
    sparsify,
)
from mistudio.sae.formats.source import Source

Format = Literal[
    "mistudio",
    "sae_lens",
    "sparsify",
    "llama_scope",
    "dictionary_learning",
    "gemma_scope",
    "gemma_scope_2",
    "crosscoder_learning",
    "circuit_tracer",
    "openai",
    "goodfire",
    "qwen_scope",
    "nanda",
]
# In the order in which they are tried: those told apart by file names come before those by tensors alone.
_FORMATS: dict[Format, Any] = {
    "mistudio": native,
    "sae_lens": sae_lens,
    "sparsify": sparsify,
    "llama_scope": llama_scope,
    "dictionary_learning": dictionary_learning,
    "gemma_scope": gemma_scope,
    "gemma_scope_2": gemma_scope_2,
    "crosscoder_learning": crosscoder_learning,
    "circuit_tracer": circuit_tracer,
    "openai": openai,
    "goodfire": goodfire,
    "qwen_scope": qwen_scope,
    "nanda": nanda,
}


def load_sae(
    path: str | Path,
    *,
    format: Format | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> SAE:
    """Read a dictionary from a folder, or from one file, in any known format.

    The format is found by content; name it only where files could be of two. Raises SAEFormatError, naming
    what was found and what is understood.
    """
    source = Source(Path(path))
    if format is not None:
        return _module(format).read(source, device=device, dtype=dtype)
    for module in _FORMATS.values():
        if module.recognises(source):
            return module.read(source, device=device, dtype=dtype)
    raise SAEFormatError(
        f"{path} holds no dictionary in a known format (found: {_found(source)}).",
        hint="Known: " + "; ".join(module.DESCRIPTION for module in _FORMATS.values()) + ".",
    )


def save_sae(sae: SAE, folder: str | Path, *, format: Format | None = None) -> None:
    """Write a dictionary to a folder, whole or not at all; an existing folder is replaced.

    Without a `format` it is SAELens' where that can hold the dictionary, else our own. Raises
    SAEFormatError where the format named cannot hold it, saying what would be lost.
    """
    if format is None:
        format = "sae_lens" if can_hold("sae_lens", sae) else "mistudio"
    _module(format).write(sae, Path(folder))


def can_hold(format: Format, sae: SAE) -> bool:
    """Whether this dictionary can be written in that format."""
    try:
        _module(format).check(sae)
    except SAEFormatError:
        return False
    return True


def describe_formats() -> dict[Format, dict[str, str]]:
    """Title, files and limits of every format, by its name."""
    return {
        name: {"title": m.TITLE, "files": m.DESCRIPTION, "cannot_hold": m.CANNOT_HOLD}
        for name, m in _FORMATS.items()
    }


def _module(format: Format) -> Any:
    if format not in _FORMATS:
        raise SAEFormatError(f"Unknown format {format!r}.", hint=f"Known: {', '.join(_FORMATS)}.")
    return _FORMATS[format]


def _found(source: Source) -> str:
    """What is there; of a single file with tensors, what they are called."""
    if len(source.tensor_names) == 1:
        name = source.tensor_names[0]
        shapes = source.tensors(name).shapes
        return f"{name} with {', '.join(f'{n} {s}' for n, s in sorted(shapes.items())[:12]) or 'nothing'}"
    if source.named is not None:
        return source.named
    folders = [f"{entry.name}/" for entry in source.folder.iterdir() if entry.is_dir()]
    return ", ".join([*source.names, *sorted(folders)][:10]) or "nothing"


__all__ = ["Format", "can_hold", "describe_formats", "load_sae", "save_sae"]
