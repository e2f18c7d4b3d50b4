"""The list of trainings: filtered, sorted, grouped and paged in SQL, with whatever columns are asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, SQLColumnExpression, case, cast, func, literal, select
from sqlalchemy.orm import Session, aliased

from mistudio.datasets.tables import Dataset, Tokenization
from mistudio.errors import StudioError
from mistudio.jobs import Job
from mistudio.models.tables import Model
from mistudio.saes.tables import Sae
from mistudio.settings import Settings
from mistudio.store import folder_bytes
from mistudio.training.field_sql import numbers_by_id
from mistudio.training.fields import Field, find_field, nearest
from mistudio.training.filter_language import Term as FilterTerm
from mistudio.training.filter_language import both, parse, render
from mistudio.training.filtering import condition
from mistudio.training.listing_schemas import (
    ListedTraining,
    TrainingGroup,
    TrainingGroups,
    Value,
    ViewSettings,
)
from mistudio.training.tables import Sweep, SweepSource, Training
from mistudio.training.views import TABLE, out_many, training_folder

USUAL_COLUMNS = ("state", "model", "hook", "architecture", "d_sae", "fvu", "l0", "dead_fraction", "created")
BEST_OF = ("fvu", "l0", "dead_fraction", "ce_loss_score", "loss", "held_out.fvu", "held_out.ce_loss_score")
_UNDER_WAY = ("queued", "running", "cancelling")


@dataclass
class ListRequest:
    """What of the list is wanted. `sort` names fields, `-` before one for descending."""

    filter: str = ""
    sort: str = "-created"
    group: str = ""
    columns: Sequence[str] = ()
    limit: int = 50
    offset: int = 0


@dataclass
class ListPage:
    """One page of the list."""

    items: list[ListedTraining]
    total: int


def list_trainings(session: Session, settings: Settings, wanted: ListRequest) -> ListPage:
    """One page. Raises FilterError with the place in the filter, StudioError `field_unknown` for columns and orders."""
    query = _Query(session, settings)
    shown = [_named(name, "columns") for name in dict.fromkeys(wanted.columns or USUAL_COLUMNS)]
    where = query.condition(wanted.filter)
    total = session.scalar(query.over(select(func.count(Training.id))).where(where)) or 0
    order = query.order(wanted.sort, wanted.group)
    disk = any("disk" in one.joins for one in shown) and "disk" not in query.joined
    cells = [one for one in shown if one.kind != "list" and not (disk and "disk" in one.joins)]
    state = _named("state", "columns")
    statement: Any = select(Training.id, query.column(state), *(query.column(one) for one in cells))
    found: list[Any] = list(
        session.execute(
            query.over(statement).where(where).order_by(*order).limit(wanted.limit).offset(wanted.offset)
        )
    )
    ids = [row[0] for row in found]
    rows = {row.id: row for row in session.scalars(select(Training).where(Training.id.in_(ids)))}
    views = out_many(session, [rows[id] for id in ids])
    items: list[ListedTraining] = []
    for view, row in zip(views, found, strict=True):
        values: dict[str, Value] = {
            one.name: _plain(one, value) for one, value in zip(cells, row[2:], strict=True)
        }
        for one in shown:
            if one.name == "tag":
                values["tag"] = view.tags
            elif one.name == "dataset":
                values["dataset"] = list(dict.fromkeys(source.dataset_name for source in view.sources))
            elif one.name == "tokenization":
                values["tokenization"] = [source.tokenization_name for source in view.sources]
            elif one.name not in values:
                folder = training_folder(settings, view.id)
                values[one.name] = folder_bytes(folder) if folder.exists() else 0
        ordered = {one.name: values[one.name] for one in shown}
        items.append(ListedTraining(**dict(view), state=row[1], values=ordered))
    return ListPage(items, total)


def ids_of(session: Session, settings: Settings, filter: str, limit: int) -> list[str]:
    """The ids of the trainings that a filter finds, newest first."""
    query = _Query(session, settings)
    where = query.condition(filter)
    statement = query.over(select(Training.id)).where(where)
    return list(session.scalars(statement.order_by(Training.created_at.desc(), Training.id).limit(limit)))


def group_trainings(session: Session, settings: Settings, by: str, filter: str = "") -> TrainingGroups:
    """What values a field has among these trainings, how often, and the best metrics of each.

    In the order that a list has which is grouped by it. Raises FilterError, StudioError `field_unknown`.
    """
    query = _Query(session, settings)
    one = _groupable(by)
    where = query.condition(filter)
    if one.kind == "list":
        return _by_list(session, query, one, where, filter)
    bests = [_named(name, "columns") for name in BEST_OF]
    each = query.over(
        select(
            query.column(one).label("value"),
            case((query.column(_named("state", "group")).in_(_UNDER_WAY), 1), else_=0).label("running"),
            *(query.column(best).label(best.name) for best in bests),
        )
    )
    rows = each.where(where).subquery()
    least = [(func.max if best.better == "higher" else func.min)(rows.c[best.name]) for best in bests]
    value = rows.c.value
    statement = select(value, func.count(), func.sum(rows.c.running), *least).group_by(value)
    statement = statement.order_by(*_nulls_last(one, value, False))
    groups: list[TrainingGroup] = []
    found: list[Any] = list(session.execute(statement))
    for row in found:
        plain = _plain(one, row[0])
        text = "none" if plain is None else _filter_value(plain)
        groups.append(
            TrainingGroup(
                value=plain,
                filter=both(filter, render(FilterTerm(one.name, "=", (text,)))),
                count=row[1],
                running=row[2] or 0,
                best={best.name: found for best, found in zip(bests, row[3:], strict=True)},
            )
        )
    return TrainingGroups(by=one.name, groups=groups, total=sum(group.count for group in groups))


def check_view(view: ViewSettings) -> None:
    """Raises FilterError or StudioError when a view names what no run has."""
    for name in view.columns:
        _named(name, "columns")
    for part in view.sort.split(","):
        if part.strip():
            _named(part.strip().removeprefix("-"), "sort")
    if view.group:
        _groupable(view.group)
    condition(parse(view.filter), lambda one: Training.name if one.sql is None else one.sql)


def _by_list(
    session: Session, query: _Query, one: Field, where: ColumnElement[bool], filter: str
) -> TrainingGroups:
    """How often each value of a list occurs; a training counts for each of its values."""
    counts: dict[str, set[str]] = {}
    if one.name == "tag":
        tagged: list[Any] = list(session.execute(query.over(select(Training.id, Training.tags)).where(where)))
        for id, tags in tagged:
            for tag in tags:
                counts.setdefault(tag, set()).add(id)
    else:
        named = Dataset.name if one.name == "dataset" else Tokenization.name
        read = (
            query.over(select(Training.id, named))
            .join(SweepSource, SweepSource.sweep_id == Training.sweep_id)
            .join(Tokenization, Tokenization.id == SweepSource.tokenization_id)
            .join(Dataset, Dataset.id == Tokenization.dataset_id)
        )
        named_rows: list[Any] = list(session.execute(read.where(where)))
        for id, name in named_rows:
            counts.setdefault(name, set()).add(id)
    groups = [
        TrainingGroup(
            value=value,
            filter=both(filter, render(FilterTerm(one.name, "=", (value,)))),
            count=len(counts[value]),
            running=0,
            best={},
        )
        for value in sorted(counts, key=str.lower)
    ]
    return TrainingGroups(by=one.name, groups=groups, total=len(set[str]().union(*counts.values())))


def _filter_value(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.17g}" if isinstance(value, float) else str(value)


def _named(name: str, where: str) -> Field:
    found = find_field(name)
    if found is None:
        near = nearest(name)
        raise StudioError(
            "field_unknown",
            f"A run has no field “{name}”.",
            hint=f"Did you mean “{near}”?" if near else "GET /trainings/fields lists all.",
            status=422,
            fields={where: "unknown field"},
        )
    return found


def _groupable(name: str) -> Field:
    found = _named(name, "group")
    if not groupable(found) and found.kind != "list":
        raise StudioError(
            "field_not_groupable",
            f"Runs cannot be grouped by “{found.title}”.",
            hint="Group by a setting, the model, the hook point, the layer, the sweep, the state or tags.",
            status=422,
            fields={"group": "not a field to group by"},
        )
    return found


def groupable(one: Field) -> bool:
    """Whether runs share its values often enough, and only one each."""
    return one.sql is not None and one.kind != "time" and one.group in ("Run", "Model and data", "Settings")


def sortable(one: Field) -> bool:
    """Whether it has an order."""
    return one.kind != "list"


@dataclass
class _Query:
    """Joins that fields have asked for, and the statement with them."""

    session: Session
    settings: Settings
    joined: set[str] = field(default_factory=set[str])
    _sizes: Any = None

    def column(self, one: Field) -> SQLColumnExpression[Any]:
        """The SQL of a field, whose joins are noted."""
        self.joined.update(one.joins)
        if "disk" in one.joins:
            if self._sizes is None:
                dialect = self.session.get_bind().dialect.name
                self._sizes = numbers_by_id(_sizes(self.settings), dialect)
            return func.coalesce(cast(self._sizes.c.value, Float), 0.0)
        assert one.sql is not None
        return one.sql

    def condition(self, filter: str) -> ColumnElement[bool]:
        """The condition that a filter's text means."""
        return condition(parse(filter), self.column)

    def order(self, sort: str, group: str) -> list[Any]:
        """The terms of an order; groups first, ids last."""
        terms: list[Any] = []
        if group:
            one = _groupable(group)
            if one.kind == "list":
                raise StudioError(
                    "field_not_groupable",
                    f"A run may have several {one.title.lower()}, so a list is not sorted into groups by them.",
                    hint=f"Filter by {one.name}:… instead.",
                    status=422,
                    fields={"group": "not a field to group by"},
                )
            terms += _nulls_last(one, self.column(one), False)
        for part in (part.strip() for part in sort.split(",")):
            if not part:
                continue
            one = _named(part.removeprefix("-"), "sort")
            if not sortable(one):
                raise StudioError(
                    "sort_unknown",
                    f"Runs cannot be sorted by “{one.title}”, of which a run may have several.",
                    status=422,
                    fields={"sort": "has no order"},
                )
            terms += _nulls_last(one, self.column(one), part.startswith("-"))
        return [*terms, Training.id.desc()]

    def over(self, statement: Any) -> Any:
        """The statement with its tables. Call it after everything that asks for columns."""
        joined = (
            statement.select_from(Training)
            .join(Sweep, Sweep.id == Training.sweep_id)
            .join(Model, Model.id == Sweep.model_id)
        )
        if "job" in self.joined:
            other = aliased(Job)
            newest = select(other.id).where(other.subject == literal("sweeps/") + Training.sweep_id)
            newest = newest.order_by(other.created_at.desc(), other.id.desc()).limit(1)
            joined = joined.outerjoin(Job, Job.id == newest.correlate(Training).scalar_subquery())
        if "sae" in self.joined:
            made = aliased(Sae)
            newest = select(made.id).where(made.training_id == Training.id)
            newest = newest.order_by(made.created_at.desc(), made.id.desc()).limit(1)
            joined = joined.outerjoin(Sae, Sae.id == newest.correlate(Training).scalar_subquery())
        if "disk" in self.joined:
            joined = joined.outerjoin(self._sizes, self._sizes.c.key == Training.id)
        return joined


def _nulls_last(one: Field, sql: SQLColumnExpression[Any], descending: bool) -> list[Any]:
    term = func.lower(sql) if one.kind in ("text", "choice") else sql
    return [(term.desc() if descending else term.asc()).nulls_last()]


def _sizes(settings: Settings) -> dict[str, float]:
    """Bytes on the disk by training."""
    root = settings.data_dir / TABLE
    if not root.exists():
        return {}
    with os.scandir(root) as entries:
        return {entry.name: folder_bytes(root / entry.name) for entry in entries if entry.is_dir()}


def _plain(one: Field, value: Any) -> Value:
    if value is None:
        return None
    if one.kind == "flag":
        return bool(value)
    if one.kind == "time":
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        assert isinstance(moment, datetime)
        return moment.isoformat().replace("+00:00", "Z")
    return float(value) if one.kind == "number" else str(value)
