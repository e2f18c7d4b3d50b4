"""Rows of runs that nobody trained: what lists, comparisons and reports are about."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.jobs import Job
from mistudio.models.tables import Model
from mistudio.sae.config import TrainerConfig
from mistudio.training.tables import Sweep, SweepSource, Training


def add_tokens(session: Session, model: str, dataset: str) -> Tokenization:
    """A tokenization of a data set for a model, all of them new."""
    of = Model(name=model, source={}, hook_points=[])
    text = Dataset(name=dataset, source={"kind": "text", "path": "a.txt"}, text_column="text")
    session.add_all([of, text])
    session.flush()
    made = Tokenization(
        dataset_id=text.id, model_id=of.id, name=f"{dataset} for {model}", settings={}, n_tokens=10_000
    )
    session.add(made)
    session.flush()
    return made


def add_run(
    session: Session,
    tokens: Tokenization,
    name: str,
    config: TrainerConfig,
    *,
    layer: int | None,
    metrics: dict[str, Any] | None = None,
    at: datetime,
    state: str = "succeeded",
    sweep: Sweep | None = None,
) -> Training:
    """A training in a sweep (of its own unless one is given), with a job in that state."""
    if sweep is None:
        source = SweepSource(position=0, tokenization_id=tokens.id, weight=1.0)
        sweep = Sweep(
            name=f"sweep of {name}",
            model_id=tokens.model_id,
            harvest={},
            held_out_tokens=512,
            sources=[source],
        )
        session.add(sweep)
        session.flush()
        session.add(
            Job(
                kind="training.run",
                subject=f"sweeps/{sweep.id}",
                title=name,
                params={},
                resource="gpu",
                resumable=True,
                state=state,
                updated_by="a test",
                created_at=at,
                started_at=at,
                finished_at=at,
            )
        )
    made = Training(
        sweep_id=sweep.id,
        name=name,
        hook="hook_embed" if layer is None else f"blocks.{layer}.hook_resid_post",
        d_in=32,
        config=config.model_dump(mode="json"),
        last_metrics=metrics,
        created_at=at,
    )
    session.add(made)
    session.flush()
    return made
