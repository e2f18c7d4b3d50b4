"""Filters of trainings as conditions in SQL."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, false, func, not_, or_, true

from mistudio.db import utc_now
from mistudio.training.field_sql import json_list_has
from mistudio.training.fields import Field, find_field, names_of_sources, nearest
from mistudio.training.filter_language import And, Filter, FilterError, Not, Or, Term, Text
from mistudio.training.tables import Training

Columns = Callable[[Field], SQLColumnExpression[Any]]

_NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z%]*)")
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12, "%": 0.01}
_BYTES = {
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
    "tib": 2.0**40,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
}
_SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_AGO = re.compile(r"-(\d+(?:\.\d+)?)(min|[smhdw])")
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_COMPARED: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def condition(tree: Filter, columns: Columns) -> ColumnElement[bool]:
    """A filter as a condition on trainings that is never null: what is not known does not hold, and its opposite does.

    columns: the SQL of a field that has one, which may join what it needs. Raises FilterError with the place.
    """
    match tree:
        case And(parts):
            return and_(true(), *(condition(part, columns) for part in parts))
        case Or(parts):
            return or_(false(), *(condition(part, columns) for part in parts))
        case Not(inner):
            return not_(condition(inner, columns))
        case Text(text):
            return or_(
                *(
                    one.icontains(text, autoescape=True)
                    for one in (Training.name, Training.hook, Training.notes)
                )
            )
        case Term():
            return _term(tree, columns)


def _term(term: Term, columns: Columns) -> ColumnElement[bool]:
    field = find_field(term.name)
    if field is None:
        near = nearest(term.name)
        raise FilterError(
            f"A run has no field “{term.name}”.",
            term.start,
            term.start + len(term.name),
            hint=f"Did you mean “{near}”?"
            if near
            else "Ctrl+Space in the field and `mistudio train fields` list all.",
        )
    if term.operator in _COMPARED and field.kind not in ("number", "time"):
        raise FilterError(
            f"“{field.name}” has no order, so “{term.operator}” does not apply to it.",
            term.start,
            term.end,
            hint=f"Use {field.name}:… , {field.name}!=… or {field.name}~… .",
        )
    if term.operator in _COMPARED and len(term.values) > 1:
        raise FilterError(
            f"“{term.operator}” compares with one value, not with {len(term.values)}.", term.start, term.end
        )
    found = or_(*(_is(field, term, value, columns) for value in term.values))
    return not_(found) if term.operator == "!=" else found


def _is(field: Field, term: Term, value: str, columns: Columns) -> ColumnElement[bool]:
    """Whether one value holds; of `!=` whether the value is equal."""
    if field.kind == "list":
        return _listed(field, term, value)
    sql = columns(field)
    if value.lower() == "none" and term.operator in (":", "=", "!="):
        return sql.is_(None)
    if term.operator == "~":
        if field.kind not in ("text", "choice"):
            raise FilterError(
                f"“~” looks into text, and “{field.name}” is a {_WORDS[field.kind]}.",
                term.start,
                term.end,
                hint=f"Use {field.name}:{value}.",
            )
        return _known(sql.icontains(value, autoescape=True))
    if field.kind in ("text", "choice"):
        _check_choice(field, term, value)
        if term.operator == ":" and "*" in value:
            return _known(func.lower(sql).like(_pattern(value), escape="\\"))
        return _known(func.lower(sql) == value.lower())
    if field.kind == "flag":
        flag = _FLAGS.get(value.lower())
        if flag is None:
            raise FilterError(f"“{field.name}” is yes or no, not “{value}”.", term.start, term.end)
        return _known(sql.is_(flag))
    if field.kind == "time":
        return _known(_when(field, term, value, sql))
    number = _number(field, term, value)
    compare = _COMPARED.get(term.operator)
    if compare:
        return _known(compare(sql, number))
    # What was typed in decimals is what was meant: 0.1 is found although no float is 0.1.
    slack = abs(number) * 1e-9
    return _known(sql.between(number - slack, number + slack))


_WORDS = {"number": "number", "time": "time", "flag": "yes or no"}


def _known(comparison: ColumnElement[bool]) -> ColumnElement[bool]:
    return func.coalesce(comparison, false())


def _pattern(value: str) -> str:
    """A LIKE pattern from text in which `*` stands for anything."""
    escaped = value.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def _listed(field: Field, term: Term, value: str) -> ColumnElement[bool]:
    if field.name == "tag":
        if value.lower() == "none" and term.operator != "~":
            return not_(json_list_has(Training.tags, "%"))
        return json_list_has(Training.tags, _pattern(f"*{value}*" if term.operator == "~" else value))
    named = names_of_sources("dataset" if field.name == "dataset" else "tokenization")
    id, name = named.selected_columns
    pattern = _pattern(f"*{value}*" if term.operator == "~" else value)
    return named.where(or_(id == value, func.lower(name).like(pattern, escape="\\"))).exists()


def _check_choice(field: Field, term: Term, value: str) -> None:
    if field.choices and "*" not in value and value.lower() not in field.choices:
        raise FilterError(
            f"“{field.name}” is never “{value}”.",
            term.start,
            term.end,
            hint=f"It is one of {', '.join(field.choices)}.",
        )


def _number(field: Field, term: Term, value: str) -> float:
    found = _NUMBER.fullmatch(value)
    scale = None
    if found:
        unit = found.group(2).lower()
        scale = _SCALES.get(unit)
        if field.unit == "bytes":
            scale = _BYTES.get(unit, scale)
        elif field.unit == "s":
            scale = _SECONDS.get(unit, scale)
    if found is None or scale is None:
        examples = {"bytes": "500MB", "s": "2h"}.get(field.unit, "8192, 3e-4 or 10M")
        raise FilterError(
            f"“{field.name}” is a number, and “{value}” is none.",
            term.start,
            term.end,
            hint=f"Write it such as {examples}.",
        )
    return float(found.group(1).replace("_", "")) * scale


def _when(field: Field, term: Term, value: str, sql: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    ago = _AGO.fullmatch(value)
    if ago:
        moment = utc_now() - timedelta(seconds=float(ago.group(1)) * _SECONDS[ago.group(2)])
        span = timedelta(0)
    else:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError as error:
            raise FilterError(
                f"“{field.name}” is a time, and “{value}” is none.",
                term.start,
                term.end,
                hint="Write 2026-01-31, 2026-01-31T18:00 (UTC), or -7d for seven days ago.",
            ) from error
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        # A day is the whole of it: created:2026-01-31 is any time of that day, created>2026-01-31 what comes after.
        span = timedelta(days=1) if len(value) == 10 else timedelta(minutes=1)
    if term.operator in (":", "=", "!="):
        return and_(sql >= moment, sql < moment + span)
    if term.operator in (">", "<="):
        return sql >= moment + span if term.operator == ">" else sql < moment + span
    return _COMPARED[term.operator](sql, moment)
