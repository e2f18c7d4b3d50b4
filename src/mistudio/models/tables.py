"""What is stored about a language model. Its weights are a folder: `data_dir/models/<id>`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mistudio.db import Base, new_id, utc_now


class Model(Base):
    """A language model. Everything after `consent` is unknown (None) until its `models.add` job has succeeded."""

    __tablename__ = "models"
    __table_args__ = {"info": {"folders": ("models", "downloads")}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("md"))
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[dict[str, Any]]
    loading: Mapped[dict[str, Any]] = mapped_column(default=dict)
    consent: Mapped[dict[str, Any]] = mapped_column(default=dict)
    architecture: Mapped[str | None] = mapped_column(String(100))
    n_layers: Mapped[int | None]
    d_model: Mapped[int | None]
    vocab_size: Mapped[int | None]
    context_length: Mapped[int | None]
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    dtype: Mapped[str | None] = mapped_column(String(20))
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    hook_points: Mapped[list[Any]] = mapped_column(default=list)
    # What only the model's own page shows is not read with every list.
    modules: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    hook_report: Mapped[dict[str, Any] | None]
    has_chat_template: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    @property
    def ready(self) -> bool:
        """Whether its folder is complete."""
        return self.bytes is not None


class ModelRequest(Base):
    """Something asked of a loaded model (`kind`: generate, lens) and what came of it.

    The job that was asked sets what comes after `result`.
    """

    __tablename__ = "model_requests"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("mq"))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    request: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
