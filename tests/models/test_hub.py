"""Models from a hub: the real client against a loopback server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mistudio.models import library
from mistudio.models.schemas import HubModelSource, ModelCreate
from tests.loopback_hub import TOKEN, LoopbackHub, Repository, loopback_hub
from tests.models.hub_runs import run_against

pytestmark = pytest.mark.slow


@pytest.fixture
def hub(tiny_llama_folder: Path) -> Iterator[LoopbackHub]:
    files = {path.name: path.read_bytes() for path in tiny_llama_folder.iterdir() if path.is_file()}
    with loopback_hub() as hub:
        hub.repositories["tiny/llama"] = Repository({**files, "README.md": b"# a card", "training.bin": b"x"})
        yield hub


def add(settings: Any, database: Any, repo: str = "tiny/llama", **source: Any) -> tuple[str, str]:
    with database.session() as session:
        model, job = library.add_model(
            session, settings, ModelCreate(source=HubModelSource(repo=repo, **source))
        )
        return model.id, job.id


def left_behind(settings: Any) -> list[str]:
    folder = settings.data_dir / "models"
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_a_model_is_downloaded_verified_and_described(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    model_id, job = add(settings, database)
    done = run_against(hub, settings, job, tmp_path)
    assert "result" in done, done
    bar = done["stages"]["Download"]
    assert bar == sorted(bar) and bar[-1] == done["stages"]["Download of"]
    assert done["stages"]["Verify"][-1] == done["stages"]["Verify of"] > 10_000
    with database.reading() as session:
        model = library.get_model(session, model_id)
    assert (model.name, model.d_model, model.ready) == ("llama", 32, True)
    names = {path.name for path in library.model_folder(settings, model_id).iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not {"README.md", "training.bin", ".cache"} & names
    assert not any("training.bin" in line for line in hub.requests)


def test_gated_with_and_without_a_token(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.repositories["tiny/llama"].gated = True
    _, job = add(settings, database)
    for token in (None, "hf_somebody_else"):
        with_token = settings.model_copy(update={"hf_token": SecretStr(token) if token else None})
        done = run_against(hub, with_token, job, tmp_path)
        assert done["error"]["code"] == "gated", done
        assert "tiny/llama is gated" in done["error"]["message"]
        assert left_behind(settings) == []
    model_id, job = add(settings, database)
    right = settings.model_copy(update={"hf_token": SecretStr(TOKEN)})
    assert "result" in run_against(hub, right, job, tmp_path)
    assert left_behind(settings) == [model_id]


@pytest.mark.parametrize(
    ("repo", "source", "code"),
    [
        ("tiny/none", {}, "not_found"),
        ("tiny/llama", {"revision": "v9"}, "revision_not_found"),
        ("tiny/pickled", {}, "pickle_weights"),
        ("tiny/empty", {}, "no_weights"),
    ],
)
def test_what_is_not_there_is_said(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path, repo: str, source: Any, code: str
) -> None:
    config = hub.repositories["tiny/llama"].files["config.json"]
    hub.repositories["tiny/pickled"] = Repository({"config.json": config, "pytorch_model.bin": b"\x80"})
    hub.repositories["tiny/empty"] = Repository({"config.json": config})
    _, job = add(settings, database, repo, **source)
    done = run_against(hub, settings, job, tmp_path)
    assert done["error"]["code"] == code, done
    assert repo in done["error"]["message"]
    assert left_behind(settings) == []
    assert not any("pytorch_model.bin" in line for line in hub.requests)


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        ("hang", {"hub_unreachable"}),
        ("error_500", {"hub_unreachable"}),
        ("rate_limit", {"rate_limited"}),
        ("cut", {"hub_unreachable", "download_broken"}),
        ("wrong_bytes", {"download_broken", "corrupt_weights"}),
    ],
)
def test_a_bad_transfer_is_one_clear_error(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path, fault: Any, codes: set[str]
) -> None:
    hub.repositories["tiny/llama"].fault = fault
    _, job = add(settings, database)
    done = run_against(hub, settings.model_copy(update={"hub_timeout_seconds": 1.0}), job, tmp_path)
    assert done["error"]["code"] in codes, done
    assert done["error"]["message"].count(".") < 6 and done["error"]["hint"]
    assert left_behind(settings) == []


def test_a_silent_hub_times_out(settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path) -> None:
    hub.hang_everything = True
    _, job = add(settings, database)
    done = run_against(hub, settings.model_copy(update={"hub_timeout_seconds": 1.0}), job, tmp_path)
    assert done["error"]["code"] == "hub_unreachable", done
    assert left_behind(settings) == []


def test_a_cancelled_download_leaves_nothing(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.repositories["tiny/llama"].fault = "slow"
    _, job = add(settings, database)
    done = run_against(hub, settings, job, tmp_path, cancel_at="Download")
    assert done["error"]["code"] == "JobCancelled", done
    assert left_behind(settings) == []
