"""`mistudio jobs …`: the same functions as the API."""

from __future__ import annotations

import sys
import time
from typing import Annotated, cast, get_args

import typer
from sqlalchemy import select

from mistudio.console import open_console
from mistudio.errors import StudioError
from mistudio.jobs import queue
from mistudio.jobs.joblog import log_path
from mistudio.jobs.loglines import LEVELS, LogLevel, LogPage, read_lines
from mistudio.jobs.schemas import FINAL_STATES, JobOut, JobState
from mistudio.jobs.tables import Job

app = typer.Typer(help="See and steer what is running.", no_args_is_help=True)
_COLUMNS = ("id", "kind", "title", "state", "stage", "done", "total", "unit", "seconds_left", "created_at")
_JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, jb_….")]


def _known_states(states: list[str] | None) -> list[str] | None:
    for state in states or []:
        if state not in get_args(JobState):
            raise typer.BadParameter(f"“{state}” is not one of {', '.join(get_args(JobState))}.")
    return states


def _known_level(level: str) -> str:
    if level not in LEVELS:
        raise typer.BadParameter(f"“{level}” is not one of {', '.join(LEVELS)}.")
    return level


@app.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATE",
            callback=_known_states,
            help=f"Only jobs in this state ({', '.join(get_args(JobState))}); may be repeated.",
        ),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only jobs for this object, TABLE/ID.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
) -> None:
    """List jobs, newest first."""
    statement = select(Job).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    if state:
        statement = statement.where(Job.state.in_(state))
    if subject:
        statement = statement.where(Job.subject == subject)
    with open_console() as console, console.reading() as session:
        jobs = [JobOut.model_validate(job) for job in session.scalars(statement)]
        console.emit(jobs, table=_COLUMNS, title="jobs")


@app.command()
def show(job_id: _JobId) -> None:
    """Show one job with its progress, error and result."""
    with open_console() as console, console.reading() as session:
        console.emit(JobOut.model_validate(queue.get_job(session, job_id)))


@app.command()
def cancel(job_id: _JobId) -> None:
    """Cancel a job: at once if it waits; one that runs is asked to end, and ended if it does not."""
    with open_console() as console, console.session() as session:
        console.emit(JobOut.model_validate(queue.cancel(session, job_id)))


@app.command()
def retry(job_id: _JobId) -> None:
    """Queue a failed or cancelled job again; the server, or a worker, runs it."""
    with open_console() as console, console.session() as session:
        console.emit(JobOut.model_validate(queue.retry(session, job_id)))


@app.command()
def stop(job_id: _JobId) -> None:
    """Ask a running job to finish early and keep what it has."""
    with open_console() as console, console.session() as session:
        console.emit(JobOut.model_validate(queue.request_stop(session, job_id)))


@app.command()
def priority(
    job_id: _JobId,
    value: Annotated[int, typer.Argument(min=-100, max=100, metavar="PRIORITY", help="Higher runs first.")],
) -> None:
    """Move a waiting job in the queue. For a negative priority write `-- -5`."""
    with open_console() as console, console.session() as session:
        console.emit(JobOut.model_validate(queue.set_priority(session, job_id, value)))


@app.command()
def pause(job_id: _JobId) -> None:
    """Pause a training or another job that can go on later; it keeps its place."""
    with open_console() as console, console.session() as session:
        console.emit(JobOut.model_validate(queue.pause(session, job_id)))


@app.command()
def resume(job_id: _JobId) -> None:
    """Queue a paused job again."""
    with open_console() as console, console.session() as session:
        console.emit(JobOut.model_validate(queue.resume(session, job_id)))


@app.command()
def logs(
    job_id: _JobId,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the job ends.")] = False,
    level: Annotated[
        str,
        typer.Option(
            metavar="LEVEL", callback=_known_level, help=f"Only from this level on: {', '.join(LEVELS)}."
        ),
    ] = "debug",
    search: Annotated[
        str, typer.Option(metavar="TEXT", help="Only lines that hold this, in whatever case.")
    ] = "",
) -> None:
    """Print a job's log."""
    with open_console() as console:
        with console.reading() as session:
            job = queue.get_job(session, job_id)
        path = log_path(console.settings, job.id)

        def more(cursor: str = "", limit: int | None = None) -> LogPage:
            return read_lines(
                path, level=cast(LogLevel, level), search=search, limit=limit or sys.maxsize, cursor=cursor
            )

        page = more(limit=tail)
        if console.as_json:
            console.emit({"id": job.id, "lines": page.lines})
            return
        if not page.lines and not follow:
            raise StudioError(
                "job_log_empty",
                f"The job {job.id} has written no log."
                if not page.total
                else f"None of the {page.total:,} lines that the job {job.id} has written match.",
            )
        _print(page)
        while follow:
            ended = cast(JobState, job.state) in FINAL_STATES  # looked up before the last read of the file
            page = more(page.cursor)
            _print(page)
            if ended:
                return
            time.sleep(0.3)
            with console.reading() as session:
                job = queue.get_job(session, job_id)


def _print(page: LogPage) -> None:
    for line in page.lines:
        named = f"{line.level.upper()} {line.source}: " if line.source else ""
        sys.stdout.write(f"{line.at or ''} {named}{line.text}\n")
    sys.stdout.flush()
