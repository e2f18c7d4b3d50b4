"""Runs one queued job in a process of its own, as the application does: HF_ENDPOINT is read at import.

Prints one JSON object: the result, or the public error, and the last progress of each stage.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mistudio.db import Database
from mistudio.domains import all_domains, import_tables
from mistudio.settings import Settings
from tests.models.job_runs import register, run_here


def main() -> None:
    wanted: dict[str, Any] = json.loads(sys.stdin.read())
    import_tables(all_domains())
    register()
    settings = Settings(**wanted["settings"])
    database = Database(settings.effective_database_url)
    stages: dict[str, Any] = {}

    def see(progress: dict[str, Any], asked: Any) -> None:
        stages.setdefault(str(progress["stage"]), []).append(progress["done"])
        stages[f"{progress['stage']} of"] = progress["total"]
        if wanted.get("cancel_at") == progress["stage"] and progress["done"]:
            asked.cancel.set()

    out: dict[str, Any]
    try:
        result, _ = run_here(settings, database, wanted["job"], on_progress=see)
        out = {"result": result}
    except BaseException as error:
        public = {name: getattr(error, name, None) for name in ("code", "message", "hint")}
        out = {"error": public if public["code"] else {"code": type(error).__name__, "message": str(error)}}
    print(json.dumps(out | {"stages": stages}))


if __name__ == "__main__":
    main()
