"""`training/start`: from the request to the first step, as the app starts a training.

The model's files are in the page cache (a training has just read them), the dispatcher is running, as in `mistudio
serve`. Counted from the moment at which the request is committed to the time that stands at the first point of the
curves. From a cache nothing has to be read before the first batch; alongside the model the first pool of activations is
filled before it can be shuffled, which is the model's time for that many tokens and named apart.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.training_data import HOOKS, Studio, studio
from mistudio.engine.progress import FIRST_ROWS
from mistudio.engine.run_folder import METRICS_FILE
from mistudio.jobs import await_job, get_job, request_stop
from mistudio.jobs.local import LocalDispatcher
from mistudio.store import read_metrics
from mistudio.training.schemas import TrainingCreate
from mistudio.training.sweeps import create_sweep, sweep_job
from mistudio.training.views import training_folder

GOAL = 3.0
_LONGEST = 600.0


class _Unheard:
    def publish(self, channel: str, type: str, data: Any, key: str | None = None) -> None:
        """Nobody listens."""


def rows(quick: bool) -> list[dict[str, Any]]:
    """Seconds to the first step from a cache, the median of several starts; in the note, alongside the model."""
    with (
        tempfile.TemporaryDirectory(prefix="mistudio-bench-") as temporary,
        studio(Path(temporary)) as made,
    ):
        return [row(made, rounds=2 if quick else 5)]


def row(made: Studio, rounds: int) -> dict[str, Any]:
    """The row, measured in a filled data folder."""
    dispatcher = LocalDispatcher(made.database, made.settings, _Unheard())
    dispatcher.start()
    try:
        started(made, cached=True)  # unmeasured: libraries come into the page cache
        cached = [started(made, cached=True) for _ in range(rounds)]
        model = started(made, cached=False)
    finally:
        dispatcher.stop()
    seconds = statistics.median(one["first step"] for one in cached)
    process = statistics.median(one["process"] for one in cached)
    return {
        "name": "training/start",
        "ours": seconds,
        "peer": None,
        "unit": "s",
        "ratio": None,
        "goal": GOAL,
        "holds": seconds < GOAL,
        "note": f"from a cache; {process:.1f} s of it until the process is there and has imported PyTorch. Alongside "
        f"the model {model['first step']:.1f} s: {model['process']:.1f} s for the process, "
        f"{model['loaded'] - model['process']:.1f} s until the model is loaded, "
        f"{model['first step'] - model['loaded']:.1f} s for the first pool of 65,536 activations and the step",
    }


def started(made: Studio, *, cached: bool) -> dict[str, float]:
    """Seconds from the commit until the job's process works, has its activations open, and has done its first step."""
    request = TrainingCreate.model_validate(
        {
            "sources": [{"tokenization_id": made.tokenization_id}],
            "cache_id": made.cache_id if cached else None,
            "hooks": [HOOKS[-1]],
            "held_out_tokens": 8_192,
            "config": {"d_sae": 4096, "batch_size": 2048, "total_tokens": 80_000, "log_every": 1},
        }
    )
    with made.database.session() as session:
        sweep = create_sweep(session, request)
        session.flush()
        training_id = sweep.trainings[0].id
        job = sweep_job(session, sweep.id)
        assert job is not None
        job_id = job.id
    begun, wall = time.monotonic(), time.time()
    found: dict[str, float] = {}
    path = training_folder(made.settings, training_id) / METRICS_FILE
    while "first step" not in found and time.monotonic() - begun < _LONGEST:
        with made.database.reading() as session:
            stage = get_job(session, job_id).stage
        if stage is not None:
            found.setdefault("process", time.monotonic() - begun)
        if stage in (FIRST_ROWS, "Train"):
            found.setdefault("loaded", time.monotonic() - begun)
        if path.exists() and len((points := read_metrics(path))["time"]):
            found["first step"] = float(points["time"][0]) - wall
        time.sleep(0.02)
    with made.database.session() as session:
        if get_job(session, job_id).state == "running":
            request_stop(session, job_id)
    await_job(made.database, job_id, timeout=_LONGEST)
    return {"process": found["first step"], "loaded": found["first step"], **found}


if __name__ == "__main__":
    print(rows("--quick" in sys.argv))
