"""Changes to many trainings at once."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from mistudio.errors import NotFound
from mistudio.settings import Settings
from mistudio.training.listing_schemas import BulkChange
from mistudio.training.sweeps import delete_trainings
from mistudio.training.tables import Training

_AT_ONCE = 500


def change_many(session: Session, change: BulkChange) -> int:
    """Add and remove tags, set or take the star; how many trainings that were. Raises NotFound, then none changes."""
    ids = list(dict.fromkeys(change.ids))
    found: dict[str, Training] = {}
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        found |= {row.id: row for row in session.scalars(select(Training).where(Training.id.in_(part)))}
    for id in ids:
        row = found.get(id)
        if row is None:
            raise NotFound("training", id)
        kept = [tag for tag in row.tags if tag not in change.remove_tags]
        tags = list(dict.fromkeys([*kept, *change.add_tags]))
        if tags != row.tags:
            row.tags = tags
        if change.favourite is not None:
            row.favourite = change.favourite
    return len(ids)


def delete_many(session: Session, settings: Settings, ids: list[str]) -> int:
    """Remove trainings with their curves and checkpoints; how many. Raises NotFound, then none goes."""
    wanted = list(dict.fromkeys(ids))
    delete_trainings(session, settings, wanted)
    return len(wanted)
