"""Bring a database to the schema of this version of miStudio, and back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DatabaseError, OperationalError

from mistudio.db.engine import Database
from mistudio.errors import StudioError

_ADVISORY_LOCK = 0x6D69_5374  # several web servers may start at once on one PostgreSQL


@dataclass(frozen=True)
class SchemaState:
    """Where a database stands: its revision, the newest known one, and how its tables differ from the code."""

    current: str | None
    head: str
    differences: list[str]

    @property
    def up_to_date(self) -> bool:
        """The revision is the newest and no table differs."""
        return self.current == self.head and not self.differences


def _config(connection: Connection, metadata: MetaData) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config


@contextmanager
def _migrating(database: Database) -> Generator[Connection]:
    if database.is_sqlite and (path := database.engine.url.database):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        with database.engine.connect() as connection:
            if database.is_sqlite:
                # Copying a table must not fire the cascades of the one it replaces. The pragma acts only outside a
                # transaction, which the driver's own connection is not in.
                connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    if not database.is_sqlite:
                        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
                    yield connection
            finally:
                if database.is_sqlite:
                    connection.connection.cursor().execute("PRAGMA foreign_keys=ON")
    except CommandError as error:
        raise StudioError(
            "revision_unknown",
            f"The database cannot be brought there: {str(error).rstrip('.')}.",
            hint="`mistudio db check` names the present and the newest revision; `base` is the empty database.",
        ) from error
    except DatabaseError as error:
        if type(error) not in (DatabaseError, OperationalError):
            raise  # a constraint or a statement: a defect of a migration
        raise StudioError(
            "database_unreachable",
            f"The database cannot be opened: {str(error.orig).splitlines()[0]}.",
            hint="Check database_url, that the server runs, and that the data folder can be written.",
        ) from error


def _refuse_unknown(connection: Connection, config: Config) -> str | None:
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(current)
        except CommandError as error:
            raise StudioError(
                "database_newer",
                f"The database has schema “{current}”, which this version of miStudio does not know: "
                "it was written by a newer one.",
                hint="Upgrade miStudio, or use another data folder.",
            ) from error
    return current


def upgrade(database: Database, metadata: MetaData, revision: str = "head") -> None:
    """Migrate up to `revision`. Does nothing when already there.

    Raises StudioError `database_newer`, `database_unreachable`, `revision_unknown`.
    """
    with _migrating(database) as connection:
        config = _config(connection, metadata)
        known = ScriptDirectory.from_config(config)
        present = _refuse_unknown(connection, config)
        known.get_revision(revision)  # raises CommandError
        if present != known.get_current_head():
            command.upgrade(config, revision)


def downgrade(database: Database, metadata: MetaData, revision: str) -> None:
    """Migrate down to `revision` (`base` for an empty database)."""
    with _migrating(database) as connection:
        config = _config(connection, metadata)
        _refuse_unknown(connection, config)
        command.downgrade(config, revision)


def check(database: Database, metadata: MetaData) -> SchemaState:
    """Compare the database with the newest revision and with the tables that the code defines."""
    with _migrating(database) as connection:
        config = _config(connection, metadata)
        current = _refuse_unknown(connection, config)
        head = ScriptDirectory.from_config(config).get_current_head() or "base"
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences: list[Any] = compare_metadata(context, metadata)
    return SchemaState(current, head, [_describe(difference) for difference in differences])


def _describe(difference: Any) -> str:
    """`add_index ix_jobs_queue`: what a migration would have to do, and to what."""
    if isinstance(difference, list):  # changes of one column come as a list
        return "; ".join(_describe(part) for part in difference)
    action, *parts = difference
    named = [str(getattr(part, "name", part)) for part in parts if not isinstance(part, dict | None)]
    return " ".join([str(action), *named])


def write_revision(database: Database, metadata: MetaData, message: str, revision: str) -> Path:
    """Write a new migration from the difference between the database and the tables (for developers)."""
    with _migrating(database) as connection:
        script = command.revision(
            _config(connection, metadata), message=message, autogenerate=True, rev_id=revision
        )
    written = script[0] if isinstance(script, list) else script
    if written is None:
        raise StudioError("revision_not_written", "Alembic wrote no migration.")
    return Path(written.path)
