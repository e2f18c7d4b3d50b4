"""What is stored of a training: who trains on what, with which settings. Its points and checkpoints are files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from mistudio.db import Base, utc_now


class Training(Base):
    """One run. Its state is its job's; its curves, checkpoints and log live in the folder `trainings/{id}`."""

    __tablename__ = "trainings"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(Text, default="")
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    tokenization_id: Mapped[str] = mapped_column(
        ForeignKey("tokenizations.id", ondelete="CASCADE"), index=True
    )
    cache_id: Mapped[str | None] = mapped_column(
        ForeignKey("activation_caches.id", ondelete="SET NULL"), index=True
    )
    hook: Mapped[str] = mapped_column(String(200))
    d_in: Mapped[int] = mapped_column(Integer)
    config: Mapped[dict[str, Any]]
    harvest: Mapped[dict[str, Any]]
    held_out_tokens: Mapped[int] = mapped_column(Integer)
    tokens_trained: Mapped[int] = mapped_column(BigInteger, default=0)
    last_metrics: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
