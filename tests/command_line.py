"""One `mistudio` command in the test's own process: what a person's would do, without its second of imports."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any


def run_here(
    arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line from its first word to its exit code; jobs are processes of their own, as ever."""
    from mistudio import cli
    from mistudio.console import console_options

    _forget(console_options)
    added = len(cli.app.registered_groups)
    before = dict(os.environ)
    os.environ.update(environment or {})
    out, errors = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(errors):
            cli.main(list(arguments))
    except SystemExit as end:
        code = end.code
    finally:
        _forget(console_options)
        del cli.app.registered_groups[added:]
        os.environ.clear()
        os.environ.update(before)
    assert code is None or isinstance(code, int), code
    return subprocess.CompletedProcess(list(arguments), code or 0, out.getvalue(), errors.getvalue())


def run_apart(
    arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, as a person has it."""
    return subprocess.run(
        [sys.executable, "-m", "mistudio.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        env=os.environ | dict(environment or {}),
    )


def _forget(options: Any) -> None:
    """What a process begins with."""
    options.config, options.flags, options.as_json, options.prepare = None, {}, False, []
