"""Models from a hub: the real client against a loopback server."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mistudio.hub.arrivals import sweep_cancelled, sweep_when_cancelled
from mistudio.jobs import cancel
from mistudio.models import library
from mistudio.models.schemas import HubModelSource, ModelCreate
from tests.loopback_hub import LFS_BYTES, TOKEN, LoopbackHub, Repository, loopback_hub
from tests.models.hub_runs import ROOT, hub_environment, run_against, start_against
from tests.warm import Program

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
        assert done["error"]["code"] == "hub_gated", done
        assert "tiny/llama is gated" in done["error"]["message"]
        assert left_behind(settings) == []
    model_id, job = add(settings, database)
    right = settings.model_copy(update={"hf_token": SecretStr(TOKEN)})
    assert "result" in run_against(hub, right, job, tmp_path)
    assert left_behind(settings) == [model_id]


@pytest.mark.parametrize(
    ("repo", "source", "code"),
    [
        ("tiny/none", {}, "hub_not_found"),
        ("tiny/llama", {"revision": "v9"}, "hub_revision_not_found"),
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
        ("rate_limit", {"hub_rate_limited"}),
        ("denied", {"hub_refused"}),
        ("gone", {"hub_file_gone"}),
        ("wrong_length", {"download_broken"}),
        ("wrong_bytes", {"download_broken"}),
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
    assert not any((settings.data_dir / "downloads").iterdir())


def test_a_stopped_download_goes_on_at_its_byte(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    repository = hub.repositories["tiny/llama"]
    large = [name for name, content in repository.files.items() if len(content) > LFS_BYTES]
    assert set(large) == {"model.safetensors", "tokenizer.json"}, "of which the weights come last"
    repository.faults = [None, "cut", "denied"]
    model_id, job = add(settings, database)
    stopped = run_against(hub, settings, job, tmp_path)
    assert stopped["error"]["code"] == "hub_refused" and left_behind(settings) == []
    held = settings.data_dir / "downloads" / model_id
    [partial] = held.glob("*.partial")
    begun, whole = partial.stat().st_size, {path.name for path in held.iterdir() if path != partial}
    assert begun > 0
    hub.ranges.clear()
    hub.requests.clear()
    done = run_against(hub, settings, job, tmp_path)
    assert "result" in done, done
    assert hub.ranges == [f"bytes={begun}-"]
    assert not any(f"/{name}" in line for name in whole for line in hub.requests), "what is whole is kept"
    bar = done["stages"]["Download"]
    assert bar == sorted(bar) and bar[0] >= begun and bar[-1] == done["stages"]["Download of"]
    assert left_behind(settings) == [model_id] and not held.exists()


def test_a_killed_download_goes_on_at_its_byte_and_a_deleted_model_takes_it_along(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    repository = hub.repositories["tiny/llama"]
    repository.fault = "slow"
    model_id, job = add(settings, database)
    held = settings.data_dir / "downloads" / model_id
    for _ in range(2):
        begun = max([0, *(path.stat().st_size for path in held.glob("*.partial"))])
        child = start_against(hub, settings, job, tmp_path)
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size > begun + 64_000 for path in held.glob("*.partial")):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        child.kill()
        child.wait()
    assert any(line.startswith(f"bytes={begun}-") for line in hub.ranges), "the second went on from the first"
    with database.session() as session:
        library.delete_model(session, settings, model_id)
    assert not held.exists()


def test_what_came_for_a_job_that_was_then_cancelled_is_swept(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    kept, job = add(settings, database)
    left = settings.data_dir / "downloads" / kept
    left.mkdir(parents=True)
    sweep_cancelled(database, settings.data_dir)
    assert left.exists(), "it waits in the queue, and will go on"
    stop = sweep_when_cancelled(database, settings.data_dir)
    with database.session() as session:
        cancel(session, job)
    stop()
    assert not left.exists()


def look(hub: LoopbackHub, settings: Any, tmp_path: Path, repo: str, *more: str) -> tuple[int, Any]:
    """`mistudio models preview`, as a person runs it; exit status and its JSON, or what it said on stderr."""
    environment = hub_environment(hub, tmp_path)
    if settings.hf_token:
        environment["MISTUDIO_HF_TOKEN"] = settings.hf_token.get_secret_value()
    words = ("--data-dir", str(tmp_path / "looking"), "--json", "models", "preview", repo, *more)
    done = Program("mistudio.cli", *words, environment=environment, cwd=ROOT).wait()
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_a_repository_is_seen_before_anything_large_is_fetched(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.repositories["tiny/llama"].files["README.md"] = b"---\nlicense: mit\n---\n# a card"
    status, found = look(hub, settings, tmp_path, "tiny/llama", "--batch-size", "2")
    assert status == 0, found
    model_id, job = add(settings, database)
    run_against(hub, settings, job, tmp_path)
    with database.reading() as session:
        model = library.get_model(session, model_id)
    assert found["commit"] == hub.repositories["tiny/llama"].commit and not found["gated"]
    assert (found["architecture"], found["n_layers"], found["d_model"]) == ("LlamaForCausalLM", 3, 32)
    assert found["parameters"] == model.parameters and not found["parameters_approximate"]
    assert found["memory"][0]["weights"] == 4 * model.parameters
    needed = {file["name"]: file["bytes"] for file in found["files"] if file["needed"]}
    assert needed["model.safetensors"] == len(hub.repositories["tiny/llama"].files["model.safetensors"])
    assert "training.bin" not in needed and found["bytes"] == sum(needed.values())
    assert not (tmp_path / "looking" / "models").exists()


def test_a_gated_repository_is_seen_but_says_that_it_is(
    settings: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    hub.repositories["tiny/llama"].gated = True
    status, said = look(hub, settings, tmp_path, "tiny/llama")
    assert status == 1 and "gated" in said
    with_token = settings.model_copy(update={"hf_token": SecretStr(TOKEN)})
    status, found = look(hub, with_token, tmp_path, "tiny/llama")
    assert status == 0 and found["gated"] and TOKEN not in json.dumps(found)


def test_code_and_pickles_of_a_repository_need_consent(
    settings: Any, database: Any, hub: LoopbackHub, tmp_path: Path, tiny_llama_folder: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    repository = hub.repositories["tiny/llama"]
    weights = io.BytesIO()
    torch.save(load_file(tiny_llama_folder / "model.safetensors"), weights)
    del repository.files["model.safetensors"]
    repository.files["pytorch_model.bin"] = weights.getvalue()
    config = json.loads(repository.files["config.json"])
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Own"}
    repository.files["config.json"] = json.dumps(config).encode()
    repository.files["modeling_own.py"] = (
        b"from transformers import LlamaForCausalLM\n\nclass Own(LlamaForCausalLM):\n    pass\n"
    )
    status, found = look(hub, settings, tmp_path, "tiny/llama")
    assert status == 0 and found["weights"] == "pickle"
    assert [file["name"] for file in found["code"]["files"]] == ["modeling_own.py"]

    _, job = add(settings, database)
    refused = run_against(hub, settings, job, tmp_path)
    assert refused["error"]["code"] == "pickle_weights"
    consent = {"code": found["code"]["digest"], "pickle": True}
    with database.session() as session:
        source = HubModelSource(repo="tiny/llama")
        wanted = ModelCreate.model_validate({"name": "trusted", "source": source, "consent": consent})
        model, job_row = library.add_model(session, settings, wanted)
        model_id, job = model.id, job_row.id
    done = run_against(hub, settings, job, tmp_path)
    assert "result" in done, done
    names = {path.name for path in library.model_folder(settings, model_id).iterdir()}
    assert "modeling_own.py" in names and "model.safetensors" in names
    assert not any(name.endswith(".bin") for name in names)
    # Another byte in the code, and the consent is to something else.
    repository.files["modeling_own.py"] += b"#"
    with database.session() as session:
        wanted = wanted.model_copy(update={"name": "again"})
        _, job_row = library.add_model(session, settings, wanted)
        job = job_row.id
    assert run_against(hub, settings, job, tmp_path)["error"]["code"] == "code_changed"
