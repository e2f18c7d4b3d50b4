"""The job's process dies with its supervisor, however that dies, and takes all its own children along."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
# Waits for the end of the pipe that only the supervisor holds open, then ends the whole process group.
_WATCH = "trap '' TERM INT HUP; read _; kill -KILL 0"


def die_with_supervisor(alive_fd: int) -> None:
    """Call first thing in the job's process, which must lead its own process group.

    `alive_fd` is the reading end of a pipe whose writing end closes when the supervisor is gone. A small
    shell in the group watches it, since it needs neither this process's interpreter nor its memory to be
    well. On Linux the kernel is asked as well.
    """
    supervisor = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    quiet = subprocess.DEVNULL
    subprocess.Popen(["/bin/sh", "-c", _WATCH], stdin=alive_fd, stdout=quiet, stderr=quiet)
    os.close(alive_fd)
    if os.getppid() != supervisor:
        os.killpg(0, signal.SIGKILL)  # it died before the kernel was asked
