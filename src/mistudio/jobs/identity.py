"""Who a process is, so that another process on the same machine can tell at once that it has died."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

import psutil


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii").strip()
    except OSError:
        return ""


@cache
def machine() -> str:
    """This boot of this machine, and this container of it: within it, process ids are comparable."""
    boot = _read("/proc/sys/kernel/random/boot_id") or f"{psutil.boot_time():.0f}"
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{boot}/{namespace}"


@cache
def _identity(pid: int) -> str:
    return f"{machine()}|{pid}|{_started(pid)}"


def this_process() -> str:
    """`machine|pid|start`: unique over reboots, containers and reused process ids."""
    return _identity(os.getpid())


def _started(pid: int) -> str | None:
    """When a living process began; None if there is none (a zombie counts as dead)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def is_here(owner: str) -> bool:
    """Whether the owner lived on this boot of this machine, so that `is_dead` can tell."""
    return owner.split("|", 1)[0] == machine()


def is_dead(owner: str) -> bool:
    """True if the process that `owner` names is known to be gone; False if alive or on another machine."""
    parts = owner.split("|")
    return is_here(owner) and _started(int(parts[1])) != parts[2]
