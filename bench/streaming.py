"""Runs that stream points at a set pace without learning anything: what is measured is what carries the points.

As a plugin of the server it adds a kind of job, `bench.stream`, whose process writes real metric logs through the
engine's `Curves` and publishes as a training does; `insert_runs` makes the trainings that it streams for.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mistudio.domain import Domain, JobKind
from mistudio.jobs import JobContext

COLUMNS = [
    "loss",
    "mse_loss",
    "aux_loss",
    "fvu",
    "l0",
    "mse",
    "explained_variance",
    "cosine",
    "dead_latents",
    "dead_fraction",
    "dense_latents",
    "learning_rate",
    "sparsity_coefficient",
    "grad_norm",
    "memory_bytes",
    "ce_loss_score",
]
"""What a training records, but for what is derived."""

domain = Domain(
    name="bench",
    job_kinds=(JobKind("bench.stream", "bench.streaming:stream", "bench.streaming:StreamParams"),),
)


class StreamParams(BaseModel):
    """`training_ids`: the runs of one job, as of one sweep; each makes `rate` steps a second for `seconds`."""

    training_ids: list[str]
    rate: float
    seconds: float
    first_step: int = 0


def point_of(step: int, phase: float) -> dict[str, float]:
    """A plausible point: falling, noisy, different for each run."""
    noise = math.sin(step * 12.9898 + phase * 78.233) * 43758.5453 % 1
    falling = 1 / (1 + step / 500) + 0.05 * noise + 0.02 * phase
    return {name: falling * (1 + place) for place, name in enumerate(COLUMNS)} | {"l0": 32 + 4 * noise}


def stream(context: JobContext, params: StreamParams) -> dict[str, Any]:
    """Stream until the time is over."""
    from mistudio.engine.run_folder import METRICS_FILE, Curves
    from mistudio.training.views import training_folder

    def teller(training_id: str) -> Any:
        def tell(points: list[dict[str, float]]) -> None:
            columns = {name: [point[name] for point in points] for name in points[0]}
            data = {"columns": columns, "sent_at": time.time()}
            context.publish(f"trainings/{training_id}", "metrics", data)

        return tell

    runs: list[Curves] = []
    for training_id in params.training_ids:
        folder = training_folder(context.settings, training_id)
        folder.mkdir(parents=True, exist_ok=True)
        runs.append(Curves(folder / METRICS_FILE, params.first_step, teller(training_id)))
    began, step = time.monotonic(), params.first_step
    while time.monotonic() - began < params.seconds:
        step += 1
        for number, curves in enumerate(runs):
            curves.add({"step": step, "tokens": step * 4096, **point_of(step, number / 7)})
        context.progress(step, None, unit="steps", stage="Stream")
        time.sleep(max(0.0, began + (step - params.first_step) / params.rate - time.monotonic()))
    for curves in runs:
        curves.close()
    return {"steps": step}


def insert_runs(session: Any, n: int) -> list[str]:
    """Rows of `n` trainings of one sweep, with nothing behind them; returns their ids."""
    from mistudio.activations.schemas import HarvestSettings
    from mistudio.datasets.tables import Dataset, Tokenization
    from mistudio.models.tables import Model
    from mistudio.sae.config import TrainerConfig
    from mistudio.training.tables import Sweep, SweepSource, Training

    model = Model(name="bench", source={"kind": "folder", "path": "bench"})
    dataset = Dataset(name="bench", source={"kind": "text", "path": "bench"})
    session.add_all([model, dataset])
    session.flush()
    tokenization = Tokenization(dataset_id=dataset.id, model_id=model.id, name="bench", settings={})
    session.add(tokenization)
    session.flush()
    trainings = [
        Training(
            name=f"bench seed={number}",
            position=number,
            hook="blocks.6.hook_resid_post",
            d_in=576,
            config=TrainerConfig(seed=number).model_dump(mode="json"),
        )
        for number in range(n)
    ]
    sweep = Sweep(
        name="bench",
        model_id=model.id,
        harvest=HarvestSettings().model_dump(mode="json"),
        held_out_tokens=0,
        sources=[SweepSource(position=0, tokenization_id=tokenization.id, weight=1.0)],
        trainings=trainings,
    )
    session.add(sweep)
    session.flush()
    return [training.id for training in trainings]


def write_points(folder: Path, n: int, phase: float = 0.0) -> None:
    """A log of `n` points, as a run that has gone on for long has it."""
    import numpy as np

    from mistudio.store import MetricLog
    from mistudio.store.metric_records import header_bytes, record_dtype, seal

    columns = [*COLUMNS, "tokens_per_second"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metrics.bin"
    rng = np.random.default_rng(int(phase * 1000))
    with path.open("wb") as file:
        file.write(header_bytes(columns))
        for start in range(0, n, 100_000):
            count = min(100_000, n - start)
            records = np.zeros(count, record_dtype(columns))
            records["step"] = np.arange(start, start + count) + 1
            records["tokens"] = records["step"] * 4096
            records["time"] = time.time() - (n - records["step"]) * 0.1
            falling = 1 / (1 + records["step"] / 500)
            for place, name in enumerate(columns):
                records[name] = (falling + 0.05 * rng.random(count) + 0.02 * phase) * (1 + place)
            file.write(seal(records).tobytes())
    with MetricLog(path, columns):
        pass  # makes the overview, as the run would have
