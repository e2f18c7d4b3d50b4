"""The environment variables of a job's process: how many threads it has, how they wait, what it must not print."""

from __future__ import annotations

import os
from collections.abc import Mapping

import psutil

from mistudio.settings import Settings

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_DEFAULTS = {
    # Threads that wait for work must sleep: on a machine with more threads than cores, spinning ones take the
    # cores from those that work.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_ALWAYS = {
    "PYTHONUNBUFFERED": "1",
    # What the libraries draw is not progress that anybody follows, but it would fill the job's log.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


def job_environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with what a job's process needs. `cpu_threads` beats what `base` says; its default does not."""
    environment = _DEFAULTS | dict(base) | _ALWAYS
    if settings.cpu_threads is not None:
        return environment | dict.fromkeys(_THREADS, str(settings.cpu_threads))
    given = base.get("OMP_NUM_THREADS") or str(default_threads(settings))
    return dict.fromkeys(_THREADS, given) | environment


def default_threads(settings: Settings) -> int:
    """The physical cores that this process may use, shared by the jobs that may run at once."""
    cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores // settings.cpu_slots)
