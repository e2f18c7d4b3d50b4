"""What is stored of trainings: sweeps, what they read, and the SAEs that they train. Points and checkpoints are files.

A sweep is one pass over a stream of activations, and one job; each training in it is one SAE with settings, curves and
checkpoints of its own. A training by itself is a sweep of one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mistudio.db import Base, new_id, utc_now


class Sweep(Base):
    """Trainings on one stream of activations. Its state is its job's."""

    __tablename__ = "sweeps"
    __table_args__ = {"info": {"folders": (), "part": True}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("sw"))
    name: Mapped[str] = mapped_column(String(200))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    cache_id: Mapped[str | None] = mapped_column(
        ForeignKey("activation_caches.id", ondelete="SET NULL"), index=True
    )
    harvest: Mapped[dict[str, Any]]
    held_out_tokens: Mapped[int] = mapped_column(Integer)
    trackers: Mapped[list[Any]] = mapped_column(default=list)
    # seed, batch_size and hooks: what fixes the order of the activations beside tokens and harvest settings. That of
    # all its trainings when it began: those that are left when some were deleted go on in the same order.
    stream: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # config and grid: the hyperparameters that were asked for. Empty for old sweeps of several trainings.
    asked: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    sources: Mapped[list[SweepSource]] = relationship(
        lazy="selectin", order_by="SweepSource.position", cascade="all, delete-orphan", passive_deletes=True
    )
    trainings: Mapped[list[Training]] = relationship(
        order_by="Training.position", back_populates="sweep", passive_deletes=True
    )


class SweepSource(Base):
    """Tokens that a sweep reads, and their share of all that it reads."""

    __tablename__ = "sweep_sources"
    # a sweep is nothing without its tokens: whoever deletes these takes it with them
    __table_args__ = {"info": {"takes": "sweep_id"}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    tokenization_id: Mapped[str] = mapped_column(
        ForeignKey("tokenizations.id", ondelete="CASCADE"), index=True
    )
    weight: Mapped[float] = mapped_column(Float)


class Training(Base):
    """One SAE in training. Its curves and checkpoints live in the folder `trainings/{id}`."""

    __tablename__ = "trainings"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("tr"))
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"), index=True)
    position: Mapped[int] = mapped_column(Integer, default=0)
    name: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(Text, default="")
    tags: Mapped[list[str]] = mapped_column(default=list)
    favourite: Mapped[bool] = mapped_column(default=False)
    hook: Mapped[str] = mapped_column(String(200))
    d_in: Mapped[int] = mapped_column(Integer)
    config: Mapped[dict[str, Any]]
    tokens_trained: Mapped[int] = mapped_column(BigInteger, default=0)
    last_metrics: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    sweep: Mapped[Sweep] = relationship(lazy="joined", back_populates="trainings")


class TrainingView(Base):
    """A way of looking at the list of trainings that somebody gave a name: filter, columns, order, groups."""

    __tablename__ = "training_views"
    __table_args__ = {"info": {"folders": ()}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("vw"))
    name: Mapped[str] = mapped_column(String(100), unique=True)
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
