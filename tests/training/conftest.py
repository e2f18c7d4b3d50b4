"""Fixtures for the tests of trainings: a tiny model, a text, its tokens, and a cache of activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mistudio.activations.caches import add_cache
from mistudio.activations.schemas import CacheCreate, HarvestSettings
from mistudio.datasets.library import add_dataset
from mistudio.datasets.schemas import DatasetCreate, TextSource
from mistudio.datasets.tokenization_schemas import TokenizationCreate, TokenizationSettings
from mistudio.datasets.tokenizations import add_tokenization
from tests.corpus import CORPUS
from tests.models.conftest import kinds, tiny_model
from tests.models.job_runs import run_here

__all__ = ["kinds", "tiny_model"]

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def tokens(settings: Any, database: Any, tiny_model: Any, tmp_path: Path) -> str:
    """The id of a tokenization of about 12,000 tokens in sequences of 32 with a BOS."""
    text = tmp_path / "text.txt"
    text.write_text(f"\n\n{CORPUS}" * 2)
    with database.session() as session:
        dataset, job = add_dataset(
            session, settings, DatasetCreate(source=TextSource(path=str(text))), any_folder=True
        )
    run_here(settings, database, job.id)
    with database.session() as session:
        tokenization, job = add_tokenization(
            session,
            settings,
            dataset.id,
            TokenizationCreate(
                model_id=tiny_model.id,
                settings=TokenizationSettings(context_length=32, prepend_bos=True, max_tokens=12_000),
            ),
        )
    run_here(settings, database, job.id)
    return tokenization.id


@pytest.fixture
def cache(settings: Any, database: Any, tokens: str) -> str:
    """The id of a cache of those tokens at `HOOK`."""
    with database.session() as session:
        found, job = add_cache(
            session,
            settings,
            CacheCreate(tokenization_id=tokens, hooks=[HOOK], settings=HarvestSettings(seed=3)),
        )
    run_here(settings, database, job.id)
    return found.id
