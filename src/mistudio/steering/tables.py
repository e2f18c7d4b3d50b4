"""What is stored about steering: sessions, and everything that was generated in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mistudio.db import Base, new_id, utc_now
from mistudio.models.tables import Model


class SteeringSession(Base):
    """A model and SAEs that are (or were) kept loaded. Its state is its job's (subject `steering_sessions/<id>`)."""

    __tablename__ = "steering_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("ss"))
    name: Mapped[str] = mapped_column(String(200))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    # Not foreign keys: what was written with an SAE is worth reading after the SAE is gone.
    sae_ids: Mapped[list[str]]
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    model: Mapped[Model] = relationship()


class SteeringGeneration(Base):
    """One request of a session and what came of it; the job that was asked sets what comes after `outputs`."""

    __tablename__ = "steering_generations"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("gn"))
    session_id: Mapped[str] = mapped_column(
        ForeignKey("steering_sessions.id", ondelete="CASCADE"), index=True
    )
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    request: Mapped[dict[str, Any]]
    features: Mapped[list[Any]]
    outputs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    session: Mapped[SteeringSession] = relationship()
