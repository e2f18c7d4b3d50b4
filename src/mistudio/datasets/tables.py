"""What is stored about data sets and tokenizations.

The text is a folder of Arrow shards, `data_dir/datasets/<id>`; the tokens are a token store,
`data_dir/tokenizations/<id>`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mistudio.db import Base, new_id, utc_now
from mistudio.models.tables import Model


def kind_of(context: Any) -> str:
    """Where a data set came from, for filters: hub, folder, upload or file."""
    source = context.get_current_parameters()["source"]
    if source["kind"] in ("hub", "folder"):
        return source["kind"]
    return "upload" if source.get("uploaded") else "file"


class Dataset(Base):
    """A data set. Everything after `source` is unknown until its `datasets.import` job has succeeded.

    bytes: its rows and composed columns on disk. survey_bytes: its statistics and search index.
    """

    __tablename__ = "datasets"
    __table_args__ = {"info": {"folders": ("datasets", "uploads", "downloads", "surveys")}}  # noqa: RUF012  (SQLAlchemy reads it as it stands)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("ds"))
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[dict[str, Any]]
    kind: Mapped[str] = mapped_column(String(20), index=True, default=kind_of)
    text_column: Mapped[str | None] = mapped_column(String(400))
    columns: Mapped[list[Any]] = mapped_column(default=list)
    rows: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    survey_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    favourite: Mapped[bool] = mapped_column(default=False)
    about: Mapped[dict[str, Any] | None]
    card: Mapped[str | None] = mapped_column(Text, deferred=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    tag_rows: Mapped[list[DatasetTag]] = relationship(
        lazy="selectin", order_by="DatasetTag.tag", cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def tags(self) -> list[str]:
        """The words to find it by, in order."""
        return [row.tag for row in self.tag_rows]

    @property
    def ready(self) -> bool:
        """Whether its folder is complete."""
        return self.rows is not None


class DatasetTag(Base):
    """A word that a data set is found by."""

    __tablename__ = "dataset_tags"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(50), primary_key=True, index=True)


class ComposedColumn(Base):
    """A column composed from a data set's others; its text lies in the data set's folder, `columns/<id>`."""

    __tablename__ = "composed_columns"
    __table_args__ = (UniqueConstraint("dataset_id", "name"), {"info": {"folders": ()}})

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("dc"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    recipe: Mapped[dict[str, Any]]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    @property
    def ready(self) -> bool:
        """Whether its text is complete."""
        return self.bytes is not None


class Tokenization(Base):
    """A data set cut into sequences of one model's tokens under one choice of settings."""

    __tablename__ = "tokenizations"
    __table_args__ = (UniqueConstraint("dataset_id", "name"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("tk"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    text_column: Mapped[str | None] = mapped_column(String(400))
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
