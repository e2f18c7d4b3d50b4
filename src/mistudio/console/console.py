"""What every command shares: its settings, its database, its output and its patience with jobs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.console import Console as RichConsole
from rich.table import Table
from sqlalchemy.orm import Session

from mistudio.db import Database
from mistudio.settings import LoadedSettings, Settings, load_settings

if TYPE_CHECKING:
    from mistudio.console.waiting import Watch

_ANY_WIDTH = 10_000
"""Columns where no terminal has its own: what is piped on is not cut to fit a screen."""


@dataclass
class ConsoleOptions:
    """The flags that every command understands."""

    config: Path | None = None
    flags: dict[str, Any] = field(default_factory=dict[str, Any])
    as_json: bool = False
    prepare: list[Callable[[Database], None]] = field(default_factory=list[Callable[[Database], None]])
    """What is done to a database after it was brought up to date."""

    def load(self) -> LoadedSettings:
        """The settings under these flags."""
        return load_settings(config=self.config, flags=self.flags)


console_options = ConsoleOptions()
"""Filled by the command line before a command runs; a process runs one command."""


class Console:
    """An open command: settings, database, printing and job running."""

    def __init__(self, loaded: LoadedSettings, database: Database, *, as_json: bool) -> None:
        self.loaded = loaded
        self.settings: Settings = loaded.settings
        self.database = database
        self.as_json = as_json
        self._piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
        self._out = RichConsole(highlight=False, soft_wrap=False, width=_ANY_WIDTH if self._piped else None)

    @contextmanager
    def session(self) -> Generator[Session]:
        """A write transaction."""
        with self.database.session() as session:
            yield session

    @contextmanager
    def reading(self) -> Generator[Session]:
        """A session for queries alone."""
        with self.database.reading() as session:
            yield session

    def run(self, job_id: str, *, watch: Watch | None = None, pauses: bool = False) -> dict[str, Any]:
        """Run the job to its end with a progress bar (or `watch`) on stderr; return its result.

        Ctrl-C cancels it or, where it `pauses`, has it save and wait. Raises StudioError with the job's own error when
        it failed, `job_cancelled` or `job_paused` when it was.
        """
        from mistudio.console.waiting import run_job

        return run_job(self.database, self.loaded, job_id, watch=watch, pauses=pauses)

    def emit(self, data: Any, *, table: Sequence[str] = (), title: str | None = None) -> None:
        """Print `data` (models, dicts or lists of them): as JSON under --json, else as a table or key/value lines.

        `table` names the columns to show, in order; dotted names reach into nested objects.
        """
        plain = _plain(data)
        if self.as_json:
            sys.stdout.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
            return
        if isinstance(plain, list):
            rows: list[Any] = plain
            columns = list(table) or (list(rows[0]) if rows and isinstance(rows[0], dict) else ["value"])
            grid = Table(title=title, box=None, header_style="bold", pad_edge=False)
            for column in columns:
                heading = column.rpartition(".")[2]
                grid.add_column(heading, overflow="fold", no_wrap=column == "id")
            for row in rows:
                grid.add_row(*(_cell(row, column) for column in columns))
            self._print(grid if rows else f"No {title or 'rows'}.")
            return
        if isinstance(plain, dict):
            grid = Table(box=None, show_header=False, pad_edge=False, title=title)
            grid.add_column(no_wrap=True)
            grid.add_column(overflow="fold")
            for key in table or list(plain):
                grid.add_row(key, _cell(plain, key))
            self._print(grid)
            return
        self._out.print(str(plain), markup=False)

    def _print(self, shown: Table | str) -> None:
        if not self._piped:
            self._out.print(shown)
            return
        with self._out.capture() as captured:
            self._out.print(shown)
        # cells are filled up to the widest of their column, which may be very wide
        sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())

    def say(self, message: str) -> None:
        """A line for the person, on stderr, so that stdout stays what was asked for."""
        sys.stderr.write(message + "\n")


@contextmanager
def open_console(*, migrate: bool = True) -> Generator[Console]:
    """Open settings and database for one command; the schema is brought up to date first unless `migrate` is off, and
    jobs of processes that were killed are brought to a true state."""
    loaded = console_options.load()
    database = Database(loaded.settings.effective_database_url)
    try:
        if migrate:
            from mistudio.db import Base
            from mistudio.db.migrate import upgrade
            from mistudio.jobs.recovery import recover

            upgrade(database, Base.metadata)
            for prepare in console_options.prepare:
                prepare(database)
            recover(database, loaded.settings)
        yield Console(loaded, database, as_json=console_options.as_json)
    finally:
        database.dispose()


def _plain(data: Any) -> Any:
    if isinstance(data, BaseModel):
        return data.model_dump(mode="json")
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(item) for item in data]
    if isinstance(data, Path):
        return str(data)
    return data


def _cell(row: Any, column: str) -> str:
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else (value if column == "value" else None)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
