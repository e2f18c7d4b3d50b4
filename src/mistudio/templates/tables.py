"""What is stored about a template."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from mistudio.db import Base, new_id, utc_now


class Template(Base):
    """Settings under a name, unique within their kind. `body` fits the schema that the kind's domain registered.

    builtin: the key under which it is shipped with the code; such a one is kept as it is. architecture: where the
    settings name one. expected: what a run of these settings came to, with where that is known from.
    """

    __tablename__ = "templates"
    __table_args__ = (UniqueConstraint("kind", "name"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: new_id("tp"))
    kind: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(Text, default="")
    body: Mapped[dict[str, Any]]
    builtin: Mapped[str | None] = mapped_column(String(100), unique=True)
    architecture: Mapped[str | None] = mapped_column(String(50), index=True)
    expected: Mapped[dict[str, Any] | None]
    favourite: Mapped[bool] = mapped_column(default=False)
    uses: Mapped[int] = mapped_column(Integer, default=0)
    last_used_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)
