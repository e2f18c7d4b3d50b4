"""models: how they are loaded, what was consented to, their modules and self-test, and what is asked of them

Revision 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import mistudio.db.base

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("loading", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("consent", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("modules", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("hook_report", sa.JSON(none_as_null=True), nullable=True))

    op.create_table(
        "model_requests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.Column("started_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=True),
        sa.Column("finished_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_model_requests_job_id_jobs"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_requests_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_requests")),
    )
    with op.batch_alter_table("model_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_requests_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_model_requests_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_model_requests_model_id"), ["model_id"], unique=False)


def downgrade() -> None:
    op.drop_table("model_requests")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_column("hook_report")
        batch_op.drop_column("modules")
        batch_op.drop_column("consent")
        batch_op.drop_column("loading")
