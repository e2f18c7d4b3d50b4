"""The schema: every foreign key indexed with a cascade rule; migrations up, down and up again on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from mistudio.db import Database
from mistudio.db.migrate import check, downgrade, upgrade
from mistudio.errors import StudioError


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'empty' / 'mistudio.db'}"
        else:
            from tests.services import postgres_database

            url = stack.enter_context(postgres_database(request.getfixturevalue("postgres_url")))
        database = Database(url)
        yield database
        database.dispose()


def test_every_foreign_key_has_an_index_and_a_rule(metadata: Any) -> None:
    assert len(metadata.tables) >= 10
    for table in metadata.tables.values():
        leading = [[column.name for column in index.columns] for index in table.indexes]
        leading.append([column.name for column in table.primary_key.columns])
        for constraint in table.foreign_key_constraints:
            columns = [column.name for column in constraint.columns]
            assert any(found[: len(columns)] == columns for found in leading), (
                f"{table.name}.{columns}: no index"
            )
            assert constraint.ondelete in {"CASCADE", "SET NULL", "RESTRICT"}, (
                f"{table.name}.{columns}: no rule"
            )


@pytest.mark.slow
def test_up_down_and_up_again_equals_the_metadata(empty_database: Database, metadata: Any) -> None:
    upgrade(empty_database, metadata)
    state = check(empty_database, metadata)
    assert state.differences == []
    assert state.up_to_date
    downgrade(empty_database, metadata, "base")
    left = set(inspect(empty_database.engine).get_table_names()) - {"alembic_version"}
    assert left == set()
    upgrade(empty_database, metadata)
    assert check(empty_database, metadata).up_to_date


def test_a_database_from_a_newer_version_is_refused(empty_database: Database, metadata: Any) -> None:
    upgrade(empty_database, metadata)
    with empty_database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StudioError, match="written by a newer one") as refused:
        upgrade(empty_database, metadata)
    assert refused.value.code == "database_newer"


def test_a_difference_is_named(empty_database: Database, metadata: Any) -> None:
    upgrade(empty_database, metadata)
    with empty_database.session() as session:
        session.execute(text("ALTER TABLE models ADD COLUMN stray INTEGER"))
    state = check(empty_database, metadata)
    assert not state.up_to_date
    assert any("stray" in difference for difference in state.differences)


def test_foreign_keys_are_enforced(database: Database) -> None:
    with database.reading() as session:
        if database.is_sqlite:
            assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1
            assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
