"""`training/memory-forecast`: what a training is forecast to take in memory, against its measured peak.

Real trainings of the app, each the job process that the app starts, on the real 135M model: alongside the model and
from a cache, one SAE and sweeps. The peak is the largest resident set of the job's process, as the kernel counted it.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.training_data import HOOKS, opened, studio
from mistudio.console.waiting import run_job
from mistudio.training.forecast import forecast_sweep
from mistudio.training.schemas import TrainingCreate
from mistudio.training.sweeps import create_sweep, sweep_job

GOAL = 0.15
LENGTH = 24
"""batches of 4,096 of a training from a cache, which takes it into the second window of shuffled rows, and half as many
alongside the model, whose first pool is there before the first step: a longer training needs no more"""


def cases(tokenization_id: str, cache_id: str | None) -> dict[str, TrainingCreate]:
    """What is trained, by name."""

    def case(hooks: int, d_sae: int, batch: int = 4096, cached: bool = False, **more: Any) -> TrainingCreate:
        grid = more.pop("grid", {})
        config = {
            "d_sae": d_sae,
            "batch_size": batch,
            "total_tokens": LENGTH * 4096 // (1 if cached else 2),
            "log_every": 1,
            **more,
        }
        return TrainingCreate.model_validate(
            {
                "sources": [{"tokenization_id": tokenization_id}],
                "cache_id": cache_id if cached else None,
                "hooks": list(HOOKS[-hooks:]),
                "held_out_tokens": 8_192,
                "config": config,
                "grid": grid,
            }
        )

    return {
        "one from the model": case(1, 9216, architecture={"kind": "topk", "k": 32}),
        "one from a cache": case(1, 9216, cached=True, architecture={"kind": "topk", "k": 32}),
        "a wide one from a cache": case(1, 32_768, cached=True),
        "JumpReLU from a cache": case(1, 9216, cached=True, architecture={"kind": "jump_relu"}),
        "standard from a cache": case(1, 9216, cached=True, architecture={"kind": "standard"}),
        "gated from a cache": case(1, 9216, 2048, cached=True, architecture={"kind": "gated"}),
        "Matryoshka in bfloat16 from a cache": case(
            1, 16_384, 2048, cached=True, architecture={"kind": "matryoshka"}, precision="bfloat16"
        ),
        "four from a cache": case(2, 9216, cached=True, grid={"k": [16, 64]}),
        "eight from the model": case(2, 4608, 2048, grid={"k": [8, 16, 32, 64]}),
    }


def measured(folder: Path, wanted: TrainingCreate) -> tuple[int, int, dict[str, int]]:
    """Forecast and measured peak in bytes, and the forecast's parts. Call it in a process of its own: the kernel
    remembers the largest of all children."""
    with opened(folder) as (loaded, database):
        with database.reading() as session:
            said = forecast_sweep(session, loaded.settings, wanted)
        with database.session() as session:
            made = create_sweep(session, wanted)
            job = sweep_job(session, made.id)
            assert job is not None
            job_id = job.id
        run_job(database, loaded, job_id)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return said.memory_bytes, peak, said.parts


def rows(quick: bool) -> list[dict[str, Any]]:
    """One row: the largest error of all cases, with each case in the note."""
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as temporary:
        folder = Path(temporary)
        with studio(folder) as made:
            wanted = cases(made.tokenization_id, made.cache_id)
        return [row(compared(folder, wanted, quick))]


def compared(folder: Path, wanted: dict[str, TrainingCreate], quick: bool) -> dict[str, tuple[int, int, Any]]:
    """Each case, measured in turn."""
    found: dict[str, tuple[int, int, Any]] = {}
    names = ["one from a cache", "four from a cache"] if quick else list(wanted)
    for name in names:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            found[name] = process.apply(measured, (folder, wanted[name]))
        sys.stderr.write(f"  {name}: {found[name]}\n")
    return found


def row(found: dict[str, tuple[int, int, Any]]) -> dict[str, Any]:
    """The row of these cases."""
    errors = {name: forecast / peak - 1 for name, (forecast, peak, _) in found.items()}
    worst = max(abs(error) for error in errors.values())
    note = "; ".join(
        f"{name}: {found[name][0] / 1e9:.2f} GB forecast, {found[name][1] / 1e9:.2f} measured ({error:+.0%})"
        for name, error in errors.items()
    )
    return {
        "name": "training/memory-forecast",
        "ours": worst,
        "peer": None,
        "unit": "share of the peak",
        "ratio": None,
        "goal": GOAL,
        "holds": worst <= GOAL,
        "note": note,
    }


if __name__ == "__main__":
    print(rows("--quick" in sys.argv))
