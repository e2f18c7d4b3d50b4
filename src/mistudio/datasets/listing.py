"""Finding data sets: filters over source, status, tags and stars, and what there is to filter by."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import Select, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from mistudio.datasets.tables import Dataset, DatasetTag
from mistudio.jobs import Job

Kind = Literal["hub", "upload", "file", "folder"]
Status = Literal["ready", "queued", "running", "failed", "cancelled"]


class DatasetFilter(BaseModel):
    """Which data sets are wanted; several values of one filter mean any of them, tags all of them."""

    kind: list[Kind] = Field(default_factory=list[Kind], description="Where it came from.")
    status: list[Status] = Field(default_factory=list[Status], description="How its import stands.")
    tag: list[str] = Field(default_factory=list[str], description="Tags that it must have.")
    favourite: bool | None = Field(
        default=None, description="Only those with a star (or only those without)."
    )


class CountOut(BaseModel):
    """A value to filter by, and how many data sets have it."""

    value: str
    count: int


ON_DISK = func.coalesce(Dataset.bytes, 0) + Dataset.survey_bytes
"""Bytes on the disk, as an SQL expression."""


class DatasetSummary(BaseModel):
    """All data sets at a glance."""

    count: int
    bytes: int = Field(description="What they take on the disk, with statistics and search indexes.")
    rows: int
    kinds: list[CountOut]
    statuses: list[CountOut]
    tags: list[CountOut]
    favourites: int


def _status() -> Any:
    """The state of a data set's import as an SQL expression: ready, or what its latest job is."""
    newest = (
        select(Job.state)
        .where(Job.subject == "datasets/" + Dataset.id)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(1)
        .correlate(Dataset)
        .scalar_subquery()
    )
    shown = case(
        (newest.in_(("running", "cancelling")), "running"), (newest.in_(("paused",)), "queued"), else_=newest
    )
    return case((Dataset.rows.is_not(None), "ready"), else_=func.coalesce(shown, "failed"))


def filtered(wanted: DatasetFilter) -> Select[Any]:
    """The query for data sets that fit."""
    query = select(Dataset)
    if wanted.kind:
        query = query.where(Dataset.kind.in_(wanted.kind))
    if wanted.status:
        query = query.where(_status().in_(wanted.status))
    if wanted.favourite is not None:
        query = query.where(Dataset.favourite == wanted.favourite)
    for tag in wanted.tag:
        query = query.where(exists().where(and_(DatasetTag.dataset_id == Dataset.id, DatasetTag.tag == tag)))
    return query


def summary(session: Session) -> DatasetSummary:
    """How many data sets there are, what they take, and what they can be filtered by."""
    count, size, rows = session.execute(
        select(func.count(), func.sum(ON_DISK), func.sum(Dataset.rows)).select_from(Dataset)
    ).one()
    status = _status().label("status")
    states = select(status, Dataset.id).subquery()
    return DatasetSummary(
        count=count,
        bytes=int(size or 0),
        rows=int(rows or 0),
        kinds=_counts(session, select(Dataset.kind, func.count()).group_by(Dataset.kind)),
        statuses=_counts(session, select(states.c.status, func.count()).group_by(states.c.status)),
        tags=_counts(session, select(DatasetTag.tag, func.count()).group_by(DatasetTag.tag)),
        favourites=session.scalar(select(func.count()).where(Dataset.favourite.is_(True))) or 0,
    )


def matches_of(q: str) -> Any:
    """Data sets whose source or tags hold `q`; their names are searched besides."""
    pattern = "%" + q.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
    return or_(
        Dataset.name.ilike(pattern, escape="\\"),
        Dataset.source["repo"].as_string().ilike(pattern, escape="\\"),
        exists().where(and_(DatasetTag.dataset_id == Dataset.id, DatasetTag.tag.ilike(pattern, escape="\\"))),
    )


def _counts(session: Session, query: Any) -> list[CountOut]:
    rows: Any = session.execute(query)
    found = [CountOut(value=str(value), count=count) for value, count in rows]
    return sorted(found, key=lambda one: (-one.count, one.value))
