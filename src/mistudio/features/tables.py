"""What is stored about features: one row per latent. Examples and curves are a folder: `data_dir/extractions/<id>`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mistudio.db import Base, new_id, utc_now
from mistudio.saes.tables import Sae

SEPARATOR = "\x1f"


class Extraction(Base):
    """One pass of an SAE over the tokens of a tokenization. `summary` and what follows is unknown until it is done."""

    __tablename__ = "extractions"
    __table_args__ = {"info": {"folders": ("extractions", "extraction_progress")}}  # noqa: RUF012  (as SQLAlchemy reads it)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("ex"))
    name: Mapped[str] = mapped_column(String(200))
    sae_id: Mapped[str] = mapped_column(ForeignKey("saes.id", ondelete="CASCADE"), index=True)
    tokenization_id: Mapped[str | None] = mapped_column(
        ForeignKey("tokenizations.id", ondelete="SET NULL"), index=True
    )
    cache_id: Mapped[str | None] = mapped_column(
        ForeignKey("activation_caches.id", ondelete="SET NULL"), index=True
    )
    settings: Mapped[dict[str, Any]]
    conventions: Mapped[dict[str, Any] | None]
    summary: Mapped[dict[str, Any] | None]
    n_tokens: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    sae: Mapped[Sae] = relationship()

    @property
    def ready(self) -> bool:
        """Whether its features can be looked at."""
        return self.bytes is not None


class Feature(Base):
    """One latent as one extraction saw it, with its present label."""

    __tablename__ = "features"
    __table_args__ = (
        CheckConstraint("density IN ('dead', 'rare', 'normal', 'dense')", name="density"),
        CheckConstraint("(label IS NULL) = (label_source IS NULL)", name="label_has_source"),
        # The key is the order on disk: an extraction's rows lie together, and looking through 10⁵ of them takes some
        # 30 ms. Indexes on what the table sorts by would make deleting five times as slow for little.
        {"sqlite_with_rowid": False},
    )

    extraction_id: Mapped[str] = mapped_column(
        ForeignKey("extractions.id", ondelete="CASCADE"), primary_key=True
    )
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    frequency: Mapped[float]
    max_activation: Mapped[float]
    mean_activation: Mapped[float]
    density: Mapped[str] = mapped_column(String(8))
    top_tokens_text: Mapped[str] = mapped_column(Text, default="")
    label: Mapped[str | None] = mapped_column(Text)
    label_source: Mapped[str | None] = mapped_column(String(100))
    label_score: Mapped[float | None]
    starred: Mapped[bool] = mapped_column(default=False)
    notes: Mapped[str] = mapped_column(Text, default="")
    search_text: Mapped[str] = mapped_column(Text, default="")

    @property
    def top_tokens(self) -> list[str]:
        """The tokens on which it fires most strongly, strongest first."""
        return self.top_tokens_text.split(SEPARATOR) if self.top_tokens_text else []
