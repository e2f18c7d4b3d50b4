"""Curves also sent to TensorBoard, Weights & Biases or trackio, through their own packages.

A tracker is a guest: it works on a thread of its own, what it cannot take is dropped, and whatever it raises is said in
the job's log and ends it, never the training. The packages are imported in jobs only, and only where one is asked for.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib.util
import json
import math
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from mistudio.errors import StudioError

TrackerKind = Literal["tensorboard", "wandb", "trackio"]
NAMES: dict[TrackerKind, str] = {
    "tensorboard": "TensorBoard",
    "wandb": "Weights & Biases",
    "trackio": "trackio",
}
_MOST_WAITING = 5_000
_CLOSE_SECONDS = 30.0

Point = Mapping[str, float]
Say = Callable[[str, Literal["info", "warning"]], None]


class Tracked(Protocol):
    """One run in a tracker."""

    def point(self, step: int, time: float, values: Mapping[str, float]) -> None:
        """Take the values of a step; `time` in seconds since 1970."""

    def close(self) -> None:
        """Send what waits, and end."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run. folder: its own, for files of the tracker; it goes with the run."""

    id: str
    name: str
    group: str
    config: Mapping[str, Any]
    folder: Path


def check_trackers(kinds: Sequence[TrackerKind]) -> None:
    """Refuse a tracker whose package is missing, before anything is started. Raises StudioError `tracker_missing`."""
    for kind in kinds:
        if importlib.util.find_spec(kind) is None:
            raise StudioError(
                "tracker_missing",
                f"Curves cannot be sent to {NAMES[kind]}: its package is not installed on this machine.",
                hint=f"Install it with: pip install 'mistudio[{kind}]', or start without it.",
                status=422,
                fields={"trackers": f"{kind} is not installed"},
            )


class Trackers:
    """The trackers of a job's runs, on their own thread. Never raises."""

    def __init__(
        self,
        kinds: Sequence[TrackerKind],
        runs: Sequence[TrackedRun],
        *,
        project: str,
        data_dir: Path,
        say: Say,
    ) -> None:
        self._say = say
        self._runs = {run.id: run for run in runs}
        self._project, self._data_dir = project, data_dir
        self._open: dict[tuple[TrackerKind, str], Tracked] = {}
        self._failed: set[TrackerKind] = set()
        self._kinds = tuple(kinds)
        self._dropped = 0
        self._waiting: queue.Queue[tuple[str, list[Point]] | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        if self._kinds:
            self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
            self._thread.start()

    def points(self, run_id: str, points: list[dict[str, float]]) -> None:
        """Pass points of a run on; returns at once."""
        if self._thread is None:
            return
        try:
            self._waiting.put_nowait((run_id, [dict(point) for point in points]))
        except queue.Full:
            self._dropped += len(points)

    def close(self) -> None:
        """Wait until all is sent, but not for a tracker that hangs."""
        if self._thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_CLOSE_SECONDS)
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            names = ", ".join(NAMES[kind] for kind in self._kinds if kind not in self._failed)
            self._say(f"{names} did not take the last points within {_CLOSE_SECONDS:.0f} s.", "warning")
        if self._dropped:
            self._say(f"Trackers were too slow: {self._dropped:,} points were not sent to them.", "warning")
        self._thread = None

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            run_id, points = item
            for kind in self._kinds:
                if kind not in self._failed:
                    self._guarded(kind, partial(self._send, kind, run_id, points))
        for (kind, _), tracked in self._open.items():
            self._guarded(kind, tracked.close)

    def _send(self, kind: TrackerKind, run_id: str, points: list[Point]) -> None:
        tracked = self._open.get((kind, run_id))
        if tracked is None:
            run = self._runs[run_id]
            tracked = _OPEN[kind](run, self._project, self._data_dir, int(points[0]["step"]), self._say)
            self._open[kind, run_id] = tracked
        for point in points:
            values = {
                name: float(value)
                for name, value in point.items()
                if name not in ("step", "time") and math.isfinite(value)
            }
            tracked.point(int(point["step"]), float(point["time"]), values)

    def _guarded(self, kind: TrackerKind, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # whatever a guest's package raises is its own affair
            self._failed.add(kind)
            first = next(iter(str(error).splitlines()), "")
            self._say(
                f"{NAMES[kind]} gets no further points of this training: {type(error).__name__}: {first}"[
                    :400
                ],
                "warning",
            )
        except SystemExit:  # W&B ends the process that it cannot log in
            self._failed.add(kind)
            self._say(f"{NAMES[kind]} gave up, and gets no further points of this training.", "warning")


class _TensorBoard:
    """Event files in the run's folder `tensorboard`; what an earlier attempt wrote beyond the first step is purged."""

    def __init__(self, run: TrackedRun, project: str, data_dir: Path, first_step: int, say: Say) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / "tensorboard"
        again = folder.exists()
        writer: Any = SummaryWriter
        self._writer = writer(str(folder), purge_step=first_step if again else None)
        if not again:
            self._writer.add_text("name", run.name)
            self._writer.add_text("config", f"```json\n{json.dumps(dict(run.config), indent=2)}\n```")

    def point(self, step: int, time: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, walltime=time)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    """A run of Weights & Biases of the training's id, which a later attempt takes up.

    Online where a key is known to it, or WANDB_MODE says so; offline otherwise, to be sent with `wandb sync`.
    """

    def __init__(self, run: TrackedRun, project: str, data_dir: Path, first_step: int, say: Say) -> None:
        import wandb

        wandb_: Any = wandb
        os.environ.setdefault("WANDB_SILENT", "true")
        mode = os.environ.get("WANDB_MODE") or (
            "online" if wandb_.Api is not None and _wandb_key() else "offline"
        )
        run.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb_.init(
            project=project,
            id=run.id,
            name=run.name,
            group=run.group,
            config=dict(run.config),
            dir=str(run.folder),
            mode=mode,
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            settings=wandb_.Settings(init_timeout=20, console="off", silent=True),
        )
        if mode == "offline":
            say(
                "Weights & Biases is offline: send this run later with “wandb sync” on its folder wandb.",
                "info",
            )

    def point(self, step: int, time: float, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def _wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    return netrc.is_file() and "wandb" in netrc.read_text("utf-8", "replace")


class _Trackio:
    """A run of trackio, in the data folder's `trackio` unless TRACKIO_DIR, or a Space or server, says otherwise."""

    def __init__(self, run: TrackedRun, project: str, data_dir: Path, first_step: int, say: Say) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(data_dir / "trackio"))
        import trackio

        init: Any = trackio.init
        # A context of its own for each run: the package would end the one that it finds in the context.
        self._run: Any = contextvars.Context().run(
            init,
            project=project,
            name=f"{run.name} ({run.id})",
            group=run.group,
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def point(self, step: int, time: float, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_OPEN: dict[TrackerKind, Callable[[TrackedRun, str, Path, int, Say], Tracked]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WandB,
    "trackio": _Trackio,
}
