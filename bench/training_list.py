"""`training/list-10k`: a page of the list of 10,000 runs over HTTP, in the ways that a reader asks for it."""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

RUNS = 10_000
GOAL_MS = 250.0
QUERIES = {
    "newest": {},
    "filtered": {"filter": "d_sae>=8192 layer:6 fvu<0.2 -state:failed", "sort": "fvu"},
    "grouped": {"group": "layer", "sort": "-fvu"},
}


def rows(quick: bool) -> list[dict[str, Any]]:
    """The median of each query's time; the slowest query counts."""
    from starlette.testclient import TestClient

    from mistudio.app import create_app
    from mistudio.settings import LoadedSettings, Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        app = create_app(LoadedSettings(settings, {}), migrate=False)
        fill(settings, 1_000 if quick else RUNS)
        with TestClient(app, base_url="http://localhost") as client:
            found = {name: _median(client, query, 3 if quick else 9) for name, query in QUERIES.items()}
            groups = _median(client, {"by": "layer"}, 3 if quick else 9, path="/groups")
    return [
        {
            "name": f"training/list-10k/{name}",
            "ours": round(milliseconds, 1),
            "peer": None,
            "unit": "ms",
            "ratio": None,
            "goal": GOAL_MS,
            "holds": milliseconds < GOAL_MS,
        }
        for name, milliseconds in {**found, "groups": groups}.items()
    ]


def fill(settings: Any, count: int) -> None:
    """Runs of one model and text, in sweeps of ten, with jobs and figures."""
    from sqlalchemy import insert

    from mistudio.datasets.tables import Dataset, Tokenization
    from mistudio.db import Base, Database
    from mistudio.db.migrate import upgrade
    from mistudio.jobs import Job
    from mistudio.models.tables import Model
    from mistudio.sae.config import JumpReLUConfig, TopKConfig, TrainerConfig
    from mistudio.sae.metric_info import METRICS
    from mistudio.training.tables import Sweep, SweepSource, Training

    database = Database(settings.effective_database_url)
    upgrade(database, Base.metadata)
    with database.session() as session:
        model = Model(name="model", source={}, hook_points=[])
        text = Dataset(name="text", source={"kind": "text", "path": "a.txt"}, text_column="text")
        session.add_all([model, text])
        session.flush()
        tokens = Tokenization(dataset_id=text.id, model_id=model.id, name="tokens", settings={}, n_tokens=1)
        session.add(tokens)
        session.flush()
        began = datetime(2026, 1, 1, tzinfo=UTC)
        sweeps, sources, jobs, trainings = [], [], [], []
        for place in range(count):
            id = f"{place:016d}"
            sweep = f"sw_{place // 10:016d}"
            at = began + timedelta(minutes=place)
            if place % 10 == 0:
                sweeps.append(
                    {
                        "id": sweep,
                        "name": f"sweep {place}",
                        "model_id": model.id,
                        "harvest": {},
                        "held_out_tokens": 1,
                    }
                    | {"trackers": [], "created_at": at}
                )
                sources.append(
                    {"sweep_id": sweep, "position": 0, "tokenization_id": tokens.id, "weight": 1.0}
                )
                state = ("succeeded", "succeeded", "failed", "cancelled")[place // 10 % 4]
                jobs.append(
                    {"id": f"jb_{id}", "kind": "training.run", "subject": f"sweeps/{sweep}", "title": "Train"}
                    | {
                        "params": {},
                        "resource": "gpu",
                        "resumable": True,
                        "state": state,
                        "updated_by": "bench",
                    }
                    | {"created_at": at}
                )
            kind = TopKConfig(k=16 << place % 3) if place % 2 else JumpReLUConfig(target_l0=32)
            config = TrainerConfig(architecture=kind, d_sae=4096 << place % 4, seed=place % 5)
            trainings.append(
                {"id": f"tr_{id}", "sweep_id": sweep, "position": place % 10, "name": f"run {place}"}
                | {"hook": f"blocks.{place % 12}.hook_resid_post", "d_in": 768, "created_at": at, "notes": ""}
                | {"config": config.model_dump(mode="json"), "tags": ["kept"] if place % 7 == 0 else []}
                | {"last_metrics": dict.fromkeys(METRICS, place * 37 % 1000 / 1000)}
            )
        for table, values in ((Sweep, sweeps), (SweepSource, sources), (Job, jobs), (Training, trainings)):
            session.execute(insert(table), values)
    database.dispose()


def _median(client: Any, query: dict[str, str], times: int, path: str = "") -> float:
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        answer = client.get(f"/api/v1/trainings{path}", params={"limit": 100, **query} if not path else query)
        found.append(1000 * (time.perf_counter() - began))
        answer.raise_for_status()
    return statistics.median(found)


if __name__ == "__main__":
    for row in rows(quick=False):
        print(row)
