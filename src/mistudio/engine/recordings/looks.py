"""Early looks at features: what a few latents fire on, at some steps of a training. Imports no PyTorch.

Each look is one JSON file:

    step, tokens           when it was taken, by steps done and tokens seen
    sample_tokens          on how many tokens of the buffer
    follow_next            latents of the next look
    latents                per latent: `latent`; `chosen`, by "spread" over frequency or because it was "asked" for;
                           `count`, the tokens on which it is active; `maximum`, its largest activation, and
                           `examples`, the strongest first
    examples               `sequence`, `position` (of its strongest token), `strongest`; `start` (position of the
                           first token shown), `mark` (which of them is the strongest), `tokens` (ids), `activations`
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mistudio.engine.recordings.frames import affordable, interval
from mistudio.store import atomic_file

FOLDER = "looks"
MOST_LOOKS = 32
FIRST_LOOKS = 4
"""So many are taken of however short a training."""
LOOK_SECONDS = 0.005
LEAST_STEPS = 10
MOST_ASKED = 32
LEFT_OUT = -1
"""In the place of the id of a token that does not count; its activation is null."""
_ASKED = "asked.json"


def look_interval(total_steps: int, log_every: int, step_seconds: float) -> int:
    """Steps between two looks."""
    most = affordable(total_steps * step_seconds, LOOK_SECONDS, FIRST_LOOKS, MOST_LOOKS)
    return interval(total_steps, log_every, most, LEAST_STEPS)


def list_looks(folder: Path) -> list[int]:
    """The steps of the looks in a run's folder, the earliest first."""
    found = [path.stem.removeprefix("step-") for path in (folder / FOLDER).glob("step-*.json")]
    return sorted(int(step) for step in found if step.isdigit())


def read_look(folder: Path, step: int) -> dict[str, Any] | None:
    """The look at this step; None when there is none (any more)."""
    try:
        return json.loads(_path(folder, step).read_text("utf-8"))
    except FileNotFoundError:
        return None


def write_look(folder: Path, look: dict[str, Any]) -> None:
    """Keep a look. A deleted folder is made anew: others of the same sweep train on, and must not fail for it."""
    with atomic_file(_path(folder, int(look["step"]))) as file:
        file.write(json.dumps(look, separators=(",", ":")).encode())


def drop_looks(folder: Path, every: int, steps_done: int) -> None:
    """Forget looks beyond `steps_done`, as when a training goes on from there, and those that `every` passes over."""
    for step in list_looks(folder):
        if step > steps_done or (step % every and step != steps_done):
            _path(folder, step).unlink(missing_ok=True)


def ask_for(folder: Path, latents: Iterable[int]) -> None:
    """Have these latents in every look from now on, whatever was asked for before. A running training looks at once."""
    (folder / FOLDER).mkdir(exist_ok=True)
    with atomic_file(folder / FOLDER / _ASKED, make_parents=False) as file:
        file.write(json.dumps(sorted(set(latents))).encode())


def asked_for(folder: Path) -> list[int]:
    """The latents that were asked for."""
    try:
        return [int(latent) for latent in json.loads((folder / FOLDER / _ASKED).read_text("utf-8"))]
    except FileNotFoundError:
        return []


def asked_at(folder: Path) -> int:
    """When they were asked for, as the file system's clock has it; 0 where none were."""
    try:
        return (folder / FOLDER / _ASKED).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _path(folder: Path, step: int) -> Path:
    return folder / FOLDER / f"step-{step:09d}.json"
