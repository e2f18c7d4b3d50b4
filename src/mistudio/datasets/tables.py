"""What is stored about data sets and tokenizations.

The text is a folder of Arrow shards, `data_dir/datasets/<id>`; the tokens are a token store,
`data_dir/tokenizations/<id>`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mistudio.db import Base, new_id, utc_now
from mistudio.models.tables import Model


class Dataset(Base):
    """A data set. Everything after `source` is unknown until its `datasets.import` job has succeeded."""

    __tablename__ = "datasets"
    __table_args__ = {"info": {"folders": ("datasets", "uploads")}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("ds"))
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[dict[str, Any]]
    text_column: Mapped[str | None] = mapped_column(String(400))
    columns: Mapped[list[Any]] = mapped_column(default=list)
    rows: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    @property
    def ready(self) -> bool:
        """Whether its folder is complete."""
        return self.rows is not None


class Tokenization(Base):
    """A data set cut into sequences of one model's tokens under one choice of settings."""

    __tablename__ = "tokenizations"
    __table_args__ = (UniqueConstraint("dataset_id", "name"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("tk"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    settings: Mapped[dict[str, Any]]
    n_sequences: Mapped[int | None] = mapped_column(BigInteger)
    n_tokens: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    statistics: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    dataset: Mapped[Dataset] = relationship()
    model: Mapped[Model] = relationship()

    @property
    def dataset_name(self) -> str:
        """The data set's name."""
        return self.dataset.name

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def ready(self) -> bool:
        """Whether its token store is complete."""
        return self.n_tokens is not None
