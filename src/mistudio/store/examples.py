"""Example stores: for each latent the examples that its dashboard shows, and its numbers.

All latents share flat arrays, cut by offsets, so that a page touches only its own bytes:

    per latent        any column [d_sae, …]: frequency and maximum at least
    offsets           [d_sae + 1]: examples of latent i are offsets[i] to offsets[i + 1]
    per example       sequence, position (of the strongest token), strongest, group (quantile), window_start
    window_offsets    [E + 1]: the window of example e, in tokens and activations
    per window token  tokens (ids), activations
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mistudio.store.arrays import ArrayFolder, write_arrays
from mistudio.store.errors import TornFile
from mistudio.store.npy import Array

KIND = "examples"
REQUIRED_COLUMNS = ("frequency", "maximum")
_LATENT = "latent."


@dataclass(frozen=True)
class Examples:
    """The examples of all d_sae latents, E of them, with T window tokens in all.

    offsets [d_sae+1] int64, sequence [E] uint32, position [E] uint16 or uint32 (in the sequence),
    strongest [E] float32, group [E] uint8, window_start [E] uint32 (in the sequence),
    window_offsets [E+1] int64, tokens [T] uint16 or uint32, activations [T] float16 or float32.
    """

    offsets: Array
    sequence: Array
    position: Array
    strongest: Array
    group: Array
    window_start: Array
    window_offsets: Array
    tokens: Array
    activations: Array


@dataclass(frozen=True)
class LatentPage:
    """One latent: its columns and its n examples, whose windows are cut by `window_offsets` [n+1]."""

    latent: int
    columns: dict[str, Array]
    sequence: Array
    position: Array
    strongest: Array
    group: Array
    window_start: Array
    window_offsets: Array
    tokens: Array
    activations: Array

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.sequence)

    def windows(self) -> Iterator[tuple[Array, Array]]:
        """Token ids and activations of each example's window."""
        for start, stop in zip(self.window_offsets[:-1], self.window_offsets[1:], strict=True):
            yield self.tokens[start:stop], self.activations[start:stop]


class ExampleStore:
    """Opens an example store; raises `TornFile` for a damaged one. `d_sae` latents, `meta` as given."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._arrays = ArrayFolder(folder)
        if self._arrays.meta.get("kind") != KIND:
            raise TornFile(self.folder / "meta.json", "belongs to no example store")
        self.meta: dict[str, Any] = self._arrays.meta["meta"]
        self.columns = [name.removeprefix(_LATENT) for name in self._arrays if name.startswith(_LATENT)]
        self.d_sae = len(self._arrays["offsets"]) - 1
        self.n_examples = len(self._arrays["sequence"])

    def column(self, name: str) -> Array:
        """One per-latent column for all latents, [d_sae, …]."""
        return self._arrays[_LATENT + name]

    def counts(self) -> Array:
        """Number of examples of each latent, [d_sae]."""
        return np.diff(self._arrays["offsets"])

    def page(self, latent: int) -> LatentPage:
        """Everything about one latent. Raises IndexError when there is no such latent."""
        if not 0 <= latent < self.d_sae:
            raise IndexError(f"latent {latent} is not in 0 to {self.d_sae - 1}")
        arrays = self._arrays
        first, end = arrays["offsets"][latent : latent + 2].tolist()
        windows = arrays["window_offsets"][first : end + 1]
        start, stop = int(windows[0]), int(windows[-1])
        return LatentPage(
            latent,
            {name: self.column(name)[latent] for name in self.columns},
            arrays["sequence"][first:end],
            arrays["position"][first:end],
            arrays["strongest"][first:end],
            arrays["group"][first:end],
            arrays["window_start"][first:end],
            windows - start,
            arrays["tokens"][start:stop],
            arrays["activations"][start:stop],
        )


def write_examples(
    folder: str | os.PathLike[str],
    examples: Examples,
    columns: Mapping[str, Array],
    meta: Mapping[str, Any] | None = None,
) -> ExampleStore:
    """Write an example store; it appears whole or not at all.

    columns: per-latent arrays [d_sae, …] with `frequency` and `maximum` at least, and as a rule
    `histogram` [d_sae, bins], `top_ids`, `top_values`, `bottom_ids`, `bottom_values` [d_sae, n].
    Raises ValueError when arrays do not fit each other, `AlreadyThere`, `DiskFull`.
    """
    d_sae = len(examples.offsets) - 1
    _check_cuts("offsets", examples.offsets, len(examples.sequence))
    _check_cuts("window_offsets", examples.window_offsets, len(examples.tokens))
    n = len(examples.sequence)
    for name in ("position", "strongest", "group", "window_start"):
        if getattr(examples, name).shape != (n,):
            raise ValueError(f"{name} must have one value for each of the {n:,} examples.")
    if len(examples.window_offsets) != n + 1 or len(examples.activations) != len(examples.tokens):
        raise ValueError("Each example needs one window, and each window token one id and one activation.")
    place = examples.position.astype(np.int64) - examples.window_start.astype(np.int64)
    if bool(((place < 0) | (place >= np.diff(examples.window_offsets))).any()):
        raise ValueError("The strongest token of each example must lie in its window.")
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"The per-latent columns lack {', '.join(missing)}.")
    for name, values in columns.items():
        if len(values) != d_sae:
            raise ValueError(f"{name} has {len(values):,} rows for {d_sae:,} latents.")
    arrays = {field.name: getattr(examples, field.name) for field in fields(examples)}
    arrays |= {_LATENT + name: values for name, values in columns.items()}
    write_arrays(folder, arrays, {"kind": KIND, "meta": dict(meta or {})})
    return ExampleStore(folder)


def _check_cuts(name: str, offsets: Array, total: int) -> None:
    cuts_all = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == total
    if offsets.dtype.kind not in "iu" or not cuts_all or bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError(f"{name} must rise from 0 to {total:,}.")
