"""Community formats, at the edge: each reads into, and writes from, the one in-memory `SAE`.

A format is one module with the same four functions: `recognises`, `read`, `check` (refuses a dictionary that it
cannot hold) and `write`; `mistudio.sae.format_info` describes them.
"""

import copy
from pathlib import Path
from typing import Any

import torch

from mistudio.sae.dictionary import SAE
from mistudio.sae.errors import SAEFormatError
from mistudio.sae.format_info import FORMATS, Format
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
    temporal,
)
from mistudio.sae.formats.source import Source

_MODULES: dict[Format, Any] = {
    "mistudio": native,
    "sae_lens": sae_lens,
    "sparsify": sparsify,
    "llama_scope": llama_scope,
    "dictionary_learning": dictionary_learning,
    "gemma_scope": gemma_scope,
    "gemma_scope_2": gemma_scope_2,
    "crosscoder_learning": crosscoder_learning,
    "circuit_tracer": circuit_tracer,
    "temporal": temporal,
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
    dtype: torch.dtype | None = torch.float32,
) -> SAE:
    """Read a dictionary from a folder, or from one file, in any known format.

    The format is found by content; name it only where files could be of two. Without a `dtype` the weights
    keep that of the file. Raises SAEFormatError, naming what was found and what is understood.
    """
    source = Source(Path(path))
    module = _MODULES[detect_format(source)] if format is None else _module(format)
    return module.read(source, device=device, dtype=dtype)


def detect_format(source: Source) -> Format:
    """The format of what lies there; raises SAEFormatError, naming what was found and what is understood."""
    for name in FORMATS:
        if _MODULES[name].recognises(source):
            return name
    known = "; ".join(f"{info.title} ({info.files})" for info in FORMATS.values())
    raise SAEFormatError(
        f"{source.path} holds no dictionary in a known format (found: {_found(source)}).",
        hint=f"Known: {known}.",
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


def convert(
    source: str | Path | SAE,
    target: str | Path,
    *,
    to: Format,
    format: Format | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> SAE:
    """Read a dictionary (or take one) and write it in another format; returns it.

    `format` is that of the source, where files could be of two. Weights keep the source's precision unless a
    `dtype` is given. A target folder that is not empty is refused unless `overwrite` is set: all of it would
    be replaced.
    """
    folder = Path(target)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not overwrite):
        raise SAEFormatError(
            f"{folder} is there already, and would be replaced.",
            hint="Give another folder, or let it be overwritten (--overwrite).",
        )
    if isinstance(source, SAE):
        sae = source if dtype is None else copy.deepcopy(source).to(dtype)
    else:
        path = Path(source).resolve()
        if folder.resolve() in (path, *path.parents):
            raise SAEFormatError(f"{folder} holds the source {source}: give another folder.")
        sae = load_sae(source, format=format, dtype=dtype)
    save_sae(sae, folder, format=to)
    return sae


def _module(format: Format) -> Any:
    if format not in _MODULES:
        raise SAEFormatError(f"Unknown format {format!r}.", hint=f"Known: {', '.join(FORMATS)}.")
    return _MODULES[format]


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


__all__ = ["FORMATS", "Format", "can_hold", "convert", "detect_format", "load_sae", "save_sae"]
