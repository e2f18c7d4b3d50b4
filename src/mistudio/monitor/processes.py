"""The processes that work for this miStudio on this machine: this server, and one process tree per job."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import psutil
from sqlalchemy.exc import SQLAlchemyError

from mistudio.monitor.schemas import WorkProcess

JOB_MODULE = "mistudio.job_process"
_UNKNOWN = "?"


def job_of(command: Sequence[str]) -> str | None:
    """The job that a command line such as `python -m mistudio.job_process jb_…` works for."""
    for word, following in pairwise(command):
        if word == JOB_MODULE:
            return following
    return None


class WorkProcesses:
    """Finds job processes and measures them. A command line is read once per process, not once per sample.

    `is_ours(job_id)` says whether a job is one of this database: other servers of the machine have theirs.
    """

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours
        self._jobs: dict[psutil.Process, str | None] = {}
        # Processor time is a difference between two looks at the same object.
        self._measured: dict[psutil.Process, psutil.Process] = {}

    def read(self, gpu_memory: dict[int, int] | None = None) -> list[WorkProcess]:
        """Server first, then jobs by age. `gpu_memory` is bytes by process id."""
        seen = {process: self._jobs.get(process, _UNKNOWN) for process in psutil.process_iter()}
        self._jobs = {
            process: self._job(process) if job == _UNKNOWN else job for process, job in seen.items()
        }
        jobs = [(process, job) for process, job in self._jobs.items() if job not in (None, _UNKNOWN)]
        found: dict[int, WorkProcess] = {}
        kept: dict[psutil.Process, psutil.Process] = {}
        for process, job in [(psutil.Process(os.getpid()), None), *jobs]:
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = self._tree(process, job, gpu_memory, kept)
            except psutil.Error:
                continue  # it ended while we looked
        self._measured = kept
        # Between fork and exec a job's child has its command line: it belongs to the job's tree and is none itself.
        for process, job in jobs:
            if process.pid in found and self._starter(process) == job:
                del found[process.pid]
        server, *others = found.values()
        return [server, *sorted(others, key=lambda work: work.started_at)]

    def _starter(self, process: psutil.Process) -> str | None:
        """The job of the process that started this one."""
        try:
            parent = process.parent()
        except psutil.Error:
            return None
        return None if parent is None else self._jobs.get(parent)

    def _tree(
        self,
        root: psutil.Process,
        job: str | None,
        gpu_memory: dict[int, int] | None,
        kept: dict[psutil.Process, psutil.Process],
    ) -> WorkProcess:
        members = [root, *(root.children(recursive=True) if job is not None else [])]
        cpu, rss, threads = 0.0, 0, 0
        for member in members:
            member = kept[member] = self._measured.get(member, member)
            try:
                with member.oneshot():
                    cpu += member.cpu_percent()
                    rss += member.memory_info().rss
                    threads += member.num_threads()
            except psutil.Error:
                if member == root:
                    raise
        held = None if gpu_memory is None else sum(gpu_memory.get(member.pid, 0) for member in members)
        return WorkProcess(
            pid=root.pid,
            role="server" if job is None else "job",
            job_id=job,
            cpu=round(cpu, 1),
            rss=rss,
            threads=threads,
            started_at=root.create_time(),
            gpu_memory=held,
        )

    def _job(self, process: psutil.Process) -> str | None:
        try:
            job = job_of(process.cmdline())
        except psutil.Error:
            return None
        try:
            return job if job is not None and self._is_ours(job) else None
        except SQLAlchemyError:
            return _UNKNOWN  # the next look asks again
