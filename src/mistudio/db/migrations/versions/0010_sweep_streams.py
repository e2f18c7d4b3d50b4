"""sweeps: what fixes the order of their activations, whichever of their trainings are still there

Revision 0010, after 0009.

Up: that of a sweep follows from the trainings that it has now, as it did until now.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_sweeps = sa.table("sweeps", sa.column("id"), sa.column("stream", sa.JSON))
_trainings = sa.table(
    "trainings",
    *(sa.column(name) for name in ("sweep_id", "position", "hook")),
    sa.column("config", sa.JSON),
)


def upgrade() -> None:
    op.add_column("sweeps", sa.Column("stream", sa.JSON(), nullable=False, server_default="{}"))
    bind = op.get_bind()
    members: dict[str, list[Any]] = {}
    for row in bind.execute(sa.select(_trainings).order_by(_trainings.c.position)).mappings():
        members.setdefault(row["sweep_id"], []).append(row)
    for sweep_id, rows in members.items():
        configs = [row["config"] for row in rows]
        stream = {
            "seed": configs[0].get("seed", 0),
            "batch_size": max(config.get("batch_size", 4096) for config in configs),
            "hooks": list(dict.fromkeys(row["hook"] for row in rows)),
        }
        bind.execute(_sweeps.update().where(_sweeps.c.id == sweep_id).values(stream=stream))


def downgrade() -> None:
    op.drop_column("sweeps", "stream")
