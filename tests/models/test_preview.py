"""Looking at a model before it is added, and what adding it refuses, needs or changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.errors import StudioError
from mistudio.lm import LanguageModelError, load_language_model
from mistudio.models import library
from mistudio.models.remote_code import digest_of
from mistudio.models.schemas import (
    FolderModelSource,
    GgufModelSource,
    ModelConsent,
    ModelCreate,
    ModelLoading,
)
from tests.models.api import Api
from tests.models.job_runs import run_here

MODELING = """
from transformers import LlamaForCausalLM
from .configuration_house import HouseConfig

class HouseForCausalLM(LlamaForCausalLM):
    config_class = HouseConfig
"""
CONFIGURATION = """
from pathlib import Path
from transformers import LlamaConfig

Path(__file__).with_name("ran").touch()

class HouseConfig(LlamaConfig):
    model_type = "house"
"""


@pytest.fixture
def pickled(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    """The tiny Llama with its weights as PyTorch's own file only."""
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(tiny_llama_folder, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    torch.save({"lr": 1}, folder / "training_args.bin")
    return folder


@pytest.fixture
def coded(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    """The tiny Llama as an architecture that only its own code knows."""
    folder = tmp_path / "coded"
    shutil.copytree(tiny_llama_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "house",
        "architectures": ["HouseForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_house.HouseConfig",
            "AutoModelForCausalLM": "modeling_house.HouseForCausalLM",
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_house.py").write_text(MODELING)
    (folder / "configuration_house.py").write_text(CONFIGURATION)
    return folder


def look(api: Api, path: Path, kind: str = "folder", expect: int = 200, **use: int) -> Any:
    wanted = {"source": {"kind": kind, "path": str(path)}} | use
    return api.ask("POST", "/models/preview", expect, json=wanted)


def add(api: Api, folder: Path, **wanted: Any) -> Any:
    with api.database.session() as session:
        create = ModelCreate(source=FolderModelSource(path=str(folder)), **wanted)
        model, job = library.add_model(session, api.settings, create, any_folder=True)
    run_here(api.settings, api.database, job.id)
    return api.ask("GET", f"/models/{model.id}")


def test_a_folder_is_seen_as_it_is(api: Api, tiny_llama_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    shutil.copytree(tiny_llama_folder, folder)
    (folder / "notes.pdf").write_bytes(b"x" * 10)
    found = look(api, folder, batch_size=2, context_length=64)
    model = load_language_model(tiny_llama_folder, device="cpu")
    parameters = sum(p.numel() for p in model.hf.parameters())
    assert (found["name"], found["architecture"], found["weights"]) == (
        "seen",
        "LlamaForCausalLM",
        "safetensors",
    )
    assert (found["n_layers"], found["d_model"], found["vocab_size"], found["context_length"]) == (
        3,
        32,
        512,
        256,
    )
    assert found["parameters"] == parameters and not found["parameters_approximate"]
    assert sum(found["stored_as"].values()) >= parameters and set(found["stored_as"]) == {"F32"}
    files = {file["name"]: file for file in found["files"]}
    assert files["model.safetensors"]["needed"] and not files["notes.pdf"]["needed"]
    assert found["bytes"] == sum(f["bytes"] for f in found["files"] if f["needed"])
    assert found["code"] is None and found["bytes_free"] > 0
    assert api.ask("GET", "/models")["total"] == 0, "looking adds nothing"
    memory = {one["dtype"]: one for one in found["memory"]}
    assert list(memory) == ["float32", "bfloat16", "float16", "int8", "int4"]
    assert memory["float32"]["weights"] == 4 * parameters == 2 * memory["float16"]["weights"]
    # 2 (K and V) × 3 layers × 2 heads × 8 numbers × 4 bytes × 2 texts × 64 tokens
    assert memory["float32"]["kv_cache"] == 2 * 3 * 2 * 8 * 4 * 2 * 64
    assert f"{parameters:,} parameters × 4 bytes" in memory["float32"]["formulas"]["weights"]
    embedding = 512 * 32 * 2
    assert memory["int8"]["weights"] == (parameters - embedding) + 2 * embedding
    for one in memory.values():
        assert one["total"] == one["weights"] + one["activations"] + one["kv_cache"] + one["logits"]
        assert set(one["formulas"]) == {"weights", "activations", "kv_cache", "logits", "total"}


def test_the_forecast_of_an_added_model_is_that_of_its_preview(
    api: Api, tiny_model: Any, tiny_llama_folder: Path
) -> None:
    before = look(api, tiny_llama_folder, batch_size=3, context_length=50, expect=403)
    assert before["code"] == "path_not_allowed"
    folder = library.model_folder(api.settings, tiny_model.id)
    before = look(api, folder, batch_size=3, context_length=50)["memory"]
    after = api.ask("GET", f"/models/{tiny_model.id}/memory/all?batch_size=3&context_length=50")
    for one in (*before, *after):
        one.pop("available")
    assert before == after


def test_a_gguf_file_is_seen_and_becomes_safetensors(
    api: Api, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    from tests.lm.test_load import write_gguf

    write_gguf(tmp_path / "tiny.gguf", tiny_llama_folder)
    found = look(api, tmp_path / "tiny.gguf", "gguf", batch_size=1)
    plain = look(api, library.model_folder(api.settings, add(api, tiny_llama_folder)["id"]), batch_size=1)
    assert (found["name"], found["weights"], found["model_type"]) == ("tiny", "gguf", "llama")
    for same in (
        "parameters",
        "n_layers",
        "d_model",
        "vocab_size",
        "context_length",
        "parameters_approximate",
    ):
        assert found[same] == plain[same], same
    for ours, theirs in zip(found["memory"], plain["memory"], strict=True):
        assert ours["formulas"] == theirs["formulas"] and ours["total"] == theirs["total"]
    with api.database.session() as session:
        wanted = ModelCreate(source=GgufModelSource(path=str(tmp_path / "tiny.gguf")))
        model, job = library.add_model(session, api.settings, wanted)
    run_here(api.settings, api.database, job.id)
    shown = api.ask("GET", f"/models/{model.id}")
    assert shown["ready"] and shown["hook_report"]["passed"] and shown["parameters"] == found["parameters"]
    names = {path.name for path in library.model_folder(api.settings, model.id).iterdir()}
    assert "model.safetensors" in names and not any(name.endswith(".gguf") for name in names)


def test_what_cannot_be_added_is_said_at_the_look(api: Api, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert look(api, tmp_path / "empty", expect=400)["code"] == "no_weights"
    (tmp_path / "x.gguf").write_bytes(b"not one")
    assert look(api, tmp_path / "x.gguf", "gguf", expect=400)["code"] == "corrupt_weights"
    assert look(api, tmp_path / "none", expect=400)["code"] == "path_not_found"
    unreachable = {"source": {"kind": "hub", "repo": "a/b/c"}}
    assert api.ask("POST", "/models/preview", 422, json=unreachable)["fields"]


def test_pickles_are_refused_until_consented_and_then_become_safetensors(
    api: Api, pickled: Path, tiny_llama_folder: Path
) -> None:
    found = look(api, pickled)
    assert found["weights"] == "pickle" and found["parameters_approximate"]
    assert found["parameters"] == pytest.approx(
        sum(p.numel() for p in load_language_model(tiny_llama_folder, device="cpu").hf.parameters()), rel=0.1
    )
    needed = {file["name"] for file in found["files"] if file["needed"]}
    assert "pytorch_model.bin" in needed and "training_args.bin" not in needed
    with pytest.raises(LanguageModelError, match="pickle") as refused:
        add(api, pickled)
    assert "consent" in refused.value.hint
    model = add(api, pickled, name="unpickled", consent=ModelConsent(pickle=True))
    folder = library.model_folder(api.settings, model["id"])
    assert {p.suffix for p in folder.iterdir()} & {".bin", ".pt"} == set()
    ours, theirs = (
        load_language_model(place, device="cpu").hf.state_dict() for place in (folder, tiny_llama_folder)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_pickle_that_would_run_code_does_not(api: Api, pickled: Path, tmp_path: Path) -> None:
    import pickle

    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (pickled / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Attack()}))
    with pytest.raises(LanguageModelError):
        add(api, pickled, consent=ModelConsent(pickle=True))
    assert not (tmp_path / "ran").exists()


def test_code_runs_only_with_consent_to_exactly_these_files(api: Api, coded: Path) -> None:
    found = look(api, coded)
    files = {file["name"]: file["text"] for file in found["code"]["files"]}
    assert files == {"configuration_house.py": CONFIGURATION, "modeling_house.py": MODELING}
    digest = found["code"]["digest"]
    assert digest == digest_of({name: text.encode() for name, text in files.items()})
    with pytest.raises(LanguageModelError, match="own code") as refused:
        add(api, coded)
    assert refused.value.code == "unsupported_architecture" and "consent" in refused.value.hint
    with pytest.raises(StudioError) as changed:
        add(api, coded, consent=ModelConsent(code="0" * 64))
    assert changed.value.code == "code_changed"

    model = add(api, coded, name="trusted", consent=ModelConsent(code=digest))
    assert model["architecture"] == "HouseForCausalLM" and model["hook_report"]["passed"]
    assert library.open_model(api.settings, model["id"], device="cpu").n_layers == 3
    # Whatever changes the files afterwards, they do not run.
    script = library.model_folder(api.settings, model["id"]) / "modeling_house.py"
    script.write_text(script.read_text() + "\nraise SystemExit\n")
    with pytest.raises(StudioError) as tampered:
        library.open_model(api.settings, model["id"], device="cpu")
    assert tampered.value.code == "code_changed"


def test_how_a_model_is_loaded_is_a_setting_that_acts(api: Api, tiny_llama_folder: Path) -> None:
    model = add(api, tiny_llama_folder, loading=ModelLoading(dtype="bfloat16"))
    assert model["loading"] == {"dtype": "bfloat16", "quantization": "none", "device": "auto"}
    assert model["dtype"] == "float32", "the files stay as they are"
    assert library.open_model(api.settings, model["id"], device="cpu").dtype == torch.bfloat16
    loading = {"dtype": "float32", "quantization": "none", "device": "cpu"}
    changed = api.ask("PATCH", f"/models/{model['id']}", json={"loading": loading})
    assert changed["loading"] == loading and changed["name"] == model["name"]
    opened = library.open_model(api.settings, model["id"])
    assert (opened.dtype, opened.device.type) == (torch.float32, "cpu")
    refused = api.ask("PATCH", f"/models/{model['id']}", 400, json={"loading": loading | {"device": "cuda"}})
    assert refused["code"] == "loading_impossible" and "loading.device" in refused["fields"]
    with pytest.raises(StudioError) as early:
        add(api, tiny_llama_folder, loading=ModelLoading(device="cuda"))
    assert early.value.code == "loading_impossible"


def test_the_tree_configuration_and_self_test_of_an_added_model(api: Api, tiny_model: Any) -> None:
    tree = api.ask("GET", f"/models/{tiny_model.id}/modules")
    assert tree["kind"] == "LlamaForCausalLM" and tree["parameters"] == tiny_model.parameters
    found = api.ask("GET", f"/models/{tiny_model.id}/configuration")
    assert found["config"]["hidden_size"] == 32 and found["chat_template"] is None
    assert [(t["id"], t["text"], t["roles"]) for t in found["special_tokens"]] == [
        (0, "<s>", ["bos"]),
        (1, "</s>", ["eos"]),
        (2, "<pad>", ["pad"]),
    ]
    shown = api.ask("GET", f"/models/{tiny_model.id}")
    assert shown["hook_report"]["passed"]
    assert {one["kind"]: one["verdict"] for one in shown["hook_report"]["verdicts"]}["resid_mid"] == "exact"
    # A model of an older version knows neither: testing it again finds both.
    with api.database.session() as session:
        row = library.get_model(session, tiny_model.id)
        row.modules = row.hook_report = None
    assert api.ask("GET", f"/models/{tiny_model.id}/modules", 409)["code"] == "modules_unknown"
    job = api.ask("POST", f"/models/{tiny_model.id}/verify", 202)
    assert api.ask("POST", f"/models/{tiny_model.id}/verify", 409)["code"] == "verifying"
    result, reports = run_here(api.settings, api.database, job["id"])
    assert result == {"passed": True}
    passes = [p for p in reports.progress if p["stage"] == "Test the hook points"]
    assert passes[-1]["done"] == passes[-1]["total"]
    assert api.ask("GET", f"/models/{tiny_model.id}/modules") == tree
