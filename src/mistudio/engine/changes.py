"""What was changed about a run while it trained: when, what, from which value to which.

Kept in `changes.json` in the run's folder, written before the change takes effect: a run that is killed at any instant
makes the same changes at the same steps again. Imports no PyTorch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mistudio.store import atomic_file

_FILE = "changes.json"


@dataclass(frozen=True)
class Change:
    """One setting of one run, from the step after `step` on.

    name: the setting's full name, such as `learning_rate`, `architecture.k`, or `total_tokens` of a run that was
    continued. time: seconds since 1970.
    """

    step: int
    time: float
    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Wanted:
    """A change that is asked for: of the run of this name (every run when it is empty), this setting, to this value."""

    setting: str
    value: float
    run: str = ""


def read_changes(folder: Path) -> list[Change]:
    """The changes made so far in a run's folder, in their order."""
    path = folder / _FILE
    return [Change(**one) for one in json.loads(path.read_text("utf-8"))] if path.exists() else []


def write_changes(folder: Path, changes: list[Change]) -> None:
    """Replace them."""
    with atomic_file(folder / _FILE) as file:
        file.write(json.dumps([asdict(change) for change in changes], indent=1).encode())
