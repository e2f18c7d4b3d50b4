"""The labelled texts that sparse probing runs on, version 1: public-domain speeches and a novel, and our own sources.

`bench/probe_sets.py` made the files beside this one; they are the same everywhere, so that figures can be compared.
Training and test texts of a class never come from the same document.

| set | classes | texts |
|---|---|---|
| president | 5 presidents of one century | State of the Union addresses |
| era | 4 periods from 1790 to 2020 | State of the Union addresses |
| kind | speech, novel, Python, TypeScript | addresses, Moby-Dick, miStudio's sources |
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from importlib.resources import files

NAMES = ("president", "era", "kind")
VERSION = 1


@dataclass(frozen=True)
class ProbeSet:
    """Texts by class, to train and to test on."""

    name: str
    train: dict[str, list[str]]
    test: dict[str, list[str]]


def probe_sets() -> list[ProbeSet]:
    """All sets that come with the package."""
    found: list[ProbeSet] = []
    for name in NAMES:
        packed = (files(__package__ or __name__) / f"{name}.json.gz").read_bytes()
        data = json.loads(gzip.decompress(packed))
        found.append(ProbeSet(name, data["train"], data["test"]))
    return found
