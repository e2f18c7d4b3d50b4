"""Fixtures shared by all tests: real data folders, databases, servers, and a real language model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.corpus import FOR_TOKENIZER

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# Tiny tensors gain nothing from threads, and several test processes on few cores lose much by them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name in [name for name in os.environ if name.startswith("MISTUDIO_")]:
    del os.environ[_name]  # a developer's own settings must not steer the tests


# Servers, the real model, the whole application, and whatever begins with a model that a job has added.
SLOW_FIXTURES = frozenset({"api", "postgres_url", "redis_url", "smollm2_folder", "tiny_model"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stands on a slow fixture is slow."""
    for item in items:
        if isinstance(item, pytest.Function) and not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(data_dir: Path) -> Any:
    """Default settings over an empty data folder, with quick leases."""
    from mistudio.settings import Settings

    return Settings(data_dir=data_dir, port=0, import_folders=[data_dir.parent])


@pytest.fixture
def metadata() -> Any:
    """The metadata with every domain's tables."""
    from mistudio.domains import all_domains, import_tables

    return import_tables(all_domains())


@pytest.fixture
def database(settings: Any, metadata: Any) -> Iterator[Any]:
    """An SQLite database at the newest schema."""
    from mistudio.db import Database

    database = Database(settings.effective_database_url)
    metadata.create_all(database.engine)
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The real SmolLM2-135M-Instruct as a safetensors folder, fetched and converted once per machine."""
    named = os.environ.get("STUDIO_TEST_MODEL")
    if named:
        return Path(named)
    from mistudio.demo.sources import fetch_model, source_cache
    from mistudio.lm import convert_gguf

    folder = source_cache() / "test-model"
    if not (folder / "config.json").is_file():
        with _machine_lock("test-model"):
            if not (folder / "config.json").is_file():
                convert_gguf(fetch_model(source_cache()), folder)
    return folder


@pytest.fixture(scope="session")
def sotu_addresses() -> list[Any]:
    """Every State of the Union address, fetched once per machine."""
    from mistudio.demo.sources import fetch_addresses, source_cache

    with _machine_lock("sotu"):
        return fetch_addresses(source_cache())


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded-random Llama of 3 layers and 32 dimensions with a byte-level BPE tokenizer of 512 tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [FOR_TOKENIZER],
        trainers.BpeTrainer(
            vocab_size=512,
            special_tokens=["<s>", "</s>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": "<s>",
                "eos_token": "</s>",
                "pad_token": "<pad>",
                "model_max_length": 256,
            }
        )
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server; every test makes a database of its own on it."""
    from tests.services import postgres_server

    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis-compatible server."""
    from tests.services import redis_server

    with redis_server() as url:
        yield url


class _machine_lock:
    """One process of this machine at a time (several test workers may want to fetch the same thing)."""

    def __init__(self, name: str) -> None:
        from mistudio.demo.sources import source_cache

        source_cache().mkdir(parents=True, exist_ok=True)
        self._path = source_cache() / f"{name}.lock"

    def __enter__(self) -> None:
        import fcntl

        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
