"""data sets: how they are found, what their sources say of themselves, columns composed from others

Revision 0002, after 0001.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

import mistudio.db.base

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(length=20), nullable=False, server_default="file"))
        batch_op.add_column(sa.Column("favourite", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("about", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("card", sa.Text(), nullable=True))
        batch_op.create_index(batch_op.f("ix_datasets_kind"), ["kind"], unique=False)
    datasets = sa.table("datasets", sa.column("id"), sa.column("source", sa.JSON()), sa.column("kind"))
    connection = op.get_bind()
    for id, source in connection.execute(sa.select(datasets.c.id, datasets.c.source)).all():
        connection.execute(datasets.update().where(datasets.c.id == id).values(kind=_kind(source)))

    op.create_table(
        "dataset_tags",
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("tag", sa.String(length=50), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_tags_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "tag", name=op.f("pk_dataset_tags")),
    )
    with op.batch_alter_table("dataset_tags", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_dataset_tags_tag"), ["tag"], unique=False)

    op.create_table(
        "composed_columns",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_composed_columns_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_composed_columns")),
        sa.UniqueConstraint("dataset_id", "name", name=op.f("uq_composed_columns_dataset_id_name")),
    )
    with op.batch_alter_table("composed_columns", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_composed_columns_dataset_id"), ["dataset_id"], unique=False)


def _kind(source: Any) -> str:
    source = json.loads(source) if isinstance(source, str) else source
    if source["kind"] in ("hub", "folder"):
        return source["kind"]
    return "upload" if source.get("uploaded") else "file"


def downgrade() -> None:
    op.drop_table("composed_columns")
    op.drop_table("dataset_tags")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_datasets_kind"))
        batch_op.drop_column("card")
        batch_op.drop_column("about")
        batch_op.drop_column("favourite")
        batch_op.drop_column("kind")
