"""A tiny model and the tokens of a short text on a server: what trainings in the browser tests read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.server import Server

HOOK = "blocks.1.hook_resid_post"


@contextmanager
def tiny_server(folder: Path, model: Path, **settings: object) -> Generator[Server]:
    """A server that may read the model's folder and a text in its own."""
    sources = sorted(Path(__file__).parents[1].glob("*.py"))
    (folder / "text.txt").write_text("\n\n".join(path.read_text("utf-8") for path in sources) * 2)
    server = Server(folder, {"import_folders": [str(model.parent), str(folder)], **settings})
    server.start()
    yield server
    server.stop()


def tiny_tokens(server: Server, model: Path, most: int) -> str:
    """The id of a tokenization of at most so many tokens in sequences of 32."""
    made = server.ask("POST", "/models", {"source": {"kind": "folder", "path": str(model)}})
    text = str(server.data_dir.parent / "text.txt")
    dataset = server.ask("POST", "/datasets", {"source": {"kind": "text", "path": text}})
    server.wait_for_jobs()
    tokenization = server.ask(
        "POST",
        f"/datasets/{dataset['id']}/tokenizations",
        {"model_id": made["id"], "settings": {"context_length": 32, "max_tokens": most}},
    )
    server.wait_for_jobs()
    return str(tokenization["id"])
