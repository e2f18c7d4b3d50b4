"""sweeps: the hyperparameters and the grid that were asked for

Revision 0011, after 0010.

Up: where a sweep has one training, its settings are what was asked for. Of several, none is known to be.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_sweeps = sa.table("sweeps", sa.column("id"), sa.column("asked", sa.JSON))
_trainings = sa.table("trainings", sa.column("sweep_id"), sa.column("config", sa.JSON))


def upgrade() -> None:
    op.add_column("sweeps", sa.Column("asked", sa.JSON(), nullable=False, server_default="{}"))
    bind = op.get_bind()
    members: dict[str, list[Any]] = {}
    for row in bind.execute(sa.select(_trainings)).mappings():
        members.setdefault(row["sweep_id"], []).append(row["config"])
    for sweep_id, configs in members.items():
        if len(configs) == 1:
            asked = {"config": configs[0], "grid": {}}
            bind.execute(_sweeps.update().where(_sweeps.c.id == sweep_id).values(asked=asked))


def downgrade() -> None:
    op.drop_column("sweeps", "asked")
