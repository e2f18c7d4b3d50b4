"""Tensors from files that nobody vouches for: safetensors, npz and PyTorch archives.

No file can run code here (npz without pickles, PyTorch's restricted unpickler), none is given more memory
than its own size justifies, and every tensor that is taken out has the shape and the kind of numbers that
its reader asked for. Whatever is wrong becomes one SAEFormatError that names the file.
"""

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from mistudio.sae.errors import SAEFormatError
from mistudio.sae.format_info import TENSOR_SUFFIXES

SUFFIXES = TENSOR_SUFFIXES

_LARGEST_INDEX = 16 * 2**20
"""Bytes of a PyTorch archive's data.pkl, which holds names and shapes only (kilobytes in practice)."""
_SMALL = 64 * 2**20
_LARGEST_RATIO = 50
"""Above `_SMALL` bytes, an npz may unpack to at most this many times its size: trained weights hardly shrink."""
_LARGEST_ARRAY_HEADER = 2**16
_LONGEST_LIST = 10_000

_AGAIN = "Copy or download it again."


@dataclass
class TensorFile:
    """One opened file: the shapes of its tensors now, their values when taken."""

    path: Path
    shapes: dict[str, list[int]]
    values: dict[str, Any]
    """what a PyTorch archive holds besides tensors: plain numbers, texts and nested ones of these"""
    _load: Callable[[str], Tensor] = field(repr=False)

    def take(self, name: str, shape: list[int] | None = None) -> Tensor:
        """The named tensor: real, finite, and of the given shape."""
        if name not in self.shapes:
            found = ", ".join(sorted(self.shapes)[:20]) or "nothing"
            raise SAEFormatError(f"{self.path} has no {name} (found: {found}).")
        if shape is not None and self.shapes[name] != shape:
            raise SAEFormatError(
                f"{self.path}: {name} is {self.shapes[name]}, where the other files and tensors make it {shape}."
            )
        tensor = self._load(name)
        if not tensor.is_floating_point():
            raise SAEFormatError(
                f"{self.path}: {name} holds {str(tensor.dtype).removeprefix('torch.')}, not real numbers."
            )
        return finite(tensor, name, self.path)

    def renamed(self, names: dict[str, str]) -> "TensorFile":
        """The same file with some of its tensors under other names."""
        back = {new: old for old, new in names.items()}
        shapes = {names.get(name, name): shape for name, shape in self.shapes.items()}
        return TensorFile(self.path, shapes, self.values, lambda name: self._load(back.get(name, name)))

    def matrix(self, name: str) -> Tensor:
        """The named tensor, which has two dimensions."""
        if len(self.shapes.get(name, [0, 0])) != 2:
            raise SAEFormatError(f"{self.path}: {name} is {self.shapes[name]}, not a matrix.")
        return self.take(name)

    def scalar(self, name: str) -> float:
        """The one number in a tensor of any real or whole type, or among the plain values."""
        if name in self.values:
            value = self.values[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise SAEFormatError(f"{self.path}: {name} must be a number, not {str(value)[:80]!r}.")
            return float(value)
        shape = self.shapes.get(name)
        if shape is None or math.prod(shape) != 1:
            raise SAEFormatError(f"{self.path}: {name} must be one number, but it is {shape or 'missing'}.")
        tensor = self._load(name)
        if tensor.is_complex() or not bool(torch.isfinite(tensor.double()).all()):
            raise SAEFormatError(f"{self.path}: {name} is not a finite number.")
        return float(tensor.reshape(()))

    def whole(self, name: str) -> int:
        """The one whole number of that name."""
        number = self.scalar(name)
        if number != int(number):
            raise SAEFormatError(f"{self.path}: {name} must be a whole number, not {number}.")
        return int(number)

    def whole_numbers(self, name: str) -> list[int]:
        """The list of whole numbers in a tensor of one dimension."""
        shape = self.shapes.get(name)
        if shape is None or len(shape) != 1 or shape[0] > _LONGEST_LIST:
            raise SAEFormatError(f"{self.path}: {name} must be a short list, but it is {shape or 'missing'}.")
        tensor = self._load(name)
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise SAEFormatError(f"{self.path}: {name} must hold whole numbers.")
        return [int(value) for value in tensor.tolist()]


def finite(tensor: Tensor, name: str, path: Path) -> Tensor:
    """The tensor, if it holds finite numbers only."""
    # the extremes are NaN as soon as one entry is; found in one pass, without a temporary of that size
    wide = tensor.float() if tensor.element_size() == 1 else tensor
    if wide.numel() and not all(bool(torch.isfinite(extreme)) for extreme in wide.aminmax()):
        raise SAEFormatError(f"{path}: {name} holds values that are not finite numbers.")
    return tensor


def open_tensors(path: Path) -> TensorFile:
    """Open a file by what its name says that it is; see `SUFFIXES`."""
    if not path.is_file():
        raise SAEFormatError(f"There is no file {path}.", hint=_AGAIN)
    opener = {".safetensors": _open_safetensors, ".npz": _open_npz}.get(path.suffix, _open_torch)
    try:
        return opener(path)
    except SAEFormatError:
        raise
    except MemoryError as error:
        raise SAEFormatError(f"{path} asks for more memory than this machine has.", hint=_AGAIN) from error
    except Exception as error:  # a damaged file may break three parsers in any of their own ways
        raise SAEFormatError(
            f"{path} is incomplete or not a {_KIND.get(path.suffix, 'PyTorch archive')} ({_first_line(error)}).",
            hint=_AGAIN,
        ) from error


_KIND = {".safetensors": "safetensors file", ".npz": "numpy archive"}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _guarded(path: Path, load: Callable[[str], Tensor]) -> Callable[[str], Tensor]:
    def loading(name: str) -> Tensor:
        try:
            return load(name)
        except SAEFormatError:
            raise
        except Exception as error:
            raise SAEFormatError(
                f"{path}: {name} cannot be read ({_first_line(error)}).", hint=_AGAIN
            ) from error

    return loading


def _open_safetensors(path: Path) -> TensorFile:
    with safe_open(path, framework="pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def load(name: str) -> Tensor:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name)

    return TensorFile(path, shapes, {}, _guarded(path, load))


def _open_npz(path: Path) -> TensorFile:
    shapes: dict[str, list[int]] = {}
    total = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                raise SAEFormatError(f"{path} holds {entry.filename[:80]!r}, which is not an array.")
            with archive.open(entry) as file:
                shape, dtype = _array_header(file)
                header = file.tell()
            if dtype.hasobject or dtype.kind not in "fiu":
                raise SAEFormatError(
                    f"{path}: {entry.filename[:80]} holds Python objects or text, not numbers."
                )
            size = math.prod(shape) * dtype.itemsize
            if size + header != entry.file_size:
                raise SAEFormatError(
                    f"{path}: {entry.filename[:80]} says that it is {list(shape)}, "
                    f"but has {entry.file_size - header} bytes instead of {size}."
                )
            total += size
            shapes[entry.filename.removesuffix(".npy")] = list(shape)
    if total > max(_SMALL, _LARGEST_RATIO * path.stat().st_size):
        raise SAEFormatError(
            f"{path} would unpack to {total} bytes, {total // max(1, path.stat().st_size)} times its size: "
            "no trained weights do that."
        )

    def load(name: str) -> Tensor:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            array: Any = np.lib.format.read_array(file, allow_pickle=False)
            return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))

    return TensorFile(path, shapes, {}, _guarded(path, load))


