"""sweeps: trainings that share one pass over the activations

Revision 0006, after 0005.

Up: each training becomes a sweep of one, which takes over what it reads and its jobs. Down: each training takes back
what its sweep reads; of a mixture the first tokenization, and the job of a sweep goes to its first training. Mixtures
and what they shared cannot be said in the older schema.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SHARED = ("model_id", "cache_id", "harvest", "held_out_tokens")
_trainings = sa.table(
    "trainings",
    *(
        sa.column(name)
        for name in (
            "id",
            "sweep_id",
            "position",
            "name",
            "created_at",
            "tokenization_id",
            "model_id",
            "cache_id",
        )
    ),
    sa.column("harvest", sa.JSON),
    sa.column("tags", sa.JSON),
    sa.column("held_out_tokens"),
)
_sweeps = sa.table(
    "sweeps",
    *(sa.column(name) for name in ("id", "name", "model_id", "cache_id", "held_out_tokens", "created_at")),
    sa.column("harvest", sa.JSON),
)
_sources = sa.table(
    "sweep_sources", *(sa.column(name) for name in ("sweep_id", "position", "tokenization_id", "weight"))
)
_jobs = sa.table("jobs", sa.column("kind"), sa.column("subject"), sa.column("params", sa.JSON))


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("cache_id", sa.String(length=32), nullable=True),
        sa.Column("harvest", sa.JSON(), nullable=False),
        sa.Column("held_out_tokens", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], op.f("fk_sweeps_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["cache_id"],
            ["activation_caches.id"],
            op.f("fk_sweeps_cache_id_activation_caches"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    for column in ("model_id", "cache_id", "created_at"):
        op.create_index(op.f(f"ix_sweeps_{column}"), "sweeps", [column])
    op.create_table(
        "sweep_sources",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("tokenization_id", sa.String(length=32), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweeps.id"], op.f("fk_sweep_sources_sweep_id_sweeps"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tokenization_id"],
            ["tokenizations.id"],
            op.f("fk_sweep_sources_tokenization_id_tokenizations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("sweep_id", "position", name=op.f("pk_sweep_sources")),
    )
    op.create_index(op.f("ix_sweep_sources_tokenization_id"), "sweep_sources", ["tokenization_id"])
    with op.batch_alter_table("trainings") as batch_op:
        batch_op.add_column(sa.Column("sweep_id", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("tags", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("favourite", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("error", sa.JSON(), nullable=True))
    bind = op.get_bind()
    for row in bind.execute(sa.select(_trainings)).mappings().all():
        sweep_id = f"sw_{row['id'].partition('_')[2]}"
        shared = {name: row[name] for name in ("name", "created_at", *_SHARED)}
        bind.execute(_sweeps.insert().values(id=sweep_id, **shared))
        bind.execute(
            _sources.insert().values(
                sweep_id=sweep_id, position=0, tokenization_id=row["tokenization_id"], weight=1.0
            )
        )
        bind.execute(_trainings.update().where(_trainings.c.id == row["id"]).values(sweep_id=sweep_id))
        _move_jobs(f"trainings/{row['id']}", f"sweeps/{sweep_id}", {"sweep_id": sweep_id})
    with op.batch_alter_table("trainings") as batch_op:
        for column in ("model_id", "tokenization_id", "cache_id"):
            batch_op.drop_index(op.f(f"ix_trainings_{column}"))
        for column, other in (
            ("model_id", "models"),
            ("tokenization_id", "tokenizations"),
            ("cache_id", "activation_caches"),
        ):
            batch_op.drop_constraint(op.f(f"fk_trainings_{column}_{other}"), type_="foreignkey")
        for column in ("tokenization_id", *_SHARED):
            batch_op.drop_column(column)
        batch_op.alter_column("sweep_id", existing_type=sa.String(length=32), nullable=False)
        for column in ("position", "tags", "favourite"):
            batch_op.alter_column(column, server_default=None)
        batch_op.create_foreign_key(
            op.f("fk_trainings_sweep_id_sweeps"), "sweeps", ["sweep_id"], ["id"], ondelete="CASCADE"
        )
        batch_op.create_index(op.f("ix_trainings_sweep_id"), ["sweep_id"])


def downgrade() -> None:
    with op.batch_alter_table("trainings") as batch_op:
        for column in ("model_id", "tokenization_id", "cache_id"):
            batch_op.add_column(sa.Column(column, sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("harvest", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("held_out_tokens", sa.Integer(), nullable=False, server_default="0"))
    bind = op.get_bind()
    read = sa.select(_trainings.c.id, _trainings.c.sweep_id, _trainings.c.position).order_by(
        _trainings.c.sweep_id, _trainings.c.position
    )
    seen: set[str] = set()
    for row in bind.execute(read).mappings().all():
        sweep = bind.execute(sa.select(_sweeps).where(_sweeps.c.id == row["sweep_id"])).mappings().one()
        first = bind.execute(
            sa.select(_sources.c.tokenization_id)
            .where(_sources.c.sweep_id == row["sweep_id"])
            .order_by(_sources.c.position)
        ).scalars()
        values: dict[str, Any] = {name: sweep[name] for name in _SHARED}
        bind.execute(
            _trainings.update()
            .where(_trainings.c.id == row["id"])
            .values(tokenization_id=next(iter(first)), **values)
        )
        if sweep["id"] not in seen:
            _move_jobs(f"sweeps/{sweep['id']}", f"trainings/{row['id']}", {"training_id": row["id"]})
        seen.add(sweep["id"])
    with op.batch_alter_table("trainings") as batch_op:
        batch_op.drop_index(op.f("ix_trainings_sweep_id"))
        batch_op.drop_constraint(op.f("fk_trainings_sweep_id_sweeps"), type_="foreignkey")
        for column in ("sweep_id", "position", "tags", "favourite", "error"):
            batch_op.drop_column(column)
        for column in ("model_id", "tokenization_id"):
            batch_op.alter_column(column, existing_type=sa.String(length=32), nullable=False)
        for column in ("harvest", "held_out_tokens"):
            batch_op.alter_column(column, server_default=None)
        for column, other, rule in (
            ("model_id", "models", "CASCADE"),
            ("tokenization_id", "tokenizations", "CASCADE"),
            ("cache_id", "activation_caches", "SET NULL"),
        ):
            batch_op.create_foreign_key(
                op.f(f"fk_trainings_{column}_{other}"), other, [column], ["id"], ondelete=rule
            )
            batch_op.create_index(op.f(f"ix_trainings_{column}"), [column])
    op.drop_table("sweep_sources")
    op.drop_table("sweeps")


def _move_jobs(before: str, after: str, params: dict[str, str]) -> None:
    op.get_bind().execute(
        _jobs.update()
        .where(_jobs.c.subject == before, _jobs.c.kind == "training.run")
        .values(subject=after, params=params)
    )
