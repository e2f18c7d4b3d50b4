"""A sweep as a terminal shows it while it trains: a live line for each SAE, read from its curves as they grow.

It reads what anybody may read, files and rows, so it shows the same whoever runs the job.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mistudio.console.waiting import figures
from mistudio.engine.run_folder import METRICS_FILE
from mistudio.jobs import Job
from mistudio.settings import Settings
from mistudio.store import TornFile, read_metrics
from mistudio.training.tables import Training
from mistudio.training.views import training_folder

_LINE_SECONDS = 15.0
_SHOWN = ("fvu", "l0", "dead_fraction")


@dataclass
class _Sae:
    name: str
    path: Path
    total_steps: int
    step: int = 0
    values: dict[str, float] = field(default_factory=dict[str, float])
    seen: int = 0

    def read(self) -> None:
        """Take up the points that were recorded since."""
        if not self.path.exists():
            return
        try:
            points = read_metrics(self.path, self.seen)
        except (TornFile, OSError):  # it is being written anew: the next look finds it whole
            self.seen = 0
            return
        if len(points["step"]):
            self.seen += len(points["step"])
            self.step = int(points["step"][-1])
            self.values = {name: float(points[name][-1]) for name in _SHOWN if name in points}


class LiveTable:
    """Shows a sweep's job until it is closed: a table that is drawn anew in a terminal, plain lines elsewhere."""

    def __init__(self, settings: Settings, trainings: Sequence[Training]) -> None:
        shared = _shared_start([one.name for one in trainings])
        self._saes = [
            _Sae(
                one.name[shared:] or one.name,
                training_folder(settings, one.id) / METRICS_FILE,
                -(-int(one.config["total_tokens"]) // int(one.config["batch_size"])),
            )
            for one in trainings
        ]
        self._live: Live | None = None
        self._said, self._said_at = "", 0.0
        if sys.stderr.isatty():
            self._live = Live(console=RichConsole(stderr=True), refresh_per_second=4)
            self._live.start()

    def show(self, job: Job) -> None:
        """Draw what is known now."""
        for sae in self._saes:
            sae.read()
        if self._live is not None:
            self._live.update(self._table(job))
            return
        stage, _, _ = (job.stage or "").partition(", ")
        now, said = time.monotonic(), f"{job.state} {stage}".strip()
        if said == self._said and now - self._said_at < _LINE_SECONDS:
            return
        self._said, self._said_at = said, now
        if job.state != "running" or not any(sae.step for sae in self._saes):
            sys.stderr.write(f"{job.title}: {said}{_amount(job)}\n")
        for sae in self._saes if job.state == "running" else ():
            if sae.step:
                step = f"step {sae.step:,}/{sae.total_steps:,}"
                sys.stderr.write(
                    "  ".join([sae.name, step, *self._figures(sae), *_pace(job)]).rstrip() + "\n"
                )
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._live.stop()

    def _table(self, job: Job) -> Group:
        rate, left = _pace(job)
        stage = job.stage if job.state == "running" and job.stage else job.state
        amount = _amount(job)
        between = "\n" if amount else " · "
        title = Text(f"{job.title}{between}{stage}{amount}", style="italic")
        grid = Table(box=None, pad_edge=False)
        for column in ("SAE", "Step", "FVU", "L0", "Dead", "Speed", "Left"):
            grid.add_column(column, justify="left" if column == "SAE" else "right", no_wrap=column != "SAE")
        for sae in self._saes:
            done = sae.step >= sae.total_steps
            step = f"{sae.step:,}/{sae.total_steps:,}"
            fvu, l0, dead = (part.partition(" ")[2] for part in self._figures(sae))
            grid.add_row(sae.name, step, fvu, l0, dead, "" if done else rate, "done" if done else left)
        return Group(title, grid)

    @staticmethod
    def _figures(sae: _Sae) -> tuple[str, str, str]:
        fvu, l0, dead = (sae.values.get(name, math.nan) for name in _SHOWN)
        return (
            f"FVU {fvu:.4f}" if math.isfinite(fvu) else "FVU –",
            f"L0 {l0:.1f}" if math.isfinite(l0) else "L0 –",
            f"dead {dead:.1%}" if math.isfinite(dead) else "dead –",
        )


def _amount(job: Job) -> str:
    """How far a stage is that no SAE has a step in, with rate and time left."""
    if job.state != "running" or job.unit in (None, "tokens") or not job.total:
        return ""
    return f": {figures(job)}"


def _pace(job: Job) -> tuple[str, str]:
    """Tokens a second and the time left, as far as they are known."""
    rate = f"{job.rate:,.0f} tokens/s" if job.rate and job.unit == "tokens" else ""
    if job.seconds_left is None or job.state != "running" or job.unit != "tokens":
        return rate, ""
    return rate, _clock(job.seconds_left)


def _clock(seconds: float) -> str:
    """0:20, or 1:02:03 from an hour on."""
    whole = round(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{whole // 60 % 60:0{2 if hours else 1}d}:{whole % 60:02d}"


def _shared_start(names: list[str]) -> int:
    """How many first characters all names share, up to the last “ · ” in them."""
    if len(names) < 2:
        return 0
    shared = 0
    while all(shared < len(name) and name[shared] == names[0][shared] for name in names):
        shared += 1
    cut = names[0][:shared].rfind(" · ")
    return cut + 3 if cut >= 0 else 0
