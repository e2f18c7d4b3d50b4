"""Tokenizations through the migrations: from the oldest schema to the newest and back, nothing lost on either way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from mistudio.datasets.tokenization_schemas import TokenizationSettings
from mistudio.datasets.tokenizations import get_tokenization, tokenizations_out
from mistudio.db import Database
from mistudio.db.migrate import downgrade, upgrade

OLDEST = "0001"
SETTINGS = {
    "context_length": 32,
    "packing": "one_per_row",
    "eos_between_rows": False,
    "prepend_bos": "auto",
    "long_rows": "truncate",
    "overlap": 2,
    "min_characters": 7,
    "min_tokens": 3,
    "max_rows": None,
    "max_tokens": 1000,
}
STATISTICS = {
    "rows_read": 10,
    "rows_used": 8,
    "dropped": {"rows_too_short": 2},
    "characters": 400,
    "vocabulary_used": 90,
    "special_tokens": 1,
    "unknown_tokens": 0,
    "padding_tokens": 12,
}
WHEN = "2025-03-04 05:06:07.000000"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def oldest(request: pytest.FixtureRequest, tmp_path: Path, metadata: Any) -> Iterator[Database]:
    """A database in the oldest schema with data sets, models and tokenizations."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'old' / 'mistudio.db'}"
        if request.param == "postgresql":
            from tests.services import postgres_database

            url = stack.enter_context(postgres_database(request.getfixturevalue("postgres_url")))
        database = Database(url)
        upgrade(database, metadata, OLDEST)
        source = {"kind": "text", "path": "old.txt", "uploaded": False, "documents": "line"}
        for number, column in enumerate(("text", "body", None)):
            insert(
                database,
                "datasets",
                id=f"ds_{number}",
                name=f"data {number}",
                source=json.dumps(source),
                text_column=column,
                columns="[]",
                rows=10 if column else None,
                bytes=100 if column else None,
                created_at=WHEN,
            )
        insert(
            database,
            "models",
            id="md_0",
            name="model",
            source=json.dumps({"kind": "folder", "path": "old"}),
            hook_points="[]",
            has_chat_template=False,
            created_at=WHEN,
        )
        for number, (dataset, made) in enumerate(
            [("ds_0", True), ("ds_0", False), ("ds_1", True), ("ds_2", False)]
        ):
            insert(
                database,
                "tokenizations",
                id=f"tk_{number}",
                dataset_id=dataset,
                model_id="md_0",
                name=f"tokens {number}",
                settings=json.dumps(SETTINGS if number else SETTINGS | {"packing": "concatenate"}),
                n_sequences=5 if made else None,
                n_tokens=148 if made else None,
                bytes=4096 if made else None,
                statistics=json.dumps(STATISTICS) if made else None,
                created_at=WHEN,
            )
        yield database
        database.dispose()


def insert(database: Database, table: str, **values: Any) -> None:
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    with database.session() as session:
        session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)


def rows(database: Database, table: str, schema_of: set[str] | None = None) -> list[dict[str, Any]]:
    """All rows, JSON read, in order; only the columns of `schema_of` if given."""
    with database.reading() as session:
        found = session.execute(text(f"SELECT * FROM {table} ORDER BY id")).mappings().all()
    plain: list[dict[str, Any]] = []
    for row in found:
        values = {name: value for name, value in row.items() if schema_of is None or name in schema_of}
        for name in ("settings", "statistics", "source", "columns"):
            if isinstance(values.get(name), str):
                values[name] = json.loads(values[name])
        plain.append(values)
    return plain


def columns(database: Database, table: str) -> set[str]:
    return {column["name"] for column in inspect(database.engine).get_columns(table)}


def test_everything_arrives_and_goes_back(oldest: Database, metadata: Any) -> None:
    tables = ("datasets", "models", "tokenizations")
    before, untouched = ({table: rows(oldest, table) for table in tables} for _ in range(2))
    old_columns = {table: columns(oldest, table) for table in before}
    upgrade(oldest, metadata)
    for table, found in before.items():
        kept = rows(oldest, table, old_columns[table])
        if table == "tokenizations":
            for row in kept + found:
                row.pop("settings")
        assert kept == found
    with oldest.reading() as session:
        for number, column in enumerate(("text", "text", "body", None)):
            found = get_tokenization(session, f"tk_{number}")
            out = tokenizations_out(session, [found])[0]
            packing = "one_per_row" if number else "concatenate"
            old = {**SETTINGS, "packing": packing}
            least = old.pop("min_characters")
            assert out.settings == TokenizationSettings.model_validate(
                {**old, "filters": {"min_characters": least}}
            )
            assert (out.name, out.text_column) == (f"tokens {number}", column)
            assert out.ready == (number in (0, 2))
            if out.ready:
                assert out.statistics is not None
                assert out.statistics.dropped == {"rows_too_short": 2}
                assert (out.n_sequences, out.n_tokens, out.bytes) == (5, 148, 4096)
    downgrade(oldest, metadata, OLDEST)
    for table, columns_of in old_columns.items():
        assert columns(oldest, table) == columns_of
        assert rows(oldest, table) == untouched[table]


@pytest.mark.slow
def test_what_the_older_schema_cannot_say_comes_back_on_the_next_way_up(
    oldest: Database, metadata: Any
) -> None:
    upgrade(oldest, metadata)
    new = TokenizationSettings.model_validate(
        {"packing": "best_fit", "padding": "drop", "filters": {"keep_pattern": "a", "min_characters": 9}}
    ).model_dump(mode="json")
    with oldest.session() as session:
        for number in (0, 1):
            found = get_tokenization(session, f"tk_{number}")
            found.settings, found.text_column = new, "another"
    wanted = rows(oldest, "tokenizations")
    downgrade(oldest, metadata, OLDEST)
    older = {row["id"]: row for row in rows(oldest, "tokenizations")}
    for key in ("tk_0", "tk_1"):
        # As the older version reads it: settings that it knows, statistics with all that it requires.
        assert set(older[key]["settings"]) <= set(SETTINGS)
        assert older[key]["settings"]["min_characters"] == 9
        assert set(STATISTICS) <= set(older[key]["statistics"])
    upgrade(oldest, metadata)
    assert rows(oldest, "tokenizations") == wanted
