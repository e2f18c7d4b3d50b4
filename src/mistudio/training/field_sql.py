"""What SQLite and PostgreSQL say differently: the layer of a hook point, time spans, JSON lists, sizes by id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, Float, Integer, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import column
from sqlalchemy.sql.expression import FromClause, func
from sqlalchemy.sql.functions import FunctionElement


class hook_layer(FunctionElement[int]):
    """The number in `blocks.6.hook_resid_post`; null where there is none."""

    type = Integer()
    inherit_cache = True


class seconds_between(FunctionElement[float]):
    """Seconds from the first time to the second."""

    type = Float()
    inherit_cache = True


class json_list_has(FunctionElement[bool]):
    """Whether a JSON list of strings holds a text, whatever its case."""

    type = Boolean()
    inherit_cache = True


@compiles(hook_layer, "sqlite")
def _layer_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    hook = compiler.process(element.clauses, **options)
    # CAST reads the digits at the start and stops at the dot.
    return f"(CASE WHEN {hook} GLOB 'blocks.[0-9]*' THEN CAST(substr({hook}, 8) AS INTEGER) END)"


@compiles(hook_layer, "postgresql")
def _layer_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    hook = compiler.process(element.clauses, **options)
    return f"CAST(substring({hook} from '^blocks\\.([0-9]+)') AS INTEGER)"


@compiles(seconds_between, "sqlite")
def _seconds_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    begun, ended = (compiler.process(one, **options) for one in element.clauses)
    return f"((julianday({ended}) - julianday({begun})) * 86400.0)"


@compiles(seconds_between, "postgresql")
def _seconds_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    begun, ended = (compiler.process(one, **options) for one in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({ended} - {begun})) AS FLOAT)"


@compiles(json_list_has, "sqlite")
def _has_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    values, text = (compiler.process(one, **options) for one in element.clauses)
    return f"EXISTS (SELECT 1 FROM json_each({values}) AS listed WHERE lower(listed.value) LIKE {text} ESCAPE '\\')"


@compiles(json_list_has, "postgresql")
def _has_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    values, text = (compiler.process(one, **options) for one in element.clauses)
    return (
        f"EXISTS (SELECT 1 FROM json_array_elements_text({values}) AS listed(value) "
        f"WHERE lower(listed.value) LIKE {text} ESCAPE '\\')"
    )


def numbers_by_id(numbers: Mapping[str, float], dialect: str) -> FromClause:
    """These numbers as a table (id, number), however many they are: one parameter carries all."""
    text = bindparam("numbers_by_id", json.dumps(numbers), unique=True)
    if dialect == "sqlite":
        return func.json_each(text).table_valued(column("key"), column("value", Float)).alias("numbers")
    return (
        func.json_each_text(func.cast(text, _json()))
        .table_valued(column("key"), column("value"), name="numbers")
        .render_derived()
    )


def _json() -> Any:
    from sqlalchemy.dialects.postgresql import JSON

    return JSON
