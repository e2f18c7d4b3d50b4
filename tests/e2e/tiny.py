"""A tiny model and the tokens of a short text: what trainings in the browser tests read."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.corpus import CORPUS
from tests.e2e.server import Server

HOOK = "blocks.1.hook_resid_post"


@dataclass(frozen=True)
class TinyData:
    """A data folder as a server left it."""

    folder: Path
    tokens: str
    """The id of a tokenization of 12,000 tokens in sequences of 32."""


def make_tiny_data(folder: Path, model: Path) -> TinyData:
    """Have a server add the model and a text, and tokenize it."""
    text = folder / "text.txt"
    text.write_text(f"\n\n{CORPUS}" * 2)
    server = Server(folder, {"import_folders": [str(model.parent), str(folder)]})
    server.start()
    made = server.ask("POST", "/models", {"source": {"kind": "folder", "path": str(model)}})
    dataset = server.ask("POST", "/datasets", {"source": {"kind": "text", "path": str(text)}})
    server.wait_for_jobs()
    wanted = {"model_id": made["id"], "settings": {"context_length": 32, "max_tokens": 12_000}}
    tokenization = server.ask("POST", f"/datasets/{dataset['id']}/tokenizations", wanted)
    server.wait_for_jobs()
    server.stop()
    return TinyData(server.data_dir, str(tokenization["id"]))


@contextmanager
def tiny_server(folder: Path, data: TinyData, **settings: object) -> Generator[Server]:
    """A server on a copy of the data."""
    server = Server(folder, settings)
    shutil.copytree(data.folder, server.data_dir)
    server.start()
    yield server
    server.stop()
