"""`python -m tests.jobs.worker SETTINGS QUEUE…`: what `mistudio worker` does."""

from __future__ import annotations

import json
import sys

from mistudio.jobs.celery import run_workers
from mistudio.settings import Settings

if __name__ == "__main__":
    sys.exit(run_workers(Settings(**json.loads(sys.argv[1])), sys.argv[2:]))
