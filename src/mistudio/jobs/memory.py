"""Memory that jobs need and the machine has: who may start beside whom, and who was ended for want of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.errors import StudioError
from mistudio.jobs import states
from mistudio.jobs.tables import Job
from mistudio.settings import Settings

_CGROUP = Path("/sys/fs/cgroup")
_SHARE = 0.9
_NEARLY_ALL = 0.9


def machine_memory() -> int:
    """Bytes that this machine has, or its container where that has a limit."""
    total = int(psutil.virtual_memory().total)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = (_CGROUP / name).read_text().strip()
        except OSError:
            continue
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def job_memory(settings: Settings) -> int:
    """Bytes that the jobs of this machine may need together."""
    return settings.job_memory_bytes or int(_SHARE * machine_memory())


def kernel_kills() -> int:
    """How many processes the kernel has ended for want of memory, as far as it says; only ever grows."""
    found = 0
    for path, name in (
        (_CGROUP / "memory.events", "oom_kill"),
        (_CGROUP / "memory" / "memory.oom_control", "oom_kill"),
        (Path("/proc/vmstat"), "oom_kill"),
    ):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        found += sum(int(line.split()[1]) for line in lines if line.startswith(f"{name} "))
    return found


def starved(peak: int, kills: int, machine: int) -> bool:
    """Whether a process that was killed was killed for want of memory: the kernel has said so since it started
    (`kills` more than then), or it held nearly all there is (`peak` of `machine` bytes)."""
    return kills > 0 or peak > _NEARLY_ALL * machine


def refuse_what_never_fits(settings: Settings, needed: int, what: str) -> None:
    """Raises StudioError `would_not_fit` with the estimate when jobs of this machine may not need as much.

    On a cluster the memory is that of machines which are not known here, so nothing is refused.
    """
    allowed = job_memory(settings)
    if settings.dispatch == "local" and needed > allowed:
        raise StudioError(
            "would_not_fit",
            f"{what} would need about {gigabytes(needed)} of memory, and jobs on this machine may use "
            f"{gigabytes(allowed)}.",
            hint="Lower batch_size or d_sae, train fewer SAEs at a time, or read a cache instead of running the model "
            "alongside. The setting job_memory_bytes sets the limit.",
            status=422,
            fields={"config": f"needs about {gigabytes(needed)} of memory"},
        )


def refuse_what_no_gpu_holds(needed: int, largest: int, what: str) -> None:
    """Raises StudioError `would_not_fit_gpu` with the estimate when the `largest` GPU of this machine has less memory
    (bytes) than is needed there. The driver and its libraries keep a part of it for themselves."""
    allowed = int(_SHARE * largest)
    if needed > allowed:
        raise StudioError(
            "would_not_fit_gpu",
            f"{what} would need about {gigabytes(needed)} of GPU memory, and the largest GPU that may be used has "
            f"{gigabytes(allowed)} for it.",
            hint="Lower batch_size or d_sae, train fewer SAEs at a time, or read a cache instead of running the model "
            "alongside. The setting device=cpu trains without a GPU.",
            status=422,
            fields={"config": f"needs about {gigabytes(needed)} of GPU memory"},
        )


def head_waits(
    session: Session, resources: Collection[str], *, allowed: int, taken: int, only: Collection[str] | None
) -> bool:
    """Whether the first job in the queue that says what memory it needs must wait for those that run.

    None that says so may overtake it then, or it might wait for ever; the others may. With nothing running (`taken`
    is 0) it starts whatever it needs. Its `stage` says what it waits for.
    """
    query = select(Job).where(
        Job.state == "queued", Job.resource.in_(resources), Job.memory_bytes.is_not(None)
    )
    if only is not None:
        query = query.where(Job.id.in_(only))
    head = session.scalars(query.order_by(Job.priority.desc(), Job.queued_at, Job.id).limit(1)).one_or_none()
    if head is None or head.memory_bytes is None or not taken or head.memory_bytes <= allowed - taken:
        return False
    states.note_waiting(
        session,
        head,
        f"Waits for memory: needs {gigabytes(head.memory_bytes)}, {gigabytes(max(0, allowed - taken))} of "
        f"{gigabytes(allowed)} are free",
    )
    return True


def gigabytes(size: int) -> str:
    """`1.5 GB`, or `12 MB` of less than a tenth of a gigabyte."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
