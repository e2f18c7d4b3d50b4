"""Deleting a training with nine million recorded activations: what its user waits for.

The training folder holds an activation cache of nine million tokens, an example store with nine million
recorded activations, and 100,000 metric points. `delete` stands for whatever the product does; by default
that is the store's part of it.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mistudio.store import (
    ActivationCacheWriter,
    Examples,
    MetricLog,
    delete_folder,
    owner_folder,
    write_examples,
)

ACTIVATIONS = 9_000_000
GOAL_SECONDS = 1.0


def rows(
    quick: bool,
    make_folder: Callable[[Path], Path] | None = None,
    delete: Callable[[Path, Path], object] = delete_folder,
) -> list[dict[str, Any]]:
    """The bench row. `quick` makes narrower vectors, never fewer activations.

    make_folder(data_dir) creates the owner and returns its folder; delete(data_dir, folder) deletes it and
    may return a thread that unlinks behind (joined outside the measurement).
    """
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as temporary:
        data_dir = Path(temporary)
        folder = (make_folder or _training_folder)(data_dir)
        fill_training(folder, width=8 if quick else 64)
        start = time.perf_counter()
        thread = delete(data_dir, folder)
        seconds = time.perf_counter() - start
        if folder.exists():
            raise RuntimeError(f"{folder} is still there after its deletion")
        if hasattr(thread, "join"):
            thread.join()  # type: ignore[attr-defined]
    return [
        {
            "name": "delete/training-9m-activations",
            "ours": seconds,
            "peer": None,
            "unit": "s",
            "ratio": None,
            "goal": GOAL_SECONDS,
            "holds": seconds < GOAL_SECONDS,
        }
    ]


def fill_training(folder: Path, width: int) -> None:
    """Write what a training of nine million tokens records, with vectors of `width` values."""
    folder.mkdir(parents=True, exist_ok=True)
    with ActivationCacheWriter(folder / "activations", {"blocks.6.hook_resid_post": width}) as cache:
        n = 100_000
        vectors = np.random.default_rng(0).standard_normal((n, width)).astype(np.float16)
        for start in range(0, ACTIVATIONS, n):
            tokens = np.arange(start, start + n)
            cache.append({"blocks.6.hook_resid_post": vectors}, tokens // 128, tokens % 128, tokens % 50_000)
    with MetricLog(folder / "metrics.bin", ["loss", "l0", "fvu"]) as log:
        for step in range(100_000):
            log.append(step, step * 4_096, {"loss": 1.0, "l0": 32.0, "fvu": 0.2})
    d_sae, window = 9_000, 50
    examples = ACTIVATIONS // window
    start_of_window = np.zeros(examples, np.uint32)
    write_examples(
        folder / "examples",
        Examples(
            offsets=np.linspace(0, examples, d_sae + 1).astype(np.int64),
            sequence=np.arange(examples, dtype=np.uint32),
            position=np.full(examples, window // 2, np.uint16),
            strongest=np.ones(examples, np.float32),
            group=np.zeros(examples, np.uint8),
            window_start=start_of_window,
            window_offsets=np.arange(examples + 1, dtype=np.int64) * window,
            tokens=np.zeros(ACTIVATIONS, np.uint16),
            activations=np.ones(ACTIVATIONS, np.float16),
        ),
        {"frequency": np.ones(d_sae), "maximum": np.ones(d_sae, np.float32)},
    )


def _training_folder(data_dir: Path) -> Path:
    return owner_folder(data_dir, "trainings", "tr_bench")
