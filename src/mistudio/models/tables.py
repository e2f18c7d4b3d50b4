"""What is stored about a language model. Its weights are a folder: `data_dir/models/<id>`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from mistudio.db import Base, new_id, utc_now


class Model(Base):
    """A language model. Everything after `source` is unknown (None) until its `models.add` job has succeeded."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("md"))
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[dict[str, Any]]
    architecture: Mapped[str | None] = mapped_column(String(100))
    n_layers: Mapped[int | None]
    d_model: Mapped[int | None]
    vocab_size: Mapped[int | None]
    context_length: Mapped[int | None]
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    dtype: Mapped[str | None] = mapped_column(String(20))
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    hook_points: Mapped[list[Any]] = mapped_column(default=list)
    has_chat_template: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)

    @property
    def ready(self) -> bool:
        """Whether its folder is complete."""
        return self.bytes is not None
