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
from mistudio.jobs.joblog import log_path, read_log
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
) -> None:
    """Print a job's log."""
    with open_console() as console:
        with console.reading() as session:
            job = queue.get_job(session, job_id)
        path = log_path(console.settings, job.id)
        text = read_log(path, tail)
        if console.as_json:
            console.emit({"id": job.id, "log": text})
            return
        if not text and not follow:
            raise StudioError("job_log_empty", f"The job {job.id} has written no log.")
        sys.stdout.write(text)
        written = path.stat().st_size if path.is_file() else 0
        while follow:
            ended = cast(JobState, job.state) in FINAL_STATES  # looked up before the last read of the file
            if path.is_file() and path.stat().st_size > written:
                with path.open("rb") as file:
                    file.seek(written)
                    new = file.read()
                written += len(new)
                sys.stdout.write(new.decode("utf-8", "replace"))
                sys.stdout.flush()
            if ended:
                return
            time.sleep(0.3)
            with console.reading() as session:
                job = queue.get_job(session, job_id)
