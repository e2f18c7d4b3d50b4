"""A real `mistudio serve` on a data folder of its own, which the tests may stop and start again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any


class Server:
    """One server process, with its log and, unless it is told of another, its data folder in `folder`."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any] | None = None,
        *,
        data_dir: Path | None = None,
        port: int = 0,
    ) -> None:
        self.data_dir = data_dir or folder / "data"
        self.log = folder / "server.log"
        self.url = f":{port}"
        self._settings = settings or {}
        self._process: subprocess.Popen[str] | None = None
        self._announced = threading.Event()

    def start(self) -> None:
        """Start and wait until it answers; the second start takes the port of the first."""
        port = self.url.rpartition(":")[2]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MISTUDIO_")}
        environment |= {"OMP_NUM_THREADS": "2", "MISTUDIO_CPU_THREADS": "2", "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])  # where plugins of tests and the bench are
        for name, value in self._settings.items():
            environment[f"MISTUDIO_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
        command = [sys.executable, "-m", "mistudio.cli", "--data-dir", str(self.data_dir)]
        self._announced.clear()
        self._process = subprocess.Popen(
            [*command, "serve", "--port", port],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=self.log.parent,
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        if not self._announced.wait(60):
            self.stop()
            raise RuntimeError(f"the server did not start: {self.log.read_text('utf-8')[-2000:]}")

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if found := re.search(r"miStudio is at (http://\S+)", line):
                    self.url = found[1]
                    self._announced.set()

    def stop(self) -> None:
        """Interrupt it, as Ctrl-C does, and wait until it is gone."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def get(self, path: str) -> Any:
        """The JSON that the API answers."""
        with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=30) as answer:
            return json.load(answer)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that the API answers to a request with a body: bytes as they are, anything else as JSON."""
        raw = isinstance(body, bytes)
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            data=body if raw or body is None else json.dumps(body).encode(),
            method=method,
            headers={"content-type": "application/octet-stream" if raw else "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def wait_for_jobs(self, seconds: float = 240) -> None:
        """Until no job is queued or running."""
        deadline = time.monotonic() + seconds
        while self.get("/jobs?state=queued&state=running&limit=1")["items"]:
            assert time.monotonic() < deadline, "jobs are still running"
            time.sleep(0.2)
