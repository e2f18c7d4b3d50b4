"""What lies at a path that a user gave: a folder or one file, looked into but not trusted."""

import json
import re
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

from mistudio.sae.errors import SAEFormatError
from mistudio.sae.folders import recover
from mistudio.sae.formats import tensor_files
from mistudio.sae.formats.tensor_files import TensorFile

_LARGEST_CONFIG = 16 * 2**20


class Source:
    """The files that a reader may use: those of a folder (or its `checkpoints`), or one file and its neighbours."""

    def __init__(self, path: Path) -> None:
        self.path = path
        recover(path)
        if path.is_dir():
            self.folder, self.named = path, None
        elif path.is_file():
            self.folder, self.named = path.parent, path.name
        else:
            raise SAEFormatError(
                f"There is no file or folder {path}.",
                hint="Give the folder or file that holds the dictionary.",
            )
        self._opened: dict[str, TensorFile] = {}
        self._failed: dict[str, SAEFormatError] = {}

    @cached_property
    def names(self) -> list[str]:
        """Names of the files in the folder, sorted."""
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_file())

    @cached_property
    def tensor_names(self) -> list[str]:
        """Names of the files with tensors that may be meant: the one given, or all in the folder."""
        if self.named is not None:
            return [self.named] if self.named.endswith(tensor_files.SUFFIXES) else []
        return [name for name in self.names if name.endswith(tensor_files.SUFFIXES)]

    def has(self, name: str) -> bool:
        """Whether the folder has this file (a path inside it)."""
        return (self.folder / name).is_file()

    def find(self, *patterns: str) -> str | None:
        """The one file with tensors whose name fits; several are refused, since only one can be meant."""
        fits = [n for n in self.tensor_names if any(fnmatch(n, p) for p in patterns)]
        if len(fits) > 1:
            raise SAEFormatError(
                f"{self.folder} holds {len(fits)} files with tensors ({', '.join(fits[:4])}, …), and nothing "
                "that says which one is the dictionary.",
                hint="Give the path of the one file that you want.",
            )
        return fits[0] if fits else None

    def tensors(self, name: str) -> TensorFile:
        """The tensors in a file of the folder, opened once."""
        if name in self._failed:
            raise self._failed[name]
        if name not in self._opened:
            try:
                self._opened[name] = tensor_files.open_tensors(self.folder / name)
            except SAEFormatError as error:
                self._failed[name] = error
                raise
        return self._opened[name]

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of the folder."""
        path = self.folder / name
        if not path.is_file():
            raise SAEFormatError(f"{self.folder} has no {name}.", hint="Copy all files of the dictionary.")
        if path.stat().st_size > _LARGEST_CONFIG:
            raise SAEFormatError(f"{path} is larger than any configuration ({path.stat().st_size} bytes).")
        try:
            # NaN and Infinity, which JSON does not have, become text: a reader that wants a number says so
            content = json.loads(path.read_text(encoding="utf-8"), parse_constant=str)
            json.dumps(content, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise SAEFormatError(f"{path} is not readable JSON ({str(error)[:200]}).") from error
        if not isinstance(content, dict):
            raise SAEFormatError(f"{path} is not a configuration (a JSON object was expected).")
        return content

    def in_path(self, pattern: str, file: Path | None = None) -> re.Match[str] | None:
        """The last match of a pattern in the names of the path given, or of a file in it, and the folders above.

        Several releases say only there which layer, model or sparsity a file is of.
        """
        for part in reversed((file or self.path).absolute().parts):
            match = re.search(pattern, part)
            if match:
                return match
        return None


def whole_number(config: dict[str, Any], key: str, where: Path, *, least: int = 1) -> int:
    """A whole number of a configuration, at least `least`."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SAEFormatError(
            f"{where}: {key} must be a whole number of at least {least}, not {str(value)[:80]!r}."
        )
    return value


def number(config: dict[str, Any], key: str, where: Path) -> float:
    """A finite number of a configuration."""
    value = config.get(key)
    try:
        result = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        result = None
    if result is None:
        raise SAEFormatError(f"{where}: {key} must be a number, not {str(value)[:80]!r}.")
    return result


def section(config: dict[str, Any], key: str, where: Path) -> dict[str, Any]:
    """An object inside a configuration."""
    value = config.get(key)
    if not isinstance(value, dict):
        raise SAEFormatError(f"{where} has no section {key}.")
    return value
