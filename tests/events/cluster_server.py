"""One web server of a cluster, as a process: `python -m tests.events.cluster_server PORT DATA_DIR REDIS_URL`."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from mistudio.app import create_app
from mistudio.settings import LoadedSettings, Settings
from tests.events import counter

port, data_dir, redis_url = sys.argv[1:]
settings = Settings(data_dir=Path(data_dir), redis_url=SecretStr(redis_url))
app = create_app(
    LoadedSettings(settings, {}), domains=[counter.domain], migrate=False, dispatcher=lambda *_: None
)
counter.metadata.create_all(app.state.studio.database.engine)
uvicorn.run(app, port=int(port), log_level="warning", timeout_graceful_shutdown=1)
