"""`python -m tests.jobs.host SETTINGS`: a server process that does nothing but run jobs, until SIGTERM."""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import Any

from mistudio.db import Database
from mistudio.jobs.local import LocalDispatcher
from mistudio.settings import Settings


class Silent:
    """Carries no events."""

    def publish(self, channel: str, type: str, data: dict[str, Any], key: str | None = None) -> None:
        """Nobody listens."""


def main() -> None:
    """Run jobs until told to stop."""
    settings = Settings(**json.loads(sys.argv[1]))
    database = Database(settings.effective_database_url)
    dispatcher = LocalDispatcher(database, settings, Silent())
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    dispatcher.start()
    print("running", flush=True)
    ended.wait()
    dispatcher.stop()


if __name__ == "__main__":
    main()
