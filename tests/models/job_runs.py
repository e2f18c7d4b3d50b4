"""Running a queued job's work in the test's own process: the real function, database and files, no child process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mistudio.db import Database
from mistudio.domain import load
from mistudio.domains import all_domains, job_kinds
from mistudio.jobs import JobContext, get_job, register_kinds
from mistudio.jobs.context import Asked
from mistudio.settings import Settings


@dataclass
class Reports:
    """Everything a job reported."""

    all: list[dict[str, Any]] = field(default_factory=list)
    on_report: Callable[[dict[str, Any]], None] = lambda _report: None

    def report(self, report: dict[str, Any]) -> None:
        self.all.append(report)
        self.on_report(report)

    def latest(self, key: str, report: dict[str, Any]) -> None:
        self.report(report)

    @property
    def progress(self) -> list[dict[str, Any]]:
        return [report["progress"] for report in self.all if "progress" in report]


def register() -> None:
    """Make every job kind known, as the application does at its start."""
    register_kinds(job_kinds(all_domains()))


def run_here(
    settings: Settings,
    database: Database,
    job_id: str,
    *,
    on_progress: Callable[[dict[str, Any], Asked], None] | None = None,
) -> tuple[dict[str, Any], Reports]:
    """Do a job's work; returns its result and what it reported. What the work raises is raised."""
    kinds = job_kinds(all_domains())
    with database.reading() as session:
        job = get_job(session, job_id)
    asked = Asked()
    reports = Reports()
    if on_progress:
        reports.on_report = lambda r: on_progress(r["progress"], asked) if "progress" in r else None
    context = JobContext(
        job_id=job.id,
        kind=job.kind,
        subject=job.subject,
        attempt=1,
        settings=settings,
        database=database,
        device="cpu",
        reporter=reports,
        asked=asked,
    )
    kind = kinds[job.kind]
    result = load(kind.work)(context, load(kind.params).model_validate(job.params))
    return result or {}, reports
