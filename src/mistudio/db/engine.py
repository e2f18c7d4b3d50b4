"""One `Database` per process: the engine with its pragmas, and sessions."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker

from mistudio.errors import StudioError

SQLITE_BUSY_SECONDS = 30


class Database:
    """The SQL database behind one URL. Cheap to make: nothing connects before the first query."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise StudioError(
                "database_url_invalid",
                "The setting database_url is not a database URL.",
                hint="Use sqlite:///file.db or postgresql+psycopg://user@host/name.",
            ) from error
        self.url = url
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {}
        if parsed.database not in (None, "", ":memory:"):  # SQLite in memory has a connection per thread
            # More than the readers, writers and supervisors of a server, so that none waits for another's end.
            options |= {"pool_size": 10, "max_overflow": 40}
        if self.is_sqlite:
            options["connect_args"] = {"timeout": SQLITE_BUSY_SECONDS, "check_same_thread": False}
        else:
            options["pool_pre_ping"] = True
        try:
            self.engine: Engine = create_engine(parsed, **options)
        except (ImportError, NoSuchModuleError) as error:
            raise StudioError(
                "database_url_invalid",
                f"The setting database_url names “{parsed.drivername}”, for which no driver is installed.",
                hint="Use sqlite:///file.db, or postgresql+psycopg://user@host/name with mistudio[cluster].",
            ) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", _sqlite_on_connect)
            event.listen(self.engine, "begin", _sqlite_on_begin)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(
            self.engine.execution_options(mistudio_reading=True), expire_on_commit=False
        )

    @contextmanager
    def session(self) -> Generator[Session]:
        """A session that commits at the end, or rolls everything back if the block raises."""
        with self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A session for queries alone: on SQLite it takes no write lock.

        It takes a connection with its first query, not before: a web request that waits for a thread must not
        keep one from those that run.
        """
        with self._readers() as session:
            yield session

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _sqlite_on_connect(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling would begin late and deferred; `begin` below does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_on_begin(connection: Any) -> None:
    # A writer takes the lock at once and waits its turn (busy timeout), instead of failing when it upgrades.
    reading = connection.get_execution_options().get("mistudio_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
