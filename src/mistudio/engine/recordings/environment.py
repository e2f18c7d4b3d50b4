"""In what a training ran: packages, Python, system, processor and graphics card, threads, git. One line an attempt.

Imports no PyTorch by itself: it says what PyTorch sees where that is loaded already.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from mistudio.version import __version__

ENVIRONMENT_FILE = "environment.jsonl"
_GIT_SECONDS = 2.0
_SAID = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "PYTHONHASHSEED",
    "CUBLAS_WORKSPACE_CONFIG",
)


def environment(*, git_of: Path | None = None) -> dict[str, Any]:
    """Everything outside of its settings that a training's numbers may depend on.

    git_of: the folder whose git state is noted where it is in a repository (of a notebook or script); by default that
        of miStudio's own code, where it runs from a checkout.
    """
    found: dict[str, Any] = {
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "mistudio": __version__,
        "python": platform.python_version(),
        "python_build": f"{platform.python_implementation()}, {platform.python_compiler()}",
        "system": platform.platform(),
        "cpu": _cpu(),
        "memory_bytes": psutil.virtual_memory().total,
        "threads": _cores() | _torch_threads(),
        "variables": {name: os.environ[name] for name in _SAID if name in os.environ},
        "gpus": _gpus(),
        "packages": installed_packages(),
        "git": _own_state() if git_of is None else git_state(git_of),
    }
    return found


def add_environment(folder: Path, found: Mapping[str, Any]) -> None:
    """Append an attempt's environment to the run's file; it is on the disk when this returns."""
    line = json.dumps(found, sort_keys=True, default=str) + "\n"
    path = folder / ENVIRONMENT_FILE
    with path.open("ab") as file:
        # What a killed attempt left half-written must not swallow this line.
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_environments(folder: Path) -> list[dict[str, Any]]:
    """The environments of a run's attempts, the first one first; a line torn by a kill is left out."""
    path = folder / ENVIRONMENT_FILE
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def installed_packages() -> dict[str, str]:
    """Versions of what is installed, by the package's name, from the names of its `.dist-info` folders."""
    found: dict[str, str] = {}
    for place in reversed(sys.path):  # what comes first on the path is what is imported
        try:
            names = [path.name for path in Path(place or ".").iterdir()]
        except OSError:
            continue
        for name in names:
            if match := re.fullmatch(r"(.+)-([^-]+)\.dist-info", name):
                found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return dict(sorted(found.items()))


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, branch and changed files of the repository that `folder` is in; None where it is in none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no") or ""
    return {
        "commit": commit,
        "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        "changed_files": [line[3:] for line in changed.splitlines()],
    }


def _own_state() -> dict[str, Any] | None:
    code = Path(__file__).parent
    # an installed package may lie in somebody's repository, too, which does not track it
    tracked = _git(code, "ls-files", "--error-unmatch", Path(__file__).name)
    return None if tracked is None else git_state(code)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n")


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.machine()


def _cores() -> dict[str, int]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return {"physical_cores": psutil.cpu_count(logical=False) or 1, "usable_cores": usable}


def _torch_threads() -> dict[str, int]:
    torch: Any = sys.modules.get("torch")
    return (
        {}
        if torch is None
        else {"torch": torch.get_num_threads(), "torch_interop": torch.get_num_interop_threads()}
    )


def _gpus() -> list[dict[str, Any]]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    found: list[dict[str, Any]] = []
    for index in range(torch.cuda.device_count()):
        of = torch.cuda.get_device_properties(index)
        found.append(
            {
                "name": of.name,
                "memory_bytes": of.total_memory,
                "compute_capability": f"{of.major}.{of.minor}",
                "cuda": torch.version.cuda,
            }
        )
    return found
