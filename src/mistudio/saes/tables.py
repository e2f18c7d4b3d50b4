"""What is stored about an SAE. Its weights are a folder in SAELens' format: `data_dir/saes/<id>`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mistudio.db import Base, new_id, utc_now
from mistudio.models.tables import Model


class Sae(Base):
    """A dictionary. Fields from `architecture` to `config`, and `bytes`, are unknown until an import has succeeded."""

    __tablename__ = "saes"
    __table_args__ = {"info": {"folders": ("saes", "sae_uploads", "sae_evaluations")}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("sa"))
    name: Mapped[str] = mapped_column(String(200), unique=True)
    notes: Mapped[str] = mapped_column(Text, default="")
    training_id: Mapped[str | None] = mapped_column(
        ForeignKey("trainings.id", ondelete="SET NULL"), index=True
    )
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id", ondelete="SET NULL"), index=True)
    hook: Mapped[str | None] = mapped_column(String(200))
    architecture: Mapped[str | None] = mapped_column(String(50))
    d_in: Mapped[int | None]
    d_sae: Mapped[int | None]
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    origin: Mapped[dict[str, Any]]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    model: Mapped[Model | None] = relationship()

    @property
    def ready(self) -> bool:
        """Whether its folder is complete."""
        return self.bytes is not None
