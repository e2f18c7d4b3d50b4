"""Samples the machine every two seconds, remembers an hour, and tells whoever follows `system/…`."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.orm import Session

from mistudio.errors import NotFound, StudioError
from mistudio.monitor.readings import Machine
from mistudio.monitor.schemas import Gpu, GpuHistory, History, Sample

_log = logging.getLogger("mistudio.monitor")

INTERVAL_SECONDS = 2.0
HISTORY_SECONDS = 3_600
SNAPSHOT_SECONDS = 600


class Publisher(Protocol):
    """Where samples go."""

    def publish(self, channel: str, type: str, data: Any, key: str | None = None) -> None:
        """Announce an event."""
        ...


_current: Sampler | None = None
"""The sampler of this process: a server process watches its machine once."""


class Sampler:
    """A thread that samples. `start` makes it the one that snapshots and routes read from."""

    def __init__(
        self,
        data_dir: Path,
        publisher: Publisher,
        is_our_job: Callable[[str], bool],
        *,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self.interval = interval
        self._data_dir = data_dir
        self._is_our_job = is_our_job
        self._publisher = publisher
        self._samples: deque[Sample] = deque(maxlen=int(HISTORY_SECONDS / interval))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mistudio-monitor", daemon=True)

    def start(self) -> None:
        """Begin; the first sample comes after a moment, so that it has rates."""
        global _current
        _current = self
        self._thread.start()

    def stop(self) -> None:
        """End within a moment."""
        global _current
        self._stopped.set()
        if _current is self:
            _current = None
        self._thread.join(timeout=2)

    def samples(self, seconds: float = HISTORY_SECONDS) -> list[Sample]:
        """The samples of the last `seconds`, oldest first; processes are those of the newest only."""
        since = time.time() - seconds
        return [sample for sample in list(self._samples) if sample.at >= since]

    def latest(self) -> Sample:
        """The newest sample. Raises StudioError `not_sampled_yet` in the first moments."""
        if not self._samples:
            raise StudioError(
                "not_sampled_yet",
                "The machine has not been measured yet.",
                hint="Try again in a second.",
                status=503,
            )
        return self._samples[-1]

    def _run(self) -> None:
        machine = Machine(self._data_dir, self._is_our_job)
        due = time.monotonic() + min(0.2, self.interval)
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            try:
                sample = machine.sample()
                if self._samples:
                    # Nobody asks which processes ran then, and an hour of them is most of what would be kept.
                    self._samples[-1] = self._samples[-1].model_copy(update={"processes": []})
                self._samples.append(sample)
                for channel in channels(sample):
                    self._publisher.publish(channel, "sample", reading(sample, channel))
            except Exception:
                _log.exception("The machine could not be sampled")
            due = max(due + self.interval, time.monotonic())
        machine.close()


def current() -> Sampler:
    """The sampler of this process. Raises StudioError `not_watched` when none runs."""
    if _current is None:
        raise StudioError("not_watched", "This process does not watch the machine.", status=503)
    return _current


def channels(sample: Sample) -> list[str]:
    """The channels that a sample is published on."""
    parts = ["system/cpu", "system/memory", "system/disk", "system/network", "system/processes"]
    return parts + [f"system/gpu/{gpu.index}" for gpu in sample.gpus]


def reading(sample: Sample, channel: str) -> dict[str, Any]:
    """The part of a sample that belongs to a channel, with its time. Raises NotFound."""
    _, part, *rest = channel.split("/")
    if part == "gpu" and rest:
        gpu = next((gpu for gpu in sample.gpus if str(gpu.index) == rest[0]), None)
        if gpu is None:
            raise NotFound("gpu", rest[0])
        return {"at": sample.at, **gpu.model_dump()}
    if part == "processes":
        return {"at": sample.at, "processes": [process.model_dump() for process in sample.processes]}
    if part in ("cpu", "memory", "disk", "network"):
        return {"at": sample.at, **getattr(sample, part).model_dump()}
    raise NotFound("channel", channel)


def snapshot(_session: Session, channel: str) -> dict[str, Any]:
    """The state behind `system` and `system/…`: the newest reading and the last ten minutes of it.

    `system` alone: which channels there are, and everything now.
    """
    sampler = current()
    latest = sampler.latest()
    if channel == "system":
        return {"now": latest.model_dump(), "channels": channels(latest), "interval": sampler.interval}
    now = reading(latest, channel)
    recent = sampler.samples(SNAPSHOT_SECONDS) if channel != "system/processes" else []
    return {
        "now": now,
        "interval": sampler.interval,
        "history": {
            "at": [sample.at for sample in recent],
            **{
                name: [_value(sample, channel, name) for sample in recent]
                for name, value in now.items()
                if name not in ("at", "index", "name", "processes") and isinstance(value, (int, float, list))
            },
        },
    }


def _value(sample: Sample, channel: str, name: str) -> Any:
    try:
        return reading(sample, channel)[name]
    except NotFound:
        return None  # the GPU was not there then


def history(samples: Sequence[Sample]) -> History:
    """Samples as columns."""
    cores = max((len(sample.cpu.cores) for sample in samples), default=0)
    indices = sorted({gpu.index for sample in samples for gpu in sample.gpus})
    return History(
        at=[sample.at for sample in samples],
        cpu=[sample.cpu.total for sample in samples],
        cores=[[_at(sample.cpu.cores, core) for sample in samples] for core in range(cores)],
        memory_used=[sample.memory.used for sample in samples],
        swap_used=[sample.memory.swap_used for sample in samples],
        disk_used=[sample.disk.used for sample in samples],
        read_rate=[sample.disk.read_rate for sample in samples],
        write_rate=[sample.disk.write_rate for sample in samples],
        received_rate=[sample.network.received_rate for sample in samples],
        sent_rate=[sample.network.sent_rate for sample in samples],
        gpus=[
            GpuHistory(
                index=index,
                utilization=_column(samples, index, lambda gpu: gpu.utilization),
                memory_used=_column(samples, index, lambda gpu: gpu.memory_used),
                temperature=_column(samples, index, lambda gpu: gpu.temperature),
                power=_column(samples, index, lambda gpu: gpu.power),
            )
            for index in indices
        ],
    )


def _at(cores: Sequence[float], core: int) -> float:
    return cores[core] if core < len(cores) else 0.0


def _column(samples: Sequence[Sample], index: int, of: Callable[[Gpu], Any]) -> list[Any]:
    """One figure of one GPU per sample; None where the GPU was not there."""
    return [next((of(gpu) for gpu in sample.gpus if gpu.index == index), None) for sample in samples]
