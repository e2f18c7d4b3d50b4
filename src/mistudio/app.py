"""Assembles the application from the domains; nothing else."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from sqlalchemy import MetaData, text
from sqlalchemy.exc import SQLAlchemyError

import mistudio.db
from mistudio.db import Database
from mistudio.domain import Domain, load
from mistudio.domains import all_domains, import_tables, job_kinds, template_kinds
from mistudio.errors import StudioError
from mistudio.events import EventBus, open_bus
from mistudio.events.snapshots import Snapshots
from mistudio.events.sockets import PATH, EventSockets
from mistudio.hub.arrivals import sweep_cancelled, sweep_when_cancelled
from mistudio.jobs import is_job, register_kinds
from mistudio.settings import LoadedSettings, Settings
from mistudio.templates.kinds import register_template_kinds
from mistudio.templates.shipped import ship_templates
from mistudio.training.archiving import archive_when_ended
from mistudio.web.assembly import build_api
from mistudio.web.limits import client_address
from mistudio.web.routes import router as server_router
from mistudio.web.studio import Dispatcher, Studio


def create_app(
    loaded: LoadedSettings,
    *,
    domains: Sequence[Domain] | None = None,
    migrate: bool = True,
    dispatcher: Callable[[Settings, Database, EventBus], Dispatcher | None] | None = None,
) -> FastAPI:
    """The whole application as one ASGI app; `app.state.studio` is what its routes work with.

    `domains` defaults to all. `migrate=False` leaves the database as it is (tests make their own tables).
    `dispatcher` opens who runs the jobs (default: by the settings). Nothing is started before the server's
    lifespan begins; `app.state.prepare()` does the part of it that can fail for a reason a person must
    read.
    """
    settings = loaded.settings
    domains = list(domains) if domains is not None else all_domains(settings.plugins)
    metadata = import_tables(domains)
    register_kinds(job_kinds(domains))
    register_template_kinds(template_kinds(domains))
    database = Database(settings.effective_database_url)
    bus = open_bus(settings)
    snapshots = Snapshots(bus, database, {k: v for d in domains for k, v in d.snapshots.items()})
    sockets = EventSockets(
        bus,
        snapshots,
        per_address=settings.sockets_per_address,
        address_of=client_address,
        redis_url=settings.redis_url.get_secret_value() if settings.redis_url else None,
    )
    studio = Studio(loaded, database, bus, read_state=snapshots.read_state)
    studio.checks = {"database": lambda: _database_check(database), "events": bus.check}
    prepare = _Preparation(settings, database, metadata if migrate else None)
    watches_system = any(domain.name == "monitor" for domain in domains)
    has_trainings = any(domain.name == "train" for domain in domains)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        await asyncio.to_thread(prepare)
        # The form parser spools large uploads to temporary files; the data folder's disk has room for them.
        spool, tempfile.tempdir = tempfile.tempdir, str(settings.data_dir)
        await sockets.start()
        studio.dispatcher = (dispatcher or _open_dispatcher)(settings, database, bus)
        if studio.dispatcher is not None:
            await asyncio.to_thread(studio.dispatcher.start)
        sampler = _start_sampler(settings, database, bus) if watches_system else None
        stop_sweeping = sweep_when_cancelled(database, settings.data_dir)
        stop_archiving = archive_when_ended(database, settings) if has_trainings else None
        try:
            yield
        finally:
            stop_sweeping()
            if stop_archiving is not None:
                await asyncio.to_thread(stop_archiving)
            if sampler is not None:
                sampler.stop()
            if studio.dispatcher is not None:
                await asyncio.to_thread(studio.dispatcher.stop)
            await asyncio.to_thread(bus.flush, 1.0)
            tempfile.tempdir = spool
            await sockets.stop()
            await asyncio.to_thread(bus.close)
            database.dispose()

    app = build_api(settings, [server_router, *_routers(domains)], lifespan=lifespan)
    app.mount(PATH, sockets)
    app.state.studio = studio
    app.state.sockets = sockets
    app.state.prepare = prepare
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of the built-in domains; needs no data folder and no server."""
    settings = Settings.model_construct()
    return build_api(settings, [server_router, *_routers(all_domains())]).openapi()


def _routers(domains: Sequence[Domain]) -> list[APIRouter]:
    return [load(domain.router) for domain in domains if domain.router]


class _Preparation:
    """What must be right before a server may answer: the data folder and the database. Done once."""

    def __init__(self, settings: Settings, database: Database, metadata: MetaData | None) -> None:
        self._settings = settings
        self._database = database
        self._metadata = metadata
        self._done = False

    def __call__(self) -> None:
        """Raises StudioError `data_dir_unusable`, `database_unreachable`, `database_newer`."""
        if self._done:
            return
        folder = self._settings.data_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise StudioError(
                "data_dir_unusable",
                f"The data folder cannot be written: {error.strerror}.",
                hint="`mistudio settings` says which it is: mend its permissions, or choose another with "
                "--data-dir or MISTUDIO_DATA_DIR.",
            ) from error
        if self._metadata is not None and not _is_at_newest_schema(self._database):
            from mistudio.db.migrate import upgrade

            upgrade(self._database, self._metadata)
        if self._metadata is not None and "templates" in self._metadata.tables:
            ship_templates(self._database)
        database = self._database if self._metadata is not None else None
        threading.Thread(target=_tidy, args=(folder, database), name="mistudio-tidy", daemon=True).start()
        self._done = True


def _tidy(data_dir: Path, database: Database | None) -> None:
    """Remove what killed processes left half written, what was deleted but not yet unlinked, cancelled downloads."""
    from mistudio.store.atomic import sweep_temporaries
    from mistudio.store.folders import empty_trash

    sweep_temporaries(data_dir)
    empty_trash(data_dir)
    if database is not None:
        sweep_cancelled(database, data_dir)


def _is_at_newest_schema(database: Database) -> bool:
    """Whether the database needs no migration; told without Alembic, whose import alone takes a quarter second.

    Revisions are numbered in the names of their files (`0001_…`).
    """
    versions = Path(mistudio.db.__file__).parent / "migrations" / "versions"
    newest = max((file.stem.partition("_")[0] for file in versions.glob("[0-9]*.py")), default=None)
    try:
        with database.reading() as session:
            return session.scalar(text("SELECT version_num FROM alembic_version")) == newest
    except SQLAlchemyError:
        return False


def _database_check(database: Database) -> str | None:
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return "The database does not answer."
    return None


def _open_dispatcher(settings: Settings, database: Database, bus: EventBus) -> Dispatcher | None:
    from mistudio.jobs.dispatch import open_dispatcher

    return open_dispatcher(database, settings, bus)


def _start_sampler(settings: Settings, database: Database, bus: EventBus) -> Any:
    from mistudio.monitor.sampling import Sampler

    sampler = Sampler(settings.data_dir, bus, partial(is_job, database))
    sampler.start()
    return sampler


if __name__ == "__main__":
    if sys.argv[1:] != ["--openapi"]:
        sys.exit("usage: python -m mistudio.app --openapi")
    sys.stdout.write(json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n")
