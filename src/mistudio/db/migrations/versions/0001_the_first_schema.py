"""the first schema

Revision 0001, after None.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import mistudio.db.base

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("text_column", sa.String(length=400), nullable=True),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
        info={"folders": ("datasets", "uploads")},
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_datasets_created_at"), ["created_at"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("title", sa.String(length=400), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("resource", sa.String(length=8), nullable=False),
        sa.Column("resumable", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("asked", sa.String(length=8), nullable=True),
        sa.Column("short_runs", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=200), nullable=True),
        sa.Column("done", sa.Float(), nullable=True),
        sa.Column("total", sa.Float(), nullable=True),
        sa.Column("unit", sa.String(length=40), nullable=True),
        sa.Column("rate", sa.Float(), nullable=True),
        sa.Column("seconds_left", sa.Float(), nullable=True),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.Column("queued_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.Column("started_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=True),
        sa.Column("finished_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=True),
        sa.Column("updated_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint("asked IN ('stop', 'pause')", name=op.f("ck_jobs_asked")),
        sa.CheckConstraint("resource IN ('cpu', 'gpu', 'io')", name=op.f("ck_jobs_resource")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'cancelling', 'paused', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_queue", ["state", "resource", "priority", "queued_at"], unique=False)
        batch_op.create_index("ix_jobs_subject_created_at", ["subject", "created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_updated_at"), ["updated_at"], unique=False)

    op.create_table(
        "models",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("architecture", sa.String(length=100), nullable=True),
        sa.Column("n_layers", sa.Integer(), nullable=True),
        sa.Column("d_model", sa.Integer(), nullable=True),
        sa.Column("vocab_size", sa.Integer(), nullable=True),
        sa.Column("context_length", sa.Integer(), nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("dtype", sa.String(length=20), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("hook_points", sa.JSON(), nullable=False),
        sa.Column("has_chat_template", sa.Boolean(), nullable=False),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_models_created_at"), ["created_at"], unique=False)

    op.create_table(
        "job_messages",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_messages_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_messages")),
    )
    with op.batch_alter_table("job_messages", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_messages_job_id"), ["job_id"], unique=False)

    op.create_table(
        "steering_sessions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("sae_ids", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_steering_sessions_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steering_sessions")),
    )
    with op.batch_alter_table("steering_sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_steering_sessions_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_steering_sessions_model_id"), ["model_id"], unique=False)

    op.create_table(
        "tokenizations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("dataset_id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("n_sequences", sa.BigInteger(), nullable=True),
        sa.Column("n_tokens", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("statistics", sa.JSON(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_tokenizations_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_tokenizations_model_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokenizations")),
        sa.UniqueConstraint("dataset_id", "name", name=op.f("uq_tokenizations_dataset_id_name")),
    )
    with op.batch_alter_table("tokenizations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tokenizations_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_tokenizations_dataset_id"), ["dataset_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_tokenizations_model_id"), ["model_id"], unique=False)

    op.create_table(
        "activation_caches",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("tokenization_id", sa.String(length=32), nullable=False),
        sa.Column("hooks", sa.JSON(), nullable=False),
        sa.Column("dtype", sa.String(length=20), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("n_tokens", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("statistics", sa.JSON(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_activation_caches_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tokenization_id"],
            ["tokenizations.id"],
            name=op.f("fk_activation_caches_tokenization_id_tokenizations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activation_caches")),
        sa.UniqueConstraint("name", name=op.f("uq_activation_caches_name")),
        info={"folders": ("activations",)},
    )
    with op.batch_alter_table("activation_caches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_activation_caches_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_activation_caches_model_id"), ["model_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_activation_caches_tokenization_id"), ["tokenization_id"], unique=False
        )

    op.create_table(
        "steering_generations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.Column("started_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=True),
        sa.Column("finished_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name=op.f("fk_steering_generations_job_id_jobs"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["steering_sessions.id"],
            name=op.f("fk_steering_generations_session_id_steering_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steering_generations")),
    )
    with op.batch_alter_table("steering_generations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_steering_generations_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_steering_generations_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_steering_generations_session_id"), ["session_id"], unique=False)

    op.create_table(
        "trainings",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("tokenization_id", sa.String(length=32), nullable=False),
        sa.Column("cache_id", sa.String(length=32), nullable=True),
        sa.Column("hook", sa.String(length=200), nullable=False),
        sa.Column("d_in", sa.Integer(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("harvest", sa.JSON(), nullable=False),
        sa.Column("held_out_tokens", sa.Integer(), nullable=False),
        sa.Column("tokens_trained", sa.BigInteger(), nullable=False),
        sa.Column("last_metrics", sa.JSON(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["cache_id"],
            ["activation_caches.id"],
            name=op.f("fk_trainings_cache_id_activation_caches"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_trainings_model_id_models"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tokenization_id"],
            ["tokenizations.id"],
            name=op.f("fk_trainings_tokenization_id_tokenizations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trainings")),
    )
    with op.batch_alter_table("trainings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trainings_cache_id"), ["cache_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_trainings_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_trainings_model_id"), ["model_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_trainings_tokenization_id"), ["tokenization_id"], unique=False)

    op.create_table(
        "saes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("training_id", sa.String(length=32), nullable=True),
        sa.Column("model_id", sa.String(length=32), nullable=True),
        sa.Column("hook", sa.String(length=200), nullable=True),
        sa.Column("architecture", sa.String(length=50), nullable=True),
        sa.Column("d_in", sa.Integer(), nullable=True),
        sa.Column("d_sae", sa.Integer(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("origin", sa.JSON(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_saes_model_id_models"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["training_id"], ["trainings.id"], name=op.f("fk_saes_training_id_trainings"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saes")),
        sa.UniqueConstraint("name", name=op.f("uq_saes_name")),
        info={"folders": ("saes", "sae_uploads")},
    )
    with op.batch_alter_table("saes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_saes_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_saes_model_id"), ["model_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_saes_training_id"), ["training_id"], unique=False)

    op.create_table(
        "extractions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sae_id", sa.String(length=32), nullable=False),
        sa.Column("tokenization_id", sa.String(length=32), nullable=True),
        sa.Column("cache_id", sa.String(length=32), nullable=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("conventions", sa.JSON(), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("n_tokens", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["cache_id"],
            ["activation_caches.id"],
            name=op.f("fk_extractions_cache_id_activation_caches"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["sae_id"], ["saes.id"], name=op.f("fk_extractions_sae_id_saes"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tokenization_id"],
            ["tokenizations.id"],
            name=op.f("fk_extractions_tokenization_id_tokenizations"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_extractions")),
        info={"folders": ("extractions", "extraction_progress")},
    )
    with op.batch_alter_table("extractions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_extractions_cache_id"), ["cache_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_extractions_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_extractions_sae_id"), ["sae_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_extractions_tokenization_id"), ["tokenization_id"], unique=False)

    op.create_table(
        "features",
        sa.Column("extraction_id", sa.String(length=32), nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("frequency", sa.Double(), nullable=False),
        sa.Column("max_activation", sa.Double(), nullable=False),
        sa.Column("mean_activation", sa.Double(), nullable=False),
        sa.Column("density", sa.String(length=8), nullable=False),
        sa.Column("top_tokens_text", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("label_source", sa.String(length=100), nullable=True),
        sa.Column("label_score", sa.Double(), nullable=True),
        sa.Column("starred", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "density IN ('dead', 'rare', 'normal', 'dense')", name=op.f("ck_features_density")
        ),
        sa.CheckConstraint(
            "(label IS NULL) = (label_source IS NULL)", name=op.f("ck_features_label_has_source")
        ),
        sa.ForeignKeyConstraint(
            ["extraction_id"],
            ["extractions.id"],
            name=op.f("fk_features_extraction_id_extractions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("extraction_id", "index", name=op.f("pk_features")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "labelling_runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("extraction_id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("n_features", sa.Integer(), nullable=False),
        sa.Column("indices", sa.JSON(), nullable=False),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["extraction_id"],
            ["extractions.id"],
            name=op.f("fk_labelling_runs_extraction_id_extractions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labelling_runs")),
    )
    with op.batch_alter_table("labelling_runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_labelling_runs_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_labelling_runs_extraction_id"), ["extraction_id"], unique=False)

    op.create_table(
        "labels",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("extraction_id", sa.String(length=32), nullable=False),
        sa.Column("feature_index", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("score_detail", sa.JSON(), nullable=True),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", mistudio.db.base.UTCDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["extraction_id"],
            ["extractions.id"],
            name=op.f("fk_labels_extraction_id_extractions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["labelling_runs.id"],
            name=op.f("fk_labels_run_id_labelling_runs"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
    )
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_labels_extraction_id"), ["extraction_id"], unique=False)
        batch_op.create_index(
            "ix_labels_extraction_id_feature_index", ["extraction_id", "feature_index"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_labels_run_id"), ["run_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_labels_run_id"))
        batch_op.drop_index("ix_labels_extraction_id_feature_index")
        batch_op.drop_index(batch_op.f("ix_labels_extraction_id"))

    op.drop_table("labels")
    with op.batch_alter_table("labelling_runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_labelling_runs_extraction_id"))
        batch_op.drop_index(batch_op.f("ix_labelling_runs_created_at"))

    op.drop_table("labelling_runs")
    op.drop_table("features")
    with op.batch_alter_table("extractions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_extractions_tokenization_id"))
        batch_op.drop_index(batch_op.f("ix_extractions_sae_id"))
        batch_op.drop_index(batch_op.f("ix_extractions_created_at"))
        batch_op.drop_index(batch_op.f("ix_extractions_cache_id"))

    op.drop_table("extractions")
    with op.batch_alter_table("saes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_saes_training_id"))
        batch_op.drop_index(batch_op.f("ix_saes_model_id"))
        batch_op.drop_index(batch_op.f("ix_saes_created_at"))

    op.drop_table("saes")
    with op.batch_alter_table("trainings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trainings_tokenization_id"))
        batch_op.drop_index(batch_op.f("ix_trainings_model_id"))
        batch_op.drop_index(batch_op.f("ix_trainings_created_at"))
        batch_op.drop_index(batch_op.f("ix_trainings_cache_id"))

    op.drop_table("trainings")
    with op.batch_alter_table("steering_generations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_steering_generations_session_id"))
        batch_op.drop_index(batch_op.f("ix_steering_generations_job_id"))
        batch_op.drop_index(batch_op.f("ix_steering_generations_created_at"))

    op.drop_table("steering_generations")
    with op.batch_alter_table("activation_caches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_activation_caches_tokenization_id"))
        batch_op.drop_index(batch_op.f("ix_activation_caches_model_id"))
        batch_op.drop_index(batch_op.f("ix_activation_caches_created_at"))

    op.drop_table("activation_caches")
    with op.batch_alter_table("tokenizations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tokenizations_model_id"))
        batch_op.drop_index(batch_op.f("ix_tokenizations_dataset_id"))
        batch_op.drop_index(batch_op.f("ix_tokenizations_created_at"))

    op.drop_table("tokenizations")
    with op.batch_alter_table("steering_sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_steering_sessions_model_id"))
        batch_op.drop_index(batch_op.f("ix_steering_sessions_created_at"))

    op.drop_table("steering_sessions")
    with op.batch_alter_table("job_messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_messages_job_id"))

    op.drop_table("job_messages")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_models_created_at"))

    op.drop_table("models")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_updated_at"))
        batch_op.drop_index("ix_jobs_subject_created_at")
        batch_op.drop_index("ix_jobs_queue")

    op.drop_table("jobs")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_datasets_created_at"))

    op.drop_table("datasets")
