"""What a training came to: what a template of its settings may expect."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.engine.changes import read_changes
from mistudio.saes.tables import Sae
from mistudio.templates.schemas import Expected
from mistudio.training.schemas import TrainingOut


def came_to(session: Session, folder: Path, training: TrainingOut) -> Expected | None:
    """L0 and FVU of the run's SAE on held-out tokens or, where none were held out, of its last recorded batch.

    None before there are any, and where settings were changed while it trained: what it came to is not what those it
    began with come to. folder: the training's own.
    """
    if read_changes(folder):
        return None
    made = session.scalars(select(Sae).where(Sae.training_id == training.id)).all()
    ended = next((one for one in made if one.origin.get("tokens") == training.tokens_trained), None)
    held_out = ended is not None and bool(ended.origin.get("held_out_tokens"))
    metrics = ended.metrics if ended is not None and held_out else training.last_metrics or {}
    l0, fvu = metrics.get("l0"), metrics.get("fvu")
    if l0 is None or fvu is None:
        return None
    where = f"{metrics['n_tokens']:,.0f} held-out tokens" if held_out else "the last batch"
    said = f"Measured on {where} of “{training.name}”, after {training.tokens_trained:,} tokens."
    return Expected(model=training.model_name, hook=training.hook, l0=l0, fvu=fvu, source=said)
