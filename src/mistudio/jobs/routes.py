"""What the web may ask of jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse
from sqlalchemy import select

from mistudio.jobs import queue
from mistudio.jobs.joblog import log_path, read_log
from mistudio.jobs.loglines import MOST_LINES, LogLevel, LogPage, read_lines
from mistudio.jobs.schemas import JobOut, JobState, JobUpdate
from mistudio.jobs.tables import Job
from mistudio.web import Page, PageDep, ReadingDep, SessionDep, SettingsDep, paginate, problems

router = APIRouter(prefix="/jobs", tags=["jobs"])

_SORTS = {
    "created_at": Job.created_at,
    "started_at": Job.started_at,
    "finished_at": Job.finished_at,
    "title": Job.title,
    "kind": Job.kind,
    "state": Job.state,
    "priority": Job.priority,
    "id": Job.id,
}


@router.get("", summary="List jobs, newest first", response_model=Page[JobOut], responses=problems(422))
def list_jobs(
    session: ReadingDep,
    page: PageDep,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in one of these states.")] = None,
    subject: Annotated[str | None, Query(description="Only jobs for this object, `<table>/<id>`.")] = None,
    kind: Annotated[str | None, Query(description="Only jobs of this kind.")] = None,
) -> Page[JobOut]:
    """Every job, filtered; `q` searches titles."""
    statement = select(Job)
    if state:
        statement = statement.where(Job.state.in_(state))
    if subject:
        statement = statement.where(Job.subject == subject)
    if kind:
        statement = statement.where(Job.kind == kind)
    return paginate(
        session,
        statement,
        page,
        sorts=_SORTS,
        default_sort="-created_at,-id",
        search=[Job.title],
        out=JobOut.model_validate,
    )


@router.get("/{job_id}", summary="Show a job", response_model=JobOut, responses=problems(404))
def show_job(session: ReadingDep, job_id: str) -> JobOut:
    """The job as it stands."""
    return JobOut.model_validate(queue.get_job(session, job_id))


@router.patch(
    "/{job_id}",
    summary="Move a job in the queue",
    response_model=JobOut,
    responses=problems(404, 409, 422),
)
def update_job(session: SessionDep, job_id: str, request: JobUpdate) -> JobOut:
    """Set the priority of a job that waits: higher runs first."""
    return JobOut.model_validate(queue.set_priority(session, job_id, request.priority))


@router.post("/{job_id}/cancel", summary="Cancel a job", response_model=JobOut, responses=problems(404, 409))
def cancel_job(session: SessionDep, job_id: str) -> JobOut:
    """A queued job is cancelled at once; a running one is asked, then pressed."""
    return JobOut.model_validate(queue.cancel(session, job_id))


@router.post(
    "/{job_id}/retry",
    summary="Run a failed or cancelled job again",
    status_code=202,
    response_model=JobOut,
    responses=problems(404, 409),
)
def retry_job(session: SessionDep, job_id: str) -> JobOut:
    """The same job, as its next attempt."""
    return JobOut.model_validate(queue.retry(session, job_id))


@router.post(
    "/{job_id}/stop",
    summary="Ask a job to finish early and keep what it has",
    response_model=JobOut,
    responses=problems(404, 409),
)
def stop_job(session: SessionDep, job_id: str) -> JobOut:
    """Kinds that can end early with a result do; a job that still waits is cancelled."""
    return JobOut.model_validate(queue.request_stop(session, job_id))


@router.post("/{job_id}/pause", summary="Pause a job", response_model=JobOut, responses=problems(404, 409))
def pause_job(session: SessionDep, job_id: str) -> JobOut:
    """A job of a resumable kind leaves its place and keeps its last checkpoint."""
    return JobOut.model_validate(queue.pause(session, job_id))


@router.post(
    "/{job_id}/resume",
    summary="Queue a paused job again",
    status_code=202,
    response_model=JobOut,
    responses=problems(404, 409),
)
def resume_job(session: SessionDep, job_id: str) -> JobOut:
    """It continues from its last checkpoint."""
    return JobOut.model_validate(queue.resume(session, job_id))


@router.get(
    "/{job_id}/log",
    summary="Read a job's log",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}}} | problems(404),
)
def job_log(
    session: ReadingDep,
    settings: SettingsDep,
    job_id: str,
    tail: Annotated[int | None, Query(ge=1, le=100_000, description="Only the last lines.")] = None,
    download: Annotated[bool, Query(description="Answer as a file to save.")] = False,
) -> PlainTextResponse:
    """Everything the job wrote, over all its attempts, each line with its time in UTC."""
    job = queue.get_job(session, job_id)
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.log"'} if download else None
    return PlainTextResponse(read_log(log_path(settings, job.id), tail), headers=headers)


@router.get(
    "/{job_id}/log/lines",
    summary="Filter, search and follow a job's log",
    response_model=LogPage,
    responses=problems(404, 422),
)
def job_log_lines(
    session: ReadingDep,
    settings: SettingsDep,
    job_id: str,
    level: Annotated[LogLevel, Query(description="Only lines of at least this level.")] = "debug",
    q: Annotated[str, Query(max_length=500, description="Only lines that hold this, in whatever case.")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST_LINES, description="Lines at most: the newest.")] = 1_000,
    cursor: Annotated[str, Query(max_length=60, description="Only lines written after that answer.")] = "",
) -> LogPage:
    """The newest lines that match, with level, time and logger. Where an attempt begins or ends passes every level."""
    job = queue.get_job(session, job_id)
    return read_lines(log_path(settings, job.id), level=level, search=q, limit=limit, cursor=cursor)
