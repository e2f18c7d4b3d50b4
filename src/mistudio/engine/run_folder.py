"""The files of a run: its curves, its checkpoints, the finished dictionary, and what it was started with.

    run.json               what is trained on what (so that going on with something else is refused)
    metrics.bin            the curves, a `store.MetricLog`
    changes.json           what was changed while it trained (`engine.changes`)
    checkpoints/step-…     states from which it goes on (`engine.checkpoints`)
    sae/                   the dictionary, once it is finished
    result.json            what was measured of it, written last

Every file is there whole or not at all, whenever the process is killed. Imports no PyTorch by itself.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mistudio.engine.changes import read_changes
from mistudio.engine.checkpoints import METRICS_FILE as METRICS_FILE
from mistudio.engine.checkpoints import RESULT_FILE
from mistudio.engine.errors import EngineError
from mistudio.sae.config import TrainerConfig
from mistudio.sae.config.live import LENGTH, differences
from mistudio.store import MetricLog, atomic_file, read_metrics, writable_folder

_TELL_SECONDS = 0.25


class RunRefused(EngineError):
    """A folder that holds another run than the one that was to go on in it."""

    code = "run_refused"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=1, sort_keys=True).encode())


def begin(folder: Path, config: TrainerConfig, wanted: Mapping[str, Any]) -> TrainerConfig:
    """Note what a run is, or check that the folder's run is the same; returns the settings that it was started with.

    `wanted` holds everything that its result depends on, `config` among it. A run may be longer than it was.
    Raises RunRefused naming what differs: results of one run must not go on under the name of another; NotWritable.
    """
    path = folder / "run.json"
    wanted = json.loads(json.dumps(wanted))
    if not path.exists():
        writable_folder(folder)
        write_json(path, wanted)
        return config
    try:
        found = json.loads(path.read_text("utf-8"))
        started = TrainerConfig.model_validate(found["config"])
    except (ValueError, KeyError) as error:
        raise RunRefused(f"{path} is not readable ({error}).", "Train into another folder.") from error
    same = {**found, "config": wanted["config"]}
    settings = [f"config.{name}" for name in differences(started, config) if name != LENGTH]
    differing = sorted([*_differences(same, wanted), *settings])
    length = _length(folder, started)
    if config.total_tokens < length:
        differing.append(f"config.{LENGTH} ({config.total_tokens:,}, and it has {length:,})")
    if differing:
        raise RunRefused(
            f"The folder {folder} holds a run with other settings: {', '.join(differing)}.",
            "Go on with the settings that it was started with, or train into another folder.",
        )
    return started


def order_begun(folder: Path) -> dict[str, int] | None:
    """The `seed` and `batch_size` in which the folder's run reads its source; None where it has not begun."""
    try:
        return json.loads((folder / "run.json").read_text("utf-8")).get("order")
    except (OSError, ValueError):
        return None


def _length(folder: Path, started: TrainerConfig) -> int:
    """The tokens for which the run was meant last."""
    lengths = [change.after for change in read_changes(folder) if change.name == LENGTH]
    return int(lengths[-1]) if lengths else started.total_tokens


def finished(folder: Path, config: TrainerConfig) -> dict[str, Any] | None:
    """What was measured of a run that was finished; None while it is not, or is to be longer now."""
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    said = json.loads(path.read_text("utf-8"))
    return said if int(said["tokens"]) >= config.total_tokens else None


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

    `listener` is given new points every quarter of a second, before whatever keeps the run from its next step (`tell`,
    `sync`), and at the end; they can be read from the log by then.
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
                self.tell()

    def tell(self) -> None:
        """Give the listener what it has not been given yet."""
        if self._listener is not None and self._untold:
            if self._log is not None:
                self._log.flush()
            points, self._untold = self._untold, []
            self._listener(points)
        self._told_at = time.monotonic()

    def columns(self) -> dict[str, list[float]]:
        """All points as columns of equal length, `step`, `tokens` and `time` among them."""
        names = self._rows[0] if self._rows else ()
        return {name: [row.get(name, float("nan")) for row in self._rows] for name in names}

    def means(self, after: int) -> dict[str, float]:
        """The mean of each metric over the points of later steps than `after`, NaN where it was not measured."""
        rows: list[dict[str, float]] = []
        for row in reversed(self._rows):
            if row["step"] <= after and rows:
                break
            rows.append(row)
        names = [name for name in (rows[0] if rows else ()) if name not in ("step", "tokens", "time")]
        found: dict[str, float] = {}
        for name in names:
            seen = [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]
            found[name] = math.fsum(seen) / len(seen) if seen else math.nan
        return found

    def sync(self) -> None:
        """Make the points so far as durable as the checkpoint that follows."""
        self.tell()
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Write and tell everything, and let the file go."""
        self.tell()
        if self._log is not None:
            self._log.close()
            self._log = None
