"""training_views: ways of looking at the list; sweeps: where else their curves go

Revision 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "training_views",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_views")),
        sa.UniqueConstraint("name", name=op.f("uq_training_views_name")),
    )
    op.add_column("sweeps", sa.Column("trackers", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("sweeps", "trackers")
    op.drop_table("training_views")
