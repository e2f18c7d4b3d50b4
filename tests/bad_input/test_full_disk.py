"""A disk that is full at the moment when a file must be safe on it: each job says so and leaves nothing torn."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mistudio.activations.caches import add_cache
from mistudio.activations.schemas import CacheCreate
from mistudio.datasets.library import add_dataset, file_source
from mistudio.datasets.schemas import DatasetCreate
from mistudio.datasets.tables import Tokenization
from mistudio.datasets.tokenization_schemas import TokenizationCreate, TokenizationSettings
from mistudio.datasets.tokenizations import add_tokenization
from mistudio.features.library import create_extraction
from mistudio.features.schemas import ExtractionCreate
from mistudio.jobs import latest_jobs
from mistudio.models.library import add_model
from mistudio.models.schemas import FolderModelSource, ModelCreate
from mistudio.sae import TopKConfig, TrainerConfig, save_sae
from mistudio.saes.library import add_import
from mistudio.saes.schemas import SaeImport
from mistudio.training.schemas import SourceChoice, TrainingCreate
from mistudio.training.sweeps import create_sweep
from tests.bad_input.refusals import files_in, job_fails
from tests.features.make_sae import random_sae
from tests.models.job_runs import run_here
from tests.training.conftest import HOOK


def no_space(fd: int) -> None:
    """How a disk with delayed allocation tells that it is full: when a file is to be made safe."""
    if stat.S_ISREG(os.fstat(fd).st_mode):
        raise OSError(errno.ENOSPC, "No space left on device")


def queue(what: str, session: Any, settings: Any, tmp_path: Path, known: dict[str, Any]) -> str:
    if what == "model":
        source = FolderModelSource(path=str(known["llama"]))
        return add_model(session, settings, ModelCreate(name="second", source=source), any_folder=True)[1].id
    if what == "dataset":
        (tmp_path / "more.txt").write_text("More text.\n\nAnd more.\n")
        source = file_source(str(tmp_path / "more.txt"))
        return add_dataset(session, settings, DatasetCreate(source=source), any_folder=True)[1].id
    if what == "tokenization":
        wanted = TokenizationCreate(
            model_id=known["model"], name="second", settings=TokenizationSettings(context_length=16)
        )
        return add_tokenization(session, settings, known["dataset"], wanted)[1].id
    if what == "activations":
        return add_cache(session, settings, CacheCreate(tokenization_id=known["tokens"], hooks=[HOOK]))[1].id
    if what == "sae":
        save_sae(random_sae(), tmp_path / "an-sae")
        return add_import(session, settings, SaeImport(path=str(tmp_path / "an-sae")), any_folder=True)[1].id
    if what == "training":
        config = TrainerConfig(architecture=TopKConfig(k=4), d_sae=64, total_tokens=4_096, batch_size=256)
        wanted = TrainingCreate(
            sources=[SourceChoice(tokenization_id=known["tokens"])],
            hooks=[HOOK],
            cache_id=known["cache"],
            config=config,
            held_out_tokens=512,
        )
        subject = f"sweeps/{create_sweep(session, wanted).id}"
        return latest_jobs(session, [subject])[subject].id
    return create_extraction(session, known["sae"], ExtractionCreate(cache_id=known["cache"]))[1].id


@pytest.mark.parametrize(
    "what", ["model", "dataset", "tokenization", "activations", "sae", "training", "extraction"]
)
def test_a_full_disk_is_said_and_can_be_mended(
    what: str,
    settings: Any,
    database: Any,
    tiny_llama_folder: Path,
    tiny_model: Any,
    tokens: str,
    cache: str,
    sae: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with database.reading() as session:
        dataset = session.get_one(Tokenization, tokens).dataset_id
    known = {"llama": tiny_llama_folder, "model": tiny_model.id, "dataset": dataset, "tokens": tokens}
    known |= {"cache": cache, "sae": sae}
    with database.session() as session:
        job_id = queue(what, session, settings, tmp_path, known)
    before = files_in(settings.data_dir)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        told = job_fails(settings, database, job_id)
    assert told.code in ("disk_full", "disk-full") and "full" in told.message, told
    left = files_in(settings.data_dir) - before
    assert not [name for name in left if "/.part" in name or name.startswith(".")], left
    run_here(settings, database, job_id)  # there is room again
