"""What is stored about an activation cache. The activations are a folder: `data_dir/activations/<id>`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mistudio.datasets.tables import Tokenization
from mistudio.db import Base, new_id, utc_now
from mistudio.models.tables import Model


class ActivationCache(Base):
    """Activations of a model at some hook points on a tokenization's tokens."""

    __tablename__ = "activation_caches"
    __table_args__ = {"info": {"folders": ("activations",)}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("ac"))
    name: Mapped[str] = mapped_column(String(200), unique=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    tokenization_id: Mapped[str] = mapped_column(
        ForeignKey("tokenizations.id", ondelete="CASCADE"), index=True
    )
    hooks: Mapped[list[str]]
    dtype: Mapped[str] = mapped_column(String(20))
    settings: Mapped[dict[str, Any]]
    n_tokens: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    statistics: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    model: Mapped[Model] = relationship()
    tokenization: Mapped[Tokenization] = relationship()

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def tokenization_name(self) -> str:
        """The tokenization's name."""
        return self.tokenization.name

    @property
    def dataset_id(self) -> str:
        """The data set that was tokenized."""
        return self.tokenization.dataset_id

    @property
    def dataset_name(self) -> str:
        """That data set's name."""
        return self.tokenization.dataset.name

    @property
    def ready(self) -> bool:
        """Whether its folder is complete."""
        return self.n_tokens is not None
