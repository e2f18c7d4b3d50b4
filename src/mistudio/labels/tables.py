"""What is stored about labels: every one that was ever given, and the runs that gave them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from mistudio.db import Base, new_id, utc_now


class LabellingRun(Base):
    """One labelling of many features, `indices`. Its state is its job's (subject `labelling_runs/<id>`)."""

    __tablename__ = "labelling_runs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("lr"))
    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.id", ondelete="CASCADE"), index=True)
    source: Mapped[str] = mapped_column(String(200))
    request: Mapped[dict[str, Any]]
    n_features: Mapped[int] = mapped_column(Integer)
    indices: Mapped[list[Any]] = mapped_column(deferred=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)


class Label(Base):
    """One label that a feature was given. Rows are only added: the newest by a person, or else the best by a machine,
    is the one that the feature shows. A person's row without text says that the person took the label away."""

    __tablename__ = "labels"
    __table_args__ = (Index("ix_labels_extraction_id_feature_index", "extraction_id", "feature_index"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("lb"))
    extraction_id: Mapped[str] = mapped_column(ForeignKey("extractions.id", ondelete="CASCADE"), index=True)
    feature_index: Mapped[int] = mapped_column(Integer)
    text: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(200))
    score: Mapped[float | None]
    score_detail: Mapped[dict[str, Any] | None]
    run_id: Mapped[str | None] = mapped_column(
        ForeignKey("labelling_runs.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
