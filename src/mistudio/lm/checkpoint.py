"""What a folder of model files holds, read without PyTorch: configuration, weight files, their headers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mistudio.lm.errors import ModelLoadError

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
INDEX = "model.safetensors.index.json"
# The safetensors format's own limit on its header.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Checkpoint:
    """A folder that a model can be loaded from: through one GGUF file, or from safetensors files."""

    folder: Path
    gguf: str | None
    safetensors: tuple[str, ...]
    pickled: tuple[str, ...] = ()

    @property
    def weights(self) -> tuple[str, ...]:
        """The files that hold the weights."""
        return (self.gguf,) if self.gguf else self.safetensors or self.pickled

    @property
    def has_tokenizer(self) -> bool:
        return self.gguf is not None or any((self.folder / name).is_file() for name in TOKENIZER_FILES)


@dataclass(frozen=True)
class TensorHeader:
    """One tensor of a safetensors file: its shape, its bytes on disk and its type as the format writes it (BF16)."""

    shape: tuple[int, ...]
    bytes: int
    dtype: str

    @property
    def parameters(self) -> int:
        return prod(self.shape)


def find_checkpoint(path: Path, gguf_file: str | None = None, *, pickles: bool = False) -> Checkpoint:
    """Looks at a folder or a GGUF file and checks that a model can be loaded from it.

    Safetensors are preferred where a folder holds both; a folder with nothing but pickled weights is refused unless
    `pickles` allows it. Raises ModelLoadError: `not_found`, `no_config`,
    `broken_config`, `no_weights`, `pickle_weights`, `corrupt_weights`.
    """
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelLoadError(
                "no_weights",
                f"{path} is a file, but not a GGUF file.",
                "Give the folder that holds config.json and the safetensors, or a file ending in .gguf.",
            )
        path, gguf_file = path.parent, path.name
    if not path.is_dir():
        raise ModelLoadError("not_found", f"There is no folder {path}.", "Check the path for a misspelling.")
    names = [entry.name for entry in path.iterdir() if entry.is_file()]
    gguf_file = gguf_file or only_gguf(names, str(path))
    if gguf_file is not None:
        check_gguf(path / gguf_file)
        return Checkpoint(path, gguf_file, ())
    weights = weight_files(names, str(path), pickles=pickles)
    read_config(path)
    if not weights[0].endswith(".safetensors"):
        return Checkpoint(path, None, (), weights)
    if INDEX in names:
        weights = _indexed(path)
    for name in weights:
        safetensors_header(path / name)
    return Checkpoint(path, None, weights)


def only_gguf(names: Iterable[str], place: str) -> str | None:
    """The one GGUF file of a folder without safetensors; None where safetensors or no GGUF files are."""
    names = list(names)
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if not ggufs or any(name.endswith(".safetensors") for name in names):
        return None
    if len(ggufs) > 1:
        raise ModelLoadError(
            "no_weights",
            f"{place} holds {len(ggufs)} GGUF files and it was not said which to load.",
            f"Name one as gguf_file: {', '.join(ggufs[:12])}.",
        )
    return ggufs[0]


def weight_files(names: Iterable[str], place: str, *, pickles: bool = False) -> tuple[str, ...]:
    """The safetensors among file names; where there are none and `pickles` allows it, PyTorch's own files.

    Raises ModelLoadError where there are none (or only pickles that are not allowed).
    """
    names = sorted(names)
    found = [name for name in names if name.endswith(".safetensors")]
    # Some repositories carry the original authors' single file next to the converted one.
    converted = [name for name in found if not name.startswith("consolidated")]
    if found:
        return tuple(converted or found)
    pickled = [name for name in names if name.endswith(PICKLED)]
    # Beside weights there may lie an optimizer's state or training arguments.
    loadable = tuple(name for name in pickled if name.startswith("pytorch_model"))
    if pickles and loadable:
        return loadable
    if pickled:
        raise ModelLoadError(
            "pickle_weights",
            f"{place} holds its weights only as pickle files ({', '.join(pickled[:3])}), which can run code "
            "when they are loaded.",
            "Use a version of the model in safetensors, consent to reading them, or convert it on a machine you can "
            "lose.",
        )
    raise ModelLoadError(
        "no_weights",
        f"{place} holds no model weights.",
        "A model folder needs model.safetensors (or its numbered parts with their index), or one GGUF file.",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises ModelLoadError `no_config` or `broken_config`."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelLoadError(
            "no_config",
            f"{folder} has weights but no config.json, so the model's architecture is unknown.",
            "Put the model's config.json next to its weights.",
        ) from None
    except (ValueError, OSError) as error:
        raise ModelLoadError(
            "broken_config", f"{path} cannot be read as JSON: {error}.", "Fetch the file again."
        ) from None
    if not isinstance(config, dict) or not config.get("model_type"):
        raise ModelLoadError(
            "broken_config",
            f"{path} does not say which kind of model this is (it has no model_type).",
            "It may be an SAE's or an adapter's configuration: give the folder of the language model itself.",
        )
    return config


def safetensors_header(path: Path) -> dict[str, TensorHeader]:
    """The tensors that a safetensors file says it holds.

    Raises ModelLoadError `corrupt_weights` when the file is shorter or longer than its header says, or is
    not a safetensors file.
    """
    again = "Fetch the file again: the download may have been cut off."
    with path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if start.startswith(b"version "):
            again = "It is a Git LFS pointer, not the file itself: run 'git lfs pull' in that folder."
        if len(start) < 8 or not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            raise ModelLoadError("corrupt_weights", f"{path} is not a whole safetensors file.", again)
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            tensors = {
                name: TensorHeader(
                    tuple(t["shape"]), t["data_offsets"][1] - t["data_offsets"][0], str(t["dtype"])
                )
                for name, t in header.items()
            }
            end = max((t["data_offsets"][1] for t in header.values()), default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise ModelLoadError("corrupt_weights", f"{path} has a damaged header.", again) from None
    if 8 + length + end != size:
        raise ModelLoadError(
            "corrupt_weights",
            f"{path} is {size} bytes long but its header asks for {8 + length + end}.",
            again,
        )
    return tensors


def check_gguf(path: Path) -> None:
    """Raises ModelLoadError unless `path` is a file that begins as a GGUF file does."""
    if not path.is_file():
        raise ModelLoadError("not_found", f"There is no file {path}.", "Check the name for a misspelling.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelLoadError("corrupt_weights", f"{path} is not a GGUF file.", "Fetch the file again.")


def _indexed(folder: Path) -> tuple[str, ...]:
    try:
        names = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise ModelLoadError(
            "corrupt_weights", f"{folder / INDEX} cannot be read.", "Fetch the file again."
        ) from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelLoadError(
            "corrupt_weights",
            f"{folder} lacks {len(missing)} of {len(names)} weight files, first {missing[0]}.",
            "Fetch the missing files; the download may have been cut off.",
        )
    return tuple(names)
