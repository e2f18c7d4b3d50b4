"""Fetches files with the real client in a process of its own: HF_ENDPOINT is read at import.

Takes a JSON object {"folder", "patience", "token", "fetch": [[repo, name], …]}; prints one JSON list: for each file its
bytes, or its public error, with the seconds it took and the bytes reported on the way.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mistudio.errors import StudioError
from mistudio.hub.client import hub_errors, prepare_hub
from mistudio.hub.download import fetch_file
from mistudio.settings import Settings


def main() -> None:
    wanted: dict[str, Any] = json.loads(sys.stdin.read())
    folder = Path(wanted["folder"])
    prepare_hub(Settings(data_dir=folder, hub_timeout_seconds=wanted["patience"]))
    found: list[dict[str, Any]] = []
    for repo, name in wanted["fetch"]:
        seen: list[int] = []
        start = time.monotonic()
        try:
            with hub_errors(repo, "main"):
                path = fetch_file(
                    repo,
                    name,
                    commit="main",
                    repo_type="dataset",
                    token=wanted.get("token"),
                    folder=folder / repo.replace("/", "-"),
                    on_bytes=seen.append,
                )
            one: dict[str, Any] = {"bytes": path.stat().st_size}
        except StudioError as error:
            one = {"code": error.code, "message": error.message, "hint": error.hint}
        found.append(one | {"seconds": time.monotonic() - start, "seen": seen})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
