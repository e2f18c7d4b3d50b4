"""Programs in processes of their own that begin with the libraries loaded: forked from a server that has them.

What a hub's client reads from the environment when it is imported (`HF_ENDPOINT`, `HF_HOME`) is each program's own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_LIBRARIES = (
    *("numpy", "pandas", "pyarrow.parquet", "scipy.optimize", "sympy", "torch", "torch._dynamo"),
    *("torch.distributed.tensor", "safetensors.torch", "tokenizers", "sqlalchemy.orm", "alembic.command"),
    *("pydantic", "pydantic_settings", "httpx", "fastapi", "typer.main", "rich.progress", "psutil"),
)
_servers = multiprocessing.get_context("forkserver")
_servers.set_forkserver_preload(list(_LIBRARIES))


class Program:
    """`python -m module arguments`, as `subprocess.Popen` would run it, with `given` on its stdin."""

    def __init__(
        self, module: str, *arguments: str, given: str = "", environment: Mapping[str, str], cwd: Path
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        (folder / "stdin").write_text(given, "utf-8")
        # Not a daemon: those may start no jobs.
        self._process = _servers.Process(
            target=_run, args=(module, arguments, dict(environment), str(cwd), str(folder))
        )
        self._process.start()

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """What it came to; raises TimeoutError, and ends it, when it takes longer."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
            raise TimeoutError(f"still running after {seconds} s")
        out, errors = ((Path(self._folder.name) / name).read_text("utf-8") for name in ("stdout", "stderr"))
        self._process.close()
        self._folder.cleanup()
        return subprocess.CompletedProcess([], code, out, errors)


def _run(module: str, arguments: tuple[str, ...], environment: dict[str, str], cwd: str, folder: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, (name, flags) in enumerate(
        (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY | os.O_CREAT), ("stderr", os.O_WRONLY | os.O_CREAT))
    ):
        file = os.open(Path(folder) / name, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
