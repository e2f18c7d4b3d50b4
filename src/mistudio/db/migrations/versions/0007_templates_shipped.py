"""templates: shipped ones, architectures, what is expected; data_sets: what statistics and search index take

Revision 0007, after 0006.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_templates = sa.table(
    "templates",
    *(sa.column(name) for name in ("id", "kind", "architecture", "builtin")),
    sa.column("body", sa.JSON),
)


def upgrade() -> None:
    with op.batch_alter_table("templates", schema=None) as batch_op:
        batch_op.add_column(sa.Column("builtin", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("architecture", sa.String(length=50), nullable=True))
        batch_op.add_column(sa.Column("expected", sa.JSON(none_as_null=True), nullable=True))
        batch_op.create_index(batch_op.f("ix_templates_architecture"), ["architecture"], unique=False)
        batch_op.create_unique_constraint(batch_op.f("uq_templates_builtin"), ["builtin"])
    session = op.get_bind()
    for id, body in session.execute(
        sa.select(_templates.c.id, _templates.c.body).where(_templates.c.kind == "training")
    ).all():
        architecture: Any = (body or {}).get("config", {}).get("architecture", {})
        session.execute(
            _templates.update()
            .where(_templates.c.id == id)
            .values(architecture=str(architecture.get("kind", "batch_topk"))[:50])
        )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("survey_bytes", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_column("survey_bytes")
    # The older schema knows no shipped templates: they are made anew by the next start of a newer one.
    op.execute(_templates.delete().where(_templates.c.builtin.is_not(None)))
    with op.batch_alter_table("templates", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_templates_builtin"), type_="unique")
        batch_op.drop_index(batch_op.f("ix_templates_architecture"))
        batch_op.drop_column("expected")
        batch_op.drop_column("architecture")
        batch_op.drop_column("builtin")
