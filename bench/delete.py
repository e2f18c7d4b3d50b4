"""Deleting a training with nine million recorded activations: what its user waits for.

The training folder holds an activation cache of nine million tokens, an example store with nine million
recorded activations, and 100,000 metric points; its row refers to a model and a tokenization.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mistudio.activations.schemas import HarvestSettings
from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.db import Database
from mistudio.db.migrate import upgrade
from mistudio.domains import all_domains, import_tables
from mistudio.models.tables import Model
from mistudio.sae.config import TrainerConfig
from mistudio.settings import Settings
from mistudio.store import ActivationCacheWriter, Examples, MetricLog, empty_trash, write_examples
from mistudio.training.sweeps import delete_trainings
from mistudio.training.tables import Sweep, SweepSource, Training
from mistudio.training.views import training_folder

ACTIVATIONS = 9_000_000
GOAL_SECONDS = 1.0


def rows(quick: bool) -> list[dict[str, Any]]:
    """The bench row: the same function that the web and the command line call, on a real database.

    `quick` makes narrower vectors, never fewer activations.
    """
    with tempfile.TemporaryDirectory(prefix="mistudio-bench-") as temporary:
        settings = Settings(data_dir=Path(temporary))
        database = Database(settings.effective_database_url)
        upgrade(database, import_tables(all_domains()))
        folder = training_folder(settings, _insert_training(database))
        fill_training(folder, width=8 if quick else 64)
        start = time.perf_counter()
        with database.session() as session:
            delete_trainings(session, settings, [folder.name])
        seconds = time.perf_counter() - start
        if folder.exists():
            raise RuntimeError(f"{folder.name} is still there after its deletion")
        with database.reading() as session:
            assert session.get(Training, folder.name) is None
        empty_trash(settings.data_dir).join()
        database.dispose()
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


def _insert_training(database: Database) -> str:
    with database.session() as session:
        model = Model(name="bench", source={"kind": "folder", "path": "bench"})
        dataset = Dataset(name="bench", source={"kind": "text", "path": "bench"})
        session.add_all([model, dataset])
        session.flush()
        tokenization = Tokenization(dataset_id=dataset.id, model_id=model.id, name="bench", settings={})
        session.add(tokenization)
        session.flush()
        training = Training(
            name="bench",
            hook="blocks.6.hook_resid_post",
            d_in=576,
            config=TrainerConfig().model_dump(mode="json"),
        )
        sweep = Sweep(
            name="bench",
            model_id=model.id,
            harvest=HarvestSettings().model_dump(mode="json"),
            held_out_tokens=0,
            sources=[SweepSource(position=0, tokenization_id=tokenization.id, weight=1.0)],
            trainings=[training],
        )
        session.add(sweep)
        session.flush()
        return training.id


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
