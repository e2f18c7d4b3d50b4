"""Fetches files with the real client in a process of its own: HF_ENDPOINT is read at import.

Takes a JSON object {"folder", "patience", "token", "fetch": [[repo, name], …], "ranges": [offset, size] or absent};
prints one JSON list: for each file its bytes (the range read, as hexadecimal digits), or its public error, with the
seconds it took and the bytes reported on the way.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mistudio.errors import StudioError
from mistudio.hub.client import Origin, hub_errors, prepare_hub
from mistudio.hub.download import fetch_file, listed_files
from mistudio.hub.ranges import RangedFile
from mistudio.settings import Settings


def main() -> None:
    wanted: dict[str, Any] = json.loads(sys.stdin.read())
    folder = Path(wanted["folder"])
    from huggingface_hub import HfApi

    prepare_hub(Settings(data_dir=folder, hub_timeout_seconds=wanted["patience"]))
    found: list[dict[str, Any]] = []
    for repo, name in wanted["fetch"]:
        seen: list[int] = []
        start = time.monotonic()
        place = folder / repo.replace("/", "-")
        try:
            with hub_errors(repo, "main"):
                info = HfApi(token=wanted.get("token")).dataset_info(repo, files_metadata=True)
            origin = Origin("dataset", repo, str(info.sha), "main", wanted.get("token"))
            file = listed_files(info)[name]
            if "range" in wanted:
                ranged = RangedFile(origin, file, place, seen.append)
                before = ranged.received
                read = ranged.read(*wanted["range"]).hex()
                one: dict[str, Any] = {"read": read, "before": before, "check": ranged.check()}
            else:
                one = {"bytes": fetch_file(origin, file, place, seen.append).stat().st_size}
        except StudioError as error:
            one = {"code": error.code, "message": error.message, "hint": error.hint}
        found.append(one | {"seconds": time.monotonic() - start, "seen": seen})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
