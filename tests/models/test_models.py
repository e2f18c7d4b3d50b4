"""Adding, looking at and deleting models, through the real job work and real files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.jobs import JobCancelled
from mistudio.lm import ModelLoadError
from mistudio.models import library
from mistudio.models.schemas import (
    FolderModelSource,
    GgufModelSource,
    HubModelSource,
    ModelChange,
    ModelCreate,
)
from mistudio.models.tables import Model
from mistudio.settings import Settings
from tests.models.conftest import add_tiny
from tests.models.job_runs import run_here


def left_behind(data_dir: Path) -> list[str]:
    """Files of models in the data folder, hidden ones too."""
    folder = data_dir / "models"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def add(settings: Settings, database: Any, source: Any, *, any_folder: bool = True) -> tuple[str, str]:
    with database.session() as session:
        model, job = library.add_model(session, settings, ModelCreate(source=source), any_folder=any_folder)
        return model.id, job.id


def test_a_folder_becomes_a_described_model(settings: Any, database: Any, tiny_model: Any) -> None:
    assert tiny_model.ready
    assert tiny_model.architecture == "LlamaForCausalLM"
    assert (tiny_model.n_layers, tiny_model.d_model, tiny_model.vocab_size) == (3, 32, 512)
    assert tiny_model.context_length == 256
    assert tiny_model.dtype == "float32"
    model = library.open_model(settings, tiny_model)
    assert tiny_model.parameters == sum(p.numel() for p in model.hf.parameters())
    names = [point["name"] for point in tiny_model.hook_points]
    assert "blocks.0.hook_resid_pre" in names and "blocks.2.hook_resid_post" in names
    assert {point["d"] for point in tiny_model.hook_points} == {32}
    folder = library.model_folder(settings, tiny_model.id)
    assert tiny_model.bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert not tiny_model.has_chat_template


def test_progress_counts_the_copied_bytes(settings: Any, database: Any, tiny_llama_folder: Path) -> None:
    _, job = add(settings, database, FolderModelSource(path=str(tiny_llama_folder)))
    _, reports = run_here(settings, database, job)
    copied = [p for p in reports.progress if p["stage"] == "Copy"]
    assert copied[-1]["done"] == copied[-1]["total"] > 0
    assert copied[-1]["unit"] == "bytes"


def test_cancelling_leaves_nothing(settings: Any, database: Any, tiny_llama_folder: Path) -> None:
    model_id, job = add(settings, database, FolderModelSource(path=str(tiny_llama_folder)))

    def cancel(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Copy":
            asked.cancel.set()

    with pytest.raises(JobCancelled):
        run_here(settings, database, job, on_progress=cancel)
    assert left_behind(settings.data_dir) == []
    with database.reading() as session:
        assert not library.get_model(session, model_id).ready


def test_deleting_while_it_is_added_leaves_nothing(
    settings: Any, database: Any, tiny_llama_folder: Path
) -> None:
    model_id, job = add(settings, database, FolderModelSource(path=str(tiny_llama_folder)))

    def delete(progress: dict[str, Any], asked: Any) -> None:
        if progress["stage"] == "Load and look":
            with database.session() as session:
                library.delete_model(session, settings, model_id)

    with pytest.raises((JobCancelled, NotFound)):
        run_here(settings, database, job, on_progress=delete)
    assert left_behind(settings.data_dir) == []


def _without(folder: Path, target: Path, *names: str) -> Path:
    shutil.copytree(folder, target)
    for name in names:
        (target / name).unlink()
    return target


@pytest.mark.parametrize(
    ("break_it", "code", "says"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "no_weights", "weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickle_weights", "pickle"),
        (lambda f: (f / "config.json").unlink(), "no_config", "config.json"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
            "corrupt_weights",
            "bytes long",
        ),
        (lambda f: (f / "tokenizer.json").unlink(), "no_tokenizer", "tokenizer"),
        (
            lambda f: (f / "config.json").write_text(json.dumps({"model_type": "no-such-kind"})),
            "unsupported_architecture",
            "no-such-kind",
        ),
        (
            lambda f: (f / "config.json").write_text(json.dumps({"model_type": "t5", "num_layers": 1})),
            "unsupported_architecture",
            "t5",
        ),
    ],
)
def test_a_faulty_folder_is_named_and_nothing_stays(
    settings: Any, database: Any, tiny_llama_folder: Path, tmp_path: Path, break_it: Any, code: str, says: str
) -> None:
    folder = _without(tiny_llama_folder, tmp_path / "broken")
    break_it(folder)
    _, job = add(settings, database, FolderModelSource(path=str(folder)))
    with pytest.raises((StudioError, ModelLoadError)) as caught:
        run_here(settings, database, job)
    error: Any = caught.value
    assert error.code == code
    assert says in error.message
    assert error.hint
    assert left_behind(settings.data_dir) == []


def test_a_file_that_is_no_gguf_is_refused(settings: Any, database: Any, tmp_path: Path) -> None:
    fake = tmp_path / "model.gguf"
    fake.write_bytes(b"not a gguf at all")
    _, job = add(settings, database, GgufModelSource(path=str(fake)))
    with pytest.raises(ModelLoadError) as caught:
        run_here(settings, database, job)
    assert "model.gguf" in caught.value.message
    assert left_behind(settings.data_dir) == []


def test_paths_that_are_wrong_are_refused_at_once(settings: Any, database: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").write_bytes(b"")
    for source, code in (
        (FolderModelSource(path=str(tmp_path / "missing")), "path_not_found"),
        (FolderModelSource(path=str(tmp_path / "empty.gguf")), "not_a_folder"),
        (GgufModelSource(path=str(tmp_path)), "not_a_file"),
        (GgufModelSource(path=str(tmp_path / "empty.gguf")), "file_empty"),
        (FolderModelSource(path="nul\0byte"), "path_not_found"),
    ):
        with pytest.raises(StudioError) as caught:
            add(settings, database, source)
        assert caught.value.code == code
    with database.reading() as session:
        assert session.query(Model).count() == 0


def test_the_web_reads_only_below_the_import_folders(
    settings: Any, database: Any, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(tiny_llama_folder)
    narrow = settings.model_copy(update={"import_folders": [allowed]})
    for path in (tiny_llama_folder, allowed / "link", allowed / ".." / "elsewhere"):
        with pytest.raises(StudioError) as caught:
            add(narrow, database, FolderModelSource(path=str(path)), any_folder=False)
        assert caught.value.code == "path_not_allowed"
        assert caught.value.status == 403
    shutil.copytree(tiny_llama_folder, allowed / "model")
    add(narrow, database, FolderModelSource(path=str(allowed / "model")), any_folder=False)
    with pytest.raises(StudioError):
        add(
            settings.model_copy(update={"import_folders": []}),
            database,
            FolderModelSource(path=str(allowed / "model")),
            any_folder=False,
        )


def test_names_are_unique(settings: Any, database: Any, tiny_llama_folder: Path) -> None:
    source = FolderModelSource(path=str(tiny_llama_folder))
    with database.session() as session:
        first, _ = library.add_model(session, settings, ModelCreate(source=source), any_folder=True)
        second, _ = library.add_model(session, settings, ModelCreate(source=source), any_folder=True)
        assert second.name == f"{first.name} 2"
    with pytest.raises(Conflict) as caught, database.session() as session:
        library.add_model(session, settings, ModelCreate(name=first.name, source=source), any_folder=True)
    assert caught.value.code == "name_taken"
    with database.session() as session:
        same = library.change_model(session, settings, second.id, ModelChange(name=second.name))
        assert same.name == second.name
        with pytest.raises(Conflict):
            library.change_model(session, settings, second.id, ModelChange(name=first.name))


def test_a_model_that_is_not_complete_is_not_used(settings: Any, database: Any) -> None:
    model_id, _ = add(settings, database, HubModelSource(repo="a/b"))
    with database.reading() as session:
        with pytest.raises(Conflict):
            library.ready_model(session, model_id)
        with pytest.raises(NotFound):
            library.get_model(session, "md_none")


def test_deleting_removes_the_folder_after_the_commit(settings: Any, database: Any, tiny_model: Any) -> None:
    folder = library.model_folder(settings, tiny_model.id)
    with pytest.raises(RuntimeError), database.session() as session:
        library.delete_model(session, settings, tiny_model.id)
        raise RuntimeError("rolled back")
    assert folder.is_dir()
    with database.session() as session:
        library.delete_model(session, settings, tiny_model.id)
        assert folder.is_dir()
    assert not folder.exists()
    with database.reading() as session, pytest.raises(NotFound):
        library.get_model(session, tiny_model.id)


def test_an_interrupted_attempt_is_swept_and_done_again(
    settings: Any, database: Any, tiny_llama_folder: Path
) -> None:
    model_id, job = add(settings, database, FolderModelSource(path=str(tiny_llama_folder)))
    folder = library.model_folder(settings, model_id)
    stale = folder.parent / f".part-dead-{folder.name}"
    stale.mkdir(parents=True)
    (stale / "model.safetensors").write_bytes(b"half")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    run_here(settings, database, job)
    assert left_behind(settings.data_dir) == [model_id]
    library.open_model(settings, model_id)


def test_memory_forecast_adds_up(settings: Any, tiny_model: Any) -> None:
    full = library.forecast_memory(settings, tiny_model, dtype="float32", batch_size=4, context_length=64)
    half = library.forecast_memory(settings, tiny_model, dtype="float16", batch_size=4, context_length=64)
    assert full.weights == 4 * tiny_model.parameters == 2 * half.weights
    assert full.total == full.weights + full.activations + full.kv_cache + full.logits
    # 2 (K and V) × 3 layers × 2 heads × 8 values × 4 bytes × tokens
    assert full.kv_cache == 2 * 3 * 2 * 8 * 4 * 4 * 64
    double = library.forecast_memory(settings, tiny_model, dtype="float32", batch_size=8, context_length=64)
    assert double.activations == 2 * full.activations


@pytest.mark.slow
def test_the_real_model_is_what_its_card_says(settings: Any, database: Any, smollm2_folder: Path) -> None:
    model = add_tiny(settings, database, smollm2_folder, "smollm2")
    assert (model.n_layers, model.d_model, model.vocab_size) == (30, 576, 49152)
    assert model.parameters == 134_515_008
    assert model.has_chat_template
    assert len(model.hook_points) == 30 * 7
