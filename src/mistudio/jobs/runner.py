"""What happens inside a job's process: find the work, run it, report how it ended."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

from mistudio.db import Database
from mistudio.domain import JobKind, load
from mistudio.errors import StudioError
from mistudio.jobs import announce, queue
from mistudio.jobs.context import Asked, JobCancelled, JobContext, JobInterrupted, Reporter
from mistudio.jobs.failures import public_error
from mistudio.jobs.kinds import job_kind, register_kinds
from mistudio.settings import Settings, public_text

logger = logging.getLogger("job")


def run(
    job_id: str,
    *,
    settings: Settings,
    device: str,
    reporter: Reporter,
    asked: Asked,
    kinds: Callable[[], Mapping[str, JobKind]],
) -> None:
    """Run one job to its end and report that end; `kinds` imports the domains and returns their kinds."""
    _log_to_stderr(settings)
    _leave_on_sigterm(asked)
    database = Database(settings.effective_database_url)
    try:
        register_kinds(kinds())
        # Jobs that this one submits are queued at the commit; the supervisor passes the news on.
        announce.listen(database, lambda job: reporter.report({"job": job.id}))
        result = _work(job_id, settings, database, device, reporter, asked)
        reporter.report({"end": {"kind": "succeeded", "result": result}})
    except JobCancelled:
        logger.info("cancelled")
        reporter.report({"end": {"kind": "cancelled"}})
    except JobInterrupted:
        logger.info("interrupted")
        reporter.report({"end": {"kind": "interrupted"}})
    except BaseException as error:  # SystemExit included: work must return, not exit
        known = public_error(error, job_id, settings)
        logger.error("failed: %s %s", known.message, known.hint or "", exc_info=error)
        reporter.report({"end": {"kind": "failed", "error": known.model_dump()}})
    finally:
        database.dispose()


def _work(
    job_id: str, settings: Settings, database: Database, device: str, reporter: Reporter, asked: Asked
) -> dict[str, Any] | None:
    with database.reading() as session:
        job = queue.get_job(session, job_id)
    kind = job_kind(job.kind)
    try:
        params = load(kind.params).model_validate(job.params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or kind.params
        raise StudioError(
            "params_invalid", f"The job's parameter “{where}” is not valid: {first['msg']}."
        ) from error
    context = JobContext(
        job_id=job.id,
        kind=job.kind,
        subject=job.subject,
        attempt=job.attempt,
        settings=settings,
        database=database,
        device=device,
        reporter=reporter,
        asked=asked,
    )
    return load(kind.work)(context, params)


def _log_to_stderr(settings: Settings) -> None:
    """The supervisor writes our stderr to the job's log and stamps each line, so the format has no time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PublicFormatter(settings))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    logging.captureWarnings(True)
    faulthandler.enable()


class _PublicFormatter(logging.Formatter):
    """Lines that anybody may read: a traceback names its modules by their place among the imported ones."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._settings = settings
        folders = {str(Path(folder).absolute()) for folder in sys.path if folder}
        self._folders = sorted(folders - {os.sep}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = public_text(super().format(record), self._settings)
        for folder in self._folders:
            text = text.replace(folder + os.sep, "")
        return text


def _leave_on_sigterm(asked: Asked) -> None:
    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise JobCancelled if asked.cancel.is_set() else JobInterrupted

    signal.signal(signal.SIGTERM, leave)
