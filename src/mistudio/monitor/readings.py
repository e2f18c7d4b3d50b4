"""One look at the machine. Counters of the system become rates by what they were at the look before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from mistudio.monitor.gpus import Gpus
from mistudio.monitor.processes import WorkProcesses
from mistudio.monitor.schemas import Cpu, Disk, Memory, Network, Sample


class Rate:
    """Bytes a second from a counter that only grows; None before the second reading and where there is
    none."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def read(self, counter: float | None, now: float) -> float | None:
        """The mean rate since the reading before. A counter that went back (an interface left) gives None."""
        last, self._last = self._last, None if counter is None else (counter, now)
        if counter is None or last is None or now <= last[1] or counter < last[0]:
            return None
        return (counter - last[0]) / (now - last[1])


class Machine:
    """The machine as seen from one process; call `sample` from one thread, again and again."""

    def __init__(self, data_dir: Path, is_our_job: Callable[[str], bool]) -> None:
        """`is_our_job(id)` tells the jobs whose processes are shown from those of other servers."""
        self._data_dir = data_dir
        self._gpus = Gpus()
        self._processes = WorkProcesses(is_our_job)
        self._read, self._written = Rate(), Rate()
        self._received, self._sent = Rate(), Rate()
        psutil.cpu_percent(percpu=True)  # begins its own interval

    def sample(self) -> Sample:
        """Measure now. Percentages and rates are means since the call before (the first: since creation)."""
        now = time.monotonic()
        gpus = self._gpus.read()
        held: dict[int, int] = {}
        for gpu in gpus:
            for process in gpu.processes:
                held[process.pid] = held.get(process.pid, 0) + (process.memory or 0)
        return Sample(
            at=time.time(),
            cpu=_cpu(),
            memory=_memory(),
            disk=self._disk(now),
            network=self._network(now),
            gpus=gpus,
            processes=self._processes.read(held if gpus else None),
        )

    def close(self) -> None:
        """Let go of NVML."""
        self._gpus.close()

    def _disk(self, now: float) -> Disk:
        usage = psutil.disk_usage(str(self._data_dir))
        counters = psutil.disk_io_counters()
        return Disk(
            total=usage.total,
            used=usage.used,
            free=usage.free,
            read_rate=self._read.read(counters.read_bytes if counters else None, now),
            write_rate=self._written.read(counters.write_bytes if counters else None, now),
        )

    def _network(self, now: float) -> Network:
        every = psutil.net_io_counters(pernic=True)
        cards = [card for name, card in every.items() if not name.startswith("lo")]
        received = sum(card.bytes_recv for card in cards) if cards else None
        sent = sum(card.bytes_sent for card in cards) if cards else None
        return Network(received_rate=self._received.read(received, now), sent_rate=self._sent.read(sent, now))


def _cpu() -> Cpu:
    cores = psutil.cpu_percent(percpu=True)
    return Cpu(
        total=round(sum(cores) / len(cores), 1) if cores else 0.0,
        cores=cores,
        load=[round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else [],
    )


def _memory() -> Memory:
    main, swap = psutil.virtual_memory(), psutil.swap_memory()
    return Memory(
        total=main.total,
        used=main.total - main.available,
        available=main.available,
        swap_total=swap.total,
        swap_used=swap.used,
    )
