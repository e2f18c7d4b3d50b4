"""A process that trains in children of its own and kills them: `python -m tests.engine.killing FOLDER KILLS`.

It imports PyTorch once; each child is a fork that goes on with the training in a folder and dies at a random point: by
its own hand at a line of the program drawn by chance, or by its parent's after a time drawn by chance (which may be
within a call of the system). A child that comes to the end leaves a folder to compare, and the next starts anew.
Prints one JSON object: how many were killed where, and what each finished folder holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from mistudio.engine import Progress, Run, settings, train_runs
from mistudio.engine.changes import Wanted, read_changes
from mistudio.engine.checkpoints import list_checkpoints
from mistudio.store import read_metrics
from tests.engine.test_training import RESIDUAL, Rows

STEPS = 60
CONFIG = settings(
    architecture="batch_topk",
    d_sae=24,
    k=3,
    total_tokens=32 * STEPS,
    batch_size=32,
    learning_rate=3e-3,
    log_every=1,
    checkpoint_every=4,
    ema_decay=0.9,
    resample_dead_neurons=True,
    dead_neuron_threshold=64,
    resample_interval=7,
)
RUNS = [
    Run(RESIDUAL, config=CONFIG, name="first"),
    Run(
        RESIDUAL,
        config=settings(CONFIG, architecture="jump_relu", target_l0=4, checkpoint_every=7),
        name="second",
    ),
]
CHANGES = {
    9: Wanted("learning_rate", 1e-3),
    23: Wanted("k", 5, "first"),
    31: Wanted("target_l0", 2, "second"),
}
_CLOCKED = ("time", "tokens_per_second", "memory")


def train(folder: Path) -> None:
    """Train both runs from where the folder is to their end, changing settings on the way."""
    taken = [0]

    def progress(report: Progress) -> None:
        if report.stage == "Train":
            taken[0] = int(report.done) // 32

    def changes() -> Sequence[Wanted]:
        return [CHANGES[taken[0]]] if taken[0] in CHANGES else []

    rows = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    folders = [folder / run.name for run in RUNS]
    train_runs(Rows(rows), RUNS, folders=folders, progress=progress, changes=changes)


def held(folder: Path) -> dict[str, Any]:
    """Everything that a finished folder holds, but for what depends on the clock."""
    found: dict[str, Any] = {}
    for run in RUNS:
        place = folder / run.name
        points, result = read_metrics(place / "metrics.bin"), json.loads((place / "result.json").read_text())
        files = [*place.glob("sae/*"), *place.glob("checkpoints/*/*.safetensors")]
        found[run.name] = {
            "files": {
                str(f.relative_to(place)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)
            },
            "metrics": {
                name: hashlib.sha256(values.tobytes()).hexdigest()
                for name, values in points.items()
                if not any(word in name for word in _CLOCKED)
            },
            "points": len(points["step"]),
            "changes": [[c.step, c.name, c.before, c.after] for c in read_changes(place)],
            "checkpoints": [[c.step, c.metrics["fvu"]] for c in list_checkpoints(place)],
            "result": {k: v for k, v in result.items() if k != "metrics"},
            "measured": {k: v for k, v in result["metrics"].items() if k == "fvu" or k.endswith("loss")},
            "left_over": [str(f.relative_to(place)) for f in place.rglob(".*")],
        }
    return found


class Lines:
    """Counts the lines of ours that a process runs, and ends it at one of them."""

    def __init__(self, last: float) -> None:
        self.seen, self._last = 0, last

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        return self.count if "mistudio" in frame.f_code.co_filename else None

    def count(self, frame: FrameType, event: str, _: Any) -> Any:
        self.seen += 1
        if self.seen > self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.count


def child(folder: Path, last: float | None, says: int | None = None) -> int:
    """Fork; the child trains, ending after `last` lines. Returns its process id."""
    if (pid := os.fork()) == 0:
        lines = Lines(last or float("inf"))
        if last is not None:
            sys.settrace(lines)
        train(folder)
        sys.settrace(None)
        if says is not None:
            os.write(says, str(lines.seen).encode())
        os._exit(0)
    return pid


def main(folder: Path, kills: int) -> None:
    """Kill so many children; see the module."""
    torch.set_num_threads(1)
    draw = random.Random(11)
    hear, says = os.pipe()
    began = time.monotonic()
    assert os.waitpid(child(folder / "unbroken", float("inf"), says), 0)[1] == 0
    seconds, lines = time.monotonic() - began, int(os.read(hear, 100))
    by_line = by_clock = 0
    finished = [folder / "unbroken"]
    number = 0
    while by_line + by_clock < kills:
        place = folder / f"broken-{number}"
        if by_line <= by_clock:
            status = os.waitpid(child(place, draw.random() * lines / 3), 0)[1]
            by_line += os.WIFSIGNALED(status)
        else:
            pid = child(place, None)
            time.sleep(draw.random() * seconds / 6)
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            by_clock += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):
            assert status == 0, f"a child failed with {status}"
            finished.append(place)
            number += 1
    last = folder / f"broken-{number}"
    assert os.waitpid(child(last, None), 0)[1] == 0
    said = {
        "by_line": by_line,
        "by_clock": by_clock,
        "lines": lines,
        "held": [held(f) for f in [*finished, last]],
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
