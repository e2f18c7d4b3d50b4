"""The real hub client against a loopback hub that serves one repository, well or badly."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.lm import ModelLoadError, load_language_model

COMMIT = "a" * 40
REPO = "org/tiny"


class LoopbackHub(ThreadingHTTPServer):
    """Serves `files` as REPO. `mood` spoils it: a status for every request, or one of the words below."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.mood: int | str = "well"
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackHub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.asked.append(f"{self.command} {path}")
        if isinstance(hub.mood, int):
            return self.answer(hub.mood, b"", **({"Retry_After": "7"} if hub.mood == 429 else {}))
        if hub.mood == "slow":
            time.sleep(3)
        if not path.removeprefix("/api/models").startswith(f"/{REPO}"):
            return self.answer(404, b"{}", X_Error_Code="RepoNotFound")
        if path.startswith("/api/models/"):
            if "/revision/" in path and not path.endswith(("/main", COMMIT)):
                return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
            listing = [{"rfilename": name, "size": len(data)} for name, data in hub.files.items()]
            body = {
                "id": REPO,
                "sha": COMMIT,
                "siblings": listing,
                "gated": "auto" if hub.mood == "gated" else False,
            }
            return self.answer(200, json.dumps(body).encode(), Content_Type="application/json")
        if hub.mood == "gated":
            return self.answer(403, b"", X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
        data = hub.files.get(path.rpartition("/")[2])
        if data is None:
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        tags = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X_Repo_Commit": COMMIT,
            "Accept_Ranges": "bytes",
        }
        if hub.mood == "cut" and self.command == "GET" and len(data) > 20_000:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:10_000])
            self.close_connection = True
            return None
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            tags["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self.answer(206 if start else 200, data[start:], **tags)


@pytest.fixture
def hub(tiny_llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    server = LoopbackHub({path.name: path.read_bytes() for path in tiny_llama_folder.iterdir()})
    # The constants are read from the environment when huggingface_hub is imported, which other tests did.
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    close_session()
    yield server
    server.shutdown()
    server.server_close()
    close_session()


def test_a_model_is_fetched_by_its_id_and_found_again_without_network(
    hub: LoopbackHub, tiny_llama_folder: Path
) -> None:
    tokens = torch.tensor([[5, 6, 7]])
    expected = load_language_model(tiny_llama_folder, device="cpu").logits(tokens)
    hub.files["pytorch_model.bin"] = b"pickle"
    assert torch.equal(load_language_model(REPO, device="cpu").logits(tokens), expected)
    assert not [path for path in hub.asked if "pytorch_model.bin" in path]
    hub.mood = 503
    assert torch.equal(load_language_model(REPO, device="cpu").logits(tokens), expected)


@pytest.mark.parametrize(
    ("mood", "code"),
    [
        ("gated", "hub_gated"),
        (401, "hub_refused"),
        (403, "hub_refused"),
        (429, "hub_rate_limited"),
        (500, "hub_unreachable"),
        pytest.param("slow", "hub_unreachable", marks=pytest.mark.slow),
    ],
)
def test_each_refusal_is_one_clear_error(
    hub: LoopbackHub, mood: int | str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mistudio.lm.hub

    monkeypatch.setattr(mistudio.lm.hub, "_LISTING_TIMEOUT_S", 0.5)
    hub.mood = mood
    with pytest.raises(ModelLoadError) as error:
        load_language_model(REPO, device="cpu")
    assert error.value.code == code and REPO in error.value.message and error.value.hint
    assert "\n" not in str(error.value)
    if mood == 429:
        assert "7 seconds" in error.value.hint


def test_ids_and_revisions_that_are_not_there(hub: LoopbackHub) -> None:
    for source, options, code in [
        ("org/nothing", {}, "hub_not_found"),
        ("no--such", {}, "hub_not_found"),
        (REPO, {"revision": "v9"}, "hub_revision_not_found"),
        (REPO, {"gguf_file": "tiny.gguf"}, "not_found"),
    ]:
        with pytest.raises(ModelLoadError) as error:
            load_language_model(source, device="cpu", **options)
        assert error.value.code == code, source


def test_repositories_without_a_usable_model_are_refused_before_downloading(hub: LoopbackHub) -> None:
    whole = dict(hub.files)
    for spoil, code in [
        ({"model.safetensors": None}, "no_weights"),
        ({"model.safetensors": None, "pytorch_model.bin": b"x"}, "pickle_weights"),
        ({"config.json": None}, "no_config"),
        ({"model.safetensors": None, "a.gguf": b"x", "b.gguf": b"x"}, "no_weights"),
    ]:
        hub.files = {k: v for k, v in {**whole, **spoil}.items() if v is not None}
        with pytest.raises(ModelLoadError) as error:
            load_language_model(REPO, device="cpu")
        assert error.value.code == code
    assert not [path for path in hub.asked if "/resolve/" in path]


def test_a_transfer_that_breaks_off_is_an_error_and_a_later_one_mends_it(hub: LoopbackHub) -> None:
    hub.mood = "cut"
    with pytest.raises(ModelLoadError) as error:
        load_language_model(REPO, device="cpu")
    assert error.value.code == "hub_unreachable"
    hub.mood = "well"
    assert load_language_model(REPO, device="cpu").n_layers == 3
