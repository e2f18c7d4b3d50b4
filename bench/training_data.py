"""A scratch data folder with the real 135M model, tokenized text and cached activations, for rows about trainings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistudio.activations.caches import add_cache
from mistudio.activations.schemas import CacheCreate, HarvestSettings
from mistudio.console.waiting import run_job
from mistudio.datasets.library import add_dataset
from mistudio.datasets.schemas import DatasetCreate, TextSource
from mistudio.datasets.tokenization_schemas import TokenizationCreate, TokenizationSettings
from mistudio.datasets.tokenizations import add_tokenization
from mistudio.db import Database
from mistudio.db.migrate import upgrade
from mistudio.domains import all_domains, import_tables, job_kinds
from mistudio.jobs import register_kinds
from mistudio.models.library import add_model
from mistudio.models.schemas import ModelCreate
from mistudio.settings import LoadedSettings, Settings

HOOKS = ("blocks.3.hook_resid_post", "blocks.6.hook_resid_post")
TOKENS = 150_000
CACHED = 100_000


@dataclass(frozen=True)
class Studio:
    """A data folder with what a training needs."""

    loaded: LoadedSettings
    database: Database
    tokenization_id: str
    cache_id: str | None

    @property
    def settings(self) -> Settings:
        return self.loaded.settings


@contextmanager
def opened(folder: Path) -> Iterator[tuple[LoadedSettings, Database]]:
    """Settings and database of a data folder, at the newest schema."""
    domains = all_domains()
    register_kinds(job_kinds(domains))
    loaded = LoadedSettings(Settings(data_dir=folder), {})
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(loaded.settings.effective_database_url)
    upgrade(database, import_tables(domains))
    try:
        yield loaded, database
    finally:
        database.dispose()


@contextmanager
def studio(folder: Path, *, cache: bool = True) -> Iterator[Studio]:
    """The folder, filled: a model, `TOKENS` tokens of the demo's text and, if wanted, a cache of both `HOOKS`."""
    with opened(folder) as (loaded, database):

        def added(add: Any) -> Any:
            with database.session() as session:
                row, job = add(session)
                found, job_id = row.id, job.id
            run_job(database, loaded, job_id)
            return found

        settings = loaded.settings
        model = added(lambda s: add_model(s, settings, _model(), any_folder=True))
        text = folder / "text.txt"
        text.write_text(_text())
        source = DatasetCreate(name="addresses", source=TextSource(path=str(text)))
        dataset = added(lambda s: add_dataset(s, settings, source, any_folder=True))
        packed = TokenizationSettings(context_length=128, max_tokens=TOKENS)
        tokens = added(
            lambda s: add_tokenization(
                s, settings, dataset, TokenizationCreate(model_id=model, settings=packed)
            )
        )
        wanted = CacheCreate(
            tokenization_id=tokens, hooks=list(HOOKS), settings=HarvestSettings(n_tokens=CACHED)
        )
        kept = added(lambda s: add_cache(s, settings, wanted)) if cache else None
        yield Studio(loaded, database, tokens, kept)


def _model() -> ModelCreate:
    named = os.environ.get("STUDIO_BENCH_MODEL")
    if named:
        return ModelCreate.model_validate({"source": {"kind": "folder", "path": named}})
    from mistudio.demo.sources import fetch_model, source_cache

    return ModelCreate.model_validate({"source": {"kind": "gguf", "path": str(fetch_model(source_cache()))}})


def _text() -> str:
    from mistudio.demo.sources import fetch_addresses, source_cache

    return "\n\n".join(address.text for address in fetch_addresses(source_cache())[-40:])