def _array_header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that starts here."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_LARGEST_ARRAY_HEADER)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file, max_header_size=_LARGEST_ARRAY_HEADER)
    if any(side < 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, dtype


def _open_torch(path: Path) -> TensorFile:
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        raise SAEFormatError(
            f"{path} is not a PyTorch archive (a zip file, as PyTorch writes since 1.6).",
            hint="If it is an older file that you trust, load it with torch and save it again.",
        )
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if (
        any(e.compress_type != zipfile.ZIP_STORED for e in entries)
        or sum(e.file_size for e in entries) > size
    ):
        raise SAEFormatError(f"{path} holds packed or overlapping data, which PyTorch never writes.")
    if any(e.filename.endswith(".pkl") and e.file_size > _LARGEST_INDEX for e in entries):
        raise SAEFormatError(f"{path} describes its tensors with more than {_LARGEST_INDEX} bytes.")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise SAEFormatError(
                f"{path} holds Python objects besides tensors, which are never loaded here: they could run code.",
                hint="Ask its author for safetensors, or load it with torch if you trust it, and save its "
                "tensors again.",
            ) from error
        raise
    if not isinstance(content, dict):
        raise SAEFormatError(f"{path} holds {type(content).__name__}, not a dictionary of tensors.")
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for name, value in content.items():
        if not isinstance(name, str):
            raise SAEFormatError(f"{path} names a tensor with {type(name).__name__} instead of text.")
        if isinstance(value, Tensor):
            _plain(value, name, path, size)
            tensors[name] = value.detach()
        else:
            values[name] = value
    return TensorFile(
        path,
        {name: list(t.shape) for name, t in tensors.items()},
        values,
        _guarded(path, lambda name: tensors[name]),
    )


def _plain(tensor: Tensor, name: str, path: Path, size: int) -> None:
    """Refuse what would unfold beyond the file: sparse, quantised, elsewhere, or one byte seen many times."""
    ordinary = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not ordinary or tensor.numel() * tensor.element_size() > size:
        raise SAEFormatError(f"{path}: {name} is not an ordinary tensor of numbers within the file.")
