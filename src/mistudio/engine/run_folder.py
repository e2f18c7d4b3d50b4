"""The files of a run: its curves, its checkpoints, the finished dictionary, and what it was started with.

    run.json               what is trained on what (so that going on with something else is refused)
    metrics.bin            the curves, a `store.MetricLog`
    checkpoints/step-…     states from which it goes on, the newest two
    sae/                   the dictionary, once it is finished
    result.json            what was measured of it, written last

Every file is there whole or not at all, whenever the process is killed. Imports no PyTorch by itself.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistudio.engine.errors import EngineError
from mistudio.store import MetricLog, atomic_file, folder_bytes, read_metrics

if TYPE_CHECKING:
    from mistudio.sae import Trainer

METRICS_FILE = "metrics.bin"
KEPT = 2
_PREFIX = "step-"
_TELL_SECONDS = 0.25


class RunRefused(EngineError):
    """A folder that holds another run than the one that was to go on in it."""

    code = "run_refused"


@dataclass(frozen=True)
class Checkpoint:
    """A state on disk from which a training can go on."""

    step: int
    path: Path

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return folder_bytes(self.path)

    @property
    def created_at(self) -> datetime:
        """When it was finished."""
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints in a run's folder, oldest first."""
    found = [
        Checkpoint(int(path.name.removeprefix(_PREFIX)), path)
        for path in (folder / "checkpoints").glob(f"{_PREFIX}*")
        if path.name.removeprefix(_PREFIX).isdigit()
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def write_checkpoint(folder: Path, trainer: Trainer, extra: dict[str, Any]) -> None:
    """Write the trainer's state and its place in the data; then let older ones than the newest two go."""
    target = folder / "checkpoints" / f"{_PREFIX}{trainer.steps_done:09d}"
    # ranks save together: none may turn back because another has written it already
    if trainer.together or not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(target, extra=extra)
    if trainer.first:
        drop_checkpoints(folder, keep=KEPT)


def drop_checkpoints(folder: Path, *, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for checkpoint in list_checkpoints(folder)[:-keep]:
        # A rename first: a half-deleted folder must not look like a checkpoint.
        doomed = checkpoint.path.with_name(f".old-{checkpoint.path.name}")
        checkpoint.path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=1, sort_keys=True).encode())


def begin(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Note what a run is, or check that the folder's run is the same.

    Raises RunRefused naming what differs: results of one run must not go on under the name of another.
    """
    path = folder / "run.json"
    wanted = json.loads(json.dumps(wanted))
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunRefused(f"{path} is not readable JSON ({error}).", "Train into another folder.") from error
    differing = sorted(_differences(found, wanted))
    if differing:
        raise RunRefused(
            f"The folder {folder} holds a run with other settings: {', '.join(differing)}.",
            "Go on with the settings that it was started with, or train into another folder.",
        )


def read_result(folder: Path) -> dict[str, Any] | None:
    """What was measured of a finished run; None when it is not finished."""
    path = folder / "result.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def folder_of(parent: Path, name: str) -> Path:
    """The folder of a run of this name within the one that holds several runs."""
    return parent / (re.sub(r"[^\w.=+ -]", "_", name).strip(". ") or "run")


def _differences(found: Any, wanted: Any, place: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        both: dict[str, Any] = {**found, **wanted}
        return [
            name
            for key in both
            for name in _differences(found.get(key), wanted.get(key), f"{place}.{key}" if place else key)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        ]
    return [] if found == wanted else [place]


OnPoints = Callable[[list[dict[str, float]]], None]


class Curves:
    """The points of a run's curves: kept in memory, and in a log where there is a folder.

    `listener` is given new points every quarter of a second and at the end; they can be read from the log by then.
    """

    def __init__(self, path: Path | None, steps_done: int, listener: OnPoints | None = None) -> None:
        self._path, self._resumed_at, self._listener = path, steps_done, listener
        self._untold: list[dict[str, float]] = []
        self._told_at = 0.0
        self._log: MetricLog | None = None
        self._previous: tuple[float, float] | None = None
        self._rows: list[dict[str, float]] = []
        if path is not None and steps_done and path.exists():
            stored = read_metrics(path)
            kept = stored["step"] <= steps_done
            columns = {name: values[kept].tolist() for name, values in stored.items()}
            self._rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    @property
    def last(self) -> dict[str, float]:
        """The newest point."""
        return self._rows[-1] if self._rows else {}

    def add(self, row: Mapping[str, float | int]) -> None:
        """Append one point, with `time` (seconds since 1970) and `tokens_per_second` (measured between two points)."""
        now, tokens, rate = time.monotonic(), float(row["tokens"]), float("nan")
        if self._previous is not None:
            then, tokens_then = self._previous
            rate = (tokens - tokens_then) / max(now - then, 1e-9)
        self._previous = (now, tokens)
        point = {"time": time.time(), **{k: float(v) for k, v in row.items()}, "tokens_per_second": rate}
        self._rows.append(point)
        if self._path is not None:
            values = {name: value for name, value in point.items() if name not in ("step", "tokens", "time")}
            if self._log is None:
                self._log = MetricLog(self._path, list(values))
                self._log.truncate_after(self._resumed_at)
            self._log.append(int(row["step"]), int(row["tokens"]), values, point["time"])
        if self._listener is not None:
            self._untold.append(point)
            if now - self._told_at >= _TELL_SECONDS:
                self._tell(now)

    def _tell(self, now: float) -> None:
        if self._listener is not None and self._untold:
            if self._log is not None:
                self._log.flush()
            points, self._untold = self._untold, []
            self._listener(points)
        self._told_at = now

    def columns(self) -> dict[str, list[float]]:
        """All points as columns of equal length, `step`, `tokens` and `time` among them."""
        names = self._rows[0] if self._rows else ()
        return {name: [row.get(name, float("nan")) for row in self._rows] for name in names}

    def sync(self) -> None:
        """Make the points so far as durable as the checkpoint that follows."""
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Write and tell everything, and let the file go."""
        self._tell(time.monotonic())
        if self._log is not None:
            self._log.close()
            self._log = None
