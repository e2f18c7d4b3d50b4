"""What a failed job tells its owner: code, message and hint. Tracebacks are for the job's log."""

from __future__ import annotations

import errno
import re
import signal

from mistudio.jobs.schemas import JobError
from mistudio.settings import Settings, public_text

INTERRUPTED = JobError(
    code="interrupted",
    message="The job was interrupted: the server or machine that ran it was stopped.",
    hint="Retry it. What it had not finished starts again.",
)
_LESS_MEMORY = (
    "Use a smaller batch (batch_size), a narrower dictionary (d_sae) or a smaller model, or close other programs, and "
    "retry."
)
_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def public_error(error: BaseException, job_id: str, settings: Settings) -> JobError:
    """The error as its owner sees it. One that has `code` and `message` is public but for secrets and places."""
    known = _known(error, job_id)
    hint = None if known.hint is None else public_text(known.hint, settings)
    return known.model_copy(update={"message": public_text(known.message, settings), "hint": hint})


def _known(error: BaseException, job_id: str) -> JobError:
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    if isinstance(code, str) and isinstance(message, str):
        hint = getattr(error, "hint", None)
        return JobError(code=code, message=message, hint=hint if isinstance(hint, str) else None)
    if type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith("torch"):
        return JobError(
            code="gpu_out_of_memory",
            message="The GPU ran out of memory.",
            hint="Use a smaller batch (batch_size), a narrower dictionary (d_sae) or a smaller model, or free the GPU, "
            "and retry.",
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        wanted = re.search(r"allocate (\d+) bytes", str(error))
        asked = f": {int(wanted[1]) / 1e9:.1f} GB more could not be had" if wanted else ""
        return JobError(
            code="out_of_memory", message=f"The machine ran out of memory{asked}.", hint=_LESS_MEMORY
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobError(
            code="disk_full",
            message="The disk that holds the data folder is full.",
            hint="Delete what is no longer needed, or free space otherwise, and retry.",
        )
    return JobError(
        code="internal",
        message=f"The job {job_id} failed because of an unexpected error.",
        hint="The job's log has the details.",
    )


def out_of_memory(peak: int, machine: int) -> JobError:
    """Of a job that the system ended for want of memory, when it held `peak` of the machine's bytes."""
    held = f": it held {peak / 1e9:.1f} of the machine's {machine / 1e9:.1f} GB" if peak else ""
    return JobError(
        code="out_of_memory",
        message=f"The system ended the job because memory ran out{held}.",
        hint=_LESS_MEMORY,
    )


def killed_from_outside(return_code: int) -> bool:
    """Whether the process was ended by a signal that programs do not send themselves."""
    return return_code < 0 and -return_code in _OUTSIDE


def exit_error(return_code: int) -> JobError:
    """Why a job's process ended without a result; negative codes are signals."""
    if return_code == -signal.SIGKILL:
        return JobError(
            code="killed",
            message="The job was killed by the system, probably because memory ran out.",
            hint=_LESS_MEMORY,
        )
    if return_code < 0:
        name = signal.Signals(-return_code).name if -return_code in set(signal.Signals) else str(-return_code)
        if killed_from_outside(return_code):
            return JobError(
                code="killed", message=f"The job was ended from outside ({name}).", hint="Retry it."
            )
        return JobError(
            code="crashed",
            message=f"The job's process crashed ({name}).",
            hint="The job's log has the details.",
        )
    return JobError(
        code="crashed",
        message=f"The job's process ended without a result (exit status {return_code}).",
        hint="The job's log has the details.",
    )
