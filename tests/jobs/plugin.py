"""A domain for the tests of jobs, loaded through the setting `plugins`: kinds that behave well and badly."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mistudio.domain import Domain, JobKind
from mistudio.errors import StudioError
from mistudio.jobs import JobContext, JobInterrupted, submit


class CountParams(BaseModel):
    """`file` keeps the count over attempts; each line of `trace` is one step: attempt, process id and number."""

    file: Path
    trace: Path
    steps: int = 20
    seconds: float = 0.02


class FailParams(BaseModel):
    """How to fail."""

    how: str


class PathParams(BaseModel):
    """A file to write to."""

    file: Path


class NoParams(BaseModel):
    """Nothing to choose."""


def count(context: JobContext, params: CountParams) -> dict[str, Any]:
    """Count to `steps`, from where the file says."""
    done = int(params.file.read_text()) if params.file.exists() else 0
    first = done
    context.log(f"counting from {done}")
    while done < params.steps:
        context.progress(done, params.steps, unit="steps", stage="Count")
        time.sleep(params.seconds)
        done += 1
        # The trace first: whoever is killed between the two counts the step again, and none is lacking.
        with params.trace.open("a") as trace:
            trace.write(f"{context.attempt} {os.getpid()} {done}\n")
        temporary = params.file.with_suffix(f".{os.getpid()}")
        temporary.write_text(str(done))
        temporary.replace(params.file)
    context.progress(done, params.steps)
    return {"from": first, "to": done, "device": context.device, "cuda": os.environ["CUDA_VISIBLE_DEVICES"]}


def fail(context: JobContext, params: FailParams) -> dict[str, Any] | None:
    """Fail in the way that was asked for."""
    print("about to fail")
    sys.stderr.write("10%\r20%\rover\n")
    if params.how == "public":
        raise StudioError("too_blue", "The sky is too blue.", hint="Wait for the evening.")
    if params.how == "internal":
        raise ZeroDivisionError("a secret detail")
    if params.how == "exit":
        os._exit(3)
    if params.how == "sysexit":
        sys.exit(0)
    if params.how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if params.how == "disk":
        raise OSError(28, "No space left on device")
    if params.how == "memory":
        raise MemoryError
    if params.how == "limit":
        _take_more_than_allowed()
    if params.how == "result":
        return {"nan": float("nan"), "path": Path("x")}
    raise AssertionError(params.how)


def _take_more_than_allowed() -> None:
    """Ask PyTorch for more memory than the system lets this process have."""
    import torch

    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 500_000_000, resource.RLIM_INFINITY))
    torch.ones(10**9)


def stubborn(context: JobContext, params: PathParams) -> None:
    """Never look whether to go on; say so in the file when SIGTERM comes, and with `.deaf` ignore even that."""
    if params.file.suffix == ".deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    params.file.write_text(str(os.getpid()))
    try:
        while True:
            time.sleep(0.05)
    finally:
        params.file.with_suffix(".tidied").write_text("yes")


def parent(context: JobContext, params: PathParams) -> None:
    """Start a child of one's own, which lives on unless somebody ends it."""
    child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 1000 & wait; sleep 1000"])
    params.file.write_text(f"{os.getpid()} {child.pid}")
    while True:
        context.check()
        time.sleep(0.02)


def echo(context: JobContext, params: NoParams) -> dict[str, Any]:
    """Publish each message of the inbox until one says `end`."""
    heard = 0
    while True:
        message = context.inbox(5.0)
        if message is None:
            raise StudioError("silence", "Nobody said anything for five seconds.")
        if message.get("end"):
            return {"heard": heard}
        heard += 1
        context.publish("echo/room", "said", message)


def threads(context: JobContext, params: NoParams) -> dict[str, Any]:
    """How many threads PyTorch works with here, and how they wait."""
    import torch

    return {"torch": torch.get_num_threads(), "wait": os.environ["OMP_WAIT_POLICY"]}


def keep(context: JobContext, params: PathParams) -> dict[str, Any]:
    """Work until asked to stop, or leave on interruption with a checkpoint; keep the count."""
    done = int(params.file.read_text()) if params.file.exists() else 0
    try:
        while not context.stop_requested:
            context.progress(done, unit="steps", stage="Keep")
            time.sleep(0.01)
            done += 1
    except JobInterrupted:
        params.file.write_text(str(done))
        raise
    return {"kept": done}


def chain(context: JobContext, params: CountParams) -> None:
    """Submit a counting job and end."""
    with context.database.session() as session:
        submit(session, "test.count", subject=context.subject, title="The next", params=params)


def noisy(context: JobContext, params: NoParams) -> None:
    """Report progress as fast as it can, and end on a number that must arrive."""
    for done in range(50_001):
        context.progress(done, 50_000, unit="steps", stage="Noise")
        context.publish("noise/1", "level", {"done": done}, key="level")
    context.publish("noise/1", "over", {})


def _kind(name: str, params: str, *, resumable: bool = False, resource: Any = "cpu") -> JobKind:
    here = "tests.jobs.plugin"
    work = f"{here}:{name.partition('_')[0]}"
    return JobKind(f"test.{name}", work, f"{here}:{params}", resource=resource, resumable=resumable)


domain = Domain(
    name="test",
    job_kinds=(
        _kind("count", "CountParams", resumable=True),
        _kind("count_once", "CountParams"),
        _kind("count_gpu", "CountParams", resumable=True, resource="gpu"),
        _kind("count_io", "CountParams", resumable=True, resource="io"),
        _kind("fail", "FailParams"),
        _kind("stubborn", "PathParams"),
        _kind("parent", "PathParams"),
        _kind("echo", "NoParams", resource="io"),
        _kind("keep", "PathParams", resumable=True),
        _kind("chain", "CountParams"),
        _kind("noisy", "NoParams"),
        _kind("threads", "NoParams"),
    ),
)
