"""`serve/cold-start`: from starting the process to its first answered request."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

GOAL_SECONDS = 2.0


def rows(quick: bool) -> list[dict[str, Any]]:
    """Measure `mistudio serve` on a fresh data folder and on one that is there; the slower median counts."""
    repeats = 2 if quick else 5
    with tempfile.TemporaryDirectory() as folder:
        data_dirs = [Path(folder) / str(number) for number in range(repeats)]
        fresh = statistics.median(cold_start(data_dir) for data_dir in data_dirs)
        again = statistics.median(cold_start(data_dir) for data_dir in data_dirs)
    return [
        {
            "name": name,
            "ours": round(seconds, 3),
            "peer": None,
            "unit": "s",
            "ratio": None,
            "goal": GOAL_SECONDS,
            "holds": seconds < GOAL_SECONDS,
        }
        for name, seconds in (("serve/cold-start", again), ("serve/cold-start-new-folder", fresh))
    ]


def cold_start(data_dir: Path, timeout: float = 60.0) -> float:
    """Seconds from starting the process to the first 200 of /api/v1/health."""
    command = [sys.executable, "-m", "mistudio.cli", "--data-dir", str(data_dir), "serve", "--port", "0"]
    began = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = next((word for word in line.split() if word.startswith("http://")), None)
        if address is None:
            raise RuntimeError(f"the server did not start: {line!r}")
        while time.perf_counter() - began < timeout:
            try:
                with urllib.request.urlopen(f"{address}/api/v1/health") as answer:
                    if answer.status == 200:
                        return time.perf_counter() - began
            except urllib.error.URLError:
                time.sleep(0.005)
        raise RuntimeError("the server did not answer")
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    for row in rows(quick="--quick" in sys.argv):
        print(row)
