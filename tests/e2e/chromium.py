"""Where Chromium is, and how it is started: from npm into the development environment, without root."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_FOLDER = Path(sys.prefix) / "browser"
_PACKAGE = _FOLDER / "node_modules" / "@sparticuz" / "chromium"
_PROGRAM = (
    'import chromium from "@sparticuz/chromium"; process.stdout.write(await chromium.executablePath());'
)


def executable() -> str:
    """The path of Chromium, unpacked once. Raises RuntimeError naming the command that installs it."""
    manifest = _PACKAGE / "package.json"
    if not manifest.is_file():
        raise RuntimeError("Chromium is not installed: run `make e2e`, which installs it first.")
    # It reuses whatever lies in its TMPDIR, also of another version.
    unpacked = _FOLDER / json.loads(manifest.read_text("utf-8"))["version"]
    unpacked.mkdir(exist_ok=True)
    node = Path(sys.executable).parent / "node"
    with (unpacked / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it takes what another test process is still unpacking for unpacked
        done = subprocess.run(
            [str(node if node.exists() else "node"), "--input-type=module", "-e", _PROGRAM],
            cwd=_FOLDER,
            env=os.environ | {"TMPDIR": str(unpacked)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    if done.returncode != 0:
        raise RuntimeError(f"Chromium could not be unpacked: {done.stderr.strip()[-600:]}")
    return done.stdout.strip()
