"""Memory of training steps: ours against SAELens', each in a process of its own.

What counts is the most resident memory above what the libraries took before: weights, gradients, the optimiser's
state, and whatever a step needs in passing. Run with `python -m bench.sae_memory [--quick]`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

GOAL = 0.6
STEPS = 3
NAMES = ("ours", "saelens")


def peak_bytes(name: str, architecture: str) -> dict[str, int]:
    """`libraries` and `peak` resident bytes of a child process that takes a few steps."""
    command = [sys.executable, "-m", "bench.sae_memory", "--child", name, architecture]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} could not be measured: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def child(name: str, architecture: str) -> None:
    """Take the steps and print what they took."""
    from bench.steps import CONTESTANTS, Setting

    setting = Setting(architecture)
    CONTESTANTS[name](Setting(architecture, 2, 8, 64, 16)).step(
        Setting(architecture, 2, 8, 64, 16).batches(1)[0]
    )
    libraries = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts over
    contestant = CONTESTANTS[name](setting)
    for x in setting.batches(STEPS):
        contestant.step(x)
    print(json.dumps({"libraries": libraries, "peak": _resident("VmHWM")}))


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows `sae-memory/…`."""
    out: list[dict[str, Any]] = []
    for architecture in ("topk", "batch_topk"):
        runs = [{name: peak_bytes(name, architecture) for name in NAMES} for _ in range(1 if quick else 3)]
        own = {name: max(run[name]["peak"] - run[name]["libraries"] for run in runs) for name in NAMES}
        whole = {name: max(run[name]["peak"] for run in runs) for name in NAMES}
        ratio = own["ours"] / own["saelens"]
        out.append(
            {
                "name": f"sae-memory/{architecture}/vs-saelens",
                "ours": own["ours"] / 2**20,
                "peer": own["saelens"] / 2**20,
                "unit": "MiB",
                "ratio": ratio,
                "goal": GOAL,
                "holds": ratio <= GOAL,
                "note": "above the libraries' own; whole process "
                f"{whole['ours'] / 2**20:.0f} against {whole['saelens'] / 2**20:.0f} MiB",
            }
        )
    return out


if __name__ == "__main__":
    if "--child" in sys.argv:
        child(*sys.argv[2:4])
    else:
        for row in rows("--quick" in sys.argv):
            print(json.dumps(row))
