"""The tutorial runs, and the library and the application share their dictionaries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mistudio

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_MODEL = "HuggingFaceTB/SmolLM2-135M"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Some 60 kB of English and code."""
    file = tmp_path / "text.txt"
    sources = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", *sorted(ROOT.glob("tests/*.py"))]
    file.write_text("\n\n".join(path.read_text("utf-8") for path in sources)[:60_000])
    return file


@pytest.mark.slow
def test_the_tutorial_runs(tiny_llama_folder: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = _BLOCK.findall((ROOT / "docs" / "library.md").read_text("utf-8"))
    assert len(blocks) >= 12
    assert blocks[0].count(_MODEL) == 1
    monkeypatch.chdir(text.parent)
    scope: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        code = block.replace(_MODEL, str(tiny_llama_folder))
        exec(compile(code, f"docs/library.md, block {number + 1}", "exec"), scope)


def test_slips_of_the_hand_are_told_in_one_sentence(tiny_llama_folder: Path, text: Path) -> None:
    from mistudio.engine.errors import TokensUnfit
    from mistudio.sae import SAEError
    from mistudio.store import NotWritable

    model = mistudio.load_model(tiny_llama_folder)
    assert repr(model) == f"<LanguageModel {tiny_llama_folder}, 3 layers of 32, float32 on cpu>"
    hook, texts, caches = "blocks.1.hook_resid_post", ["A text."], text.parent / "caches"
    wrong: Any = "float8"
    slips: list[tuple[Any, str]] = [
        (lambda: mistudio.harvest(model, texts, [], folder=caches), "no hook points were given"),
        (
            lambda: mistudio.harvest(model, texts, hook, folder=caches, n_tokens=0),
            "n_tokens must be at least 1",
        ),
        (
            lambda: mistudio.harvest(model, texts, hook, folder=caches, skipbos=True),
            "Did you mean 'skip_bos'",
        ),
        (lambda: mistudio.train(model, texts, hook=hook, held_out_tokens=-1), "at least 0, not -1"),
        (lambda: mistudio.train(str(caches), hook=hook), "no folder .*caches with an activation cache"),
        (lambda: mistudio.train(model, str(text), hook=hook), "is the name of a file, not a text"),
        (lambda: mistudio.evaluate(some_sae(), model, text, hook=hook), "is the name of a file, not a text"),
        (lambda: mistudio.harvest(model, texts, hook, folder=caches, dtype=wrong), "“float8” is"),
        (lambda: mistudio.harvest(model, texts * 9, hook, folder=text), "text.txt .* a file is in its way"),
        (lambda: mistudio.train(model, texts * 99, hook=hook, folder=text / "run"), "a file is in its way"),
        (lambda: mistudio.save_sae(some_sae(), text), "text.txt is a file"),
        (lambda: mistudio.save_sae(some_sae(), text / "sae"), "text.txt/sae cannot be written"),
        (lambda: mistudio.register(wrong, data_dir=text), "this is of type str"),
        (lambda: mistudio.register(some_sae(), data_dir=text), "a file is in its way"),
    ]
    refusals = (mistudio.SettingsRefused, TokensUnfit, NotWritable, SAEError)
    for slip, says in slips:
        with pytest.raises(refusals, match=says) as caught:
            slip()
        assert "\n" not in str(caught.value)
    assert not caches.exists()


def test_importing_is_instant_and_brings_no_torch() -> None:
    program = (
        "import sys, mistudio; dir(mistudio); "
        "heavy = {'torch', 'numpy', 'pydantic', 'sqlalchemy', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert set(mistudio.__all__) <= set(dir(mistudio))
    for name in mistudio.__all__:
        assert getattr(mistudio, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        mistudio.trian  # noqa: B018  # pyright: ignore


@pytest.fixture
def studio(settings: Any, metadata: Any) -> Iterator[Any]:
    """The database of a data folder as `mistudio serve` leaves it."""
    from mistudio.db import Database
    from mistudio.db.migrate import upgrade

    database = Database(settings.effective_database_url)
    upgrade(database, metadata)
    yield database
    database.dispose()


def test_one_trained_in_the_application_opens_by_id_and_name(settings: Any, studio: Any) -> None:
    from mistudio.errors import StudioError
    from mistudio.saes.library import register_sae

    sae = some_sae()
    with studio.session() as session:
        sae_id = register_sae(session, settings, sae, name="theirs").id  # what the training job does
    for name in ("theirs", sae_id):
        assert mistudio.load_sae(name, data_dir=settings.data_dir).W_dec.equal(sae.W_dec)
    with pytest.raises(StudioError, match="no data folder"):
        mistudio.load_sae("theirs", data_dir=settings.data_dir / "elsewhere")


def some_sae(**metadata: Any) -> Any:
    import torch

    from mistudio.sae import SAE, TopKConfig

    sae = SAE(TopKConfig(k=2), 8, 16, metadata=metadata)
    torch.nn.init.normal_(sae.W_dec)
    return sae


@pytest.mark.slow
def test_registering_finds_the_model_and_checks_the_hook(settings: Any, studio: Any) -> None:
    from mistudio.errors import StudioError
    from mistudio.models.tables import Model
    from mistudio.saes.tables import Sae

    data = settings.data_dir
    sae = some_sae(model_name="someone/small", hook_name="blocks.0.hook_resid_post")
    first = mistudio.register(sae, name="mine", data_dir=data)
    with studio.session() as session:
        row = session.get_one(Sae, first)
        assert (row.name, row.model_id, row.hook, row.d_sae) == ("mine", None, "blocks.0.hook_resid_post", 16)
        points = [
            {"name": f"blocks.{layer}.hook_resid_post", "layer": layer, "kind": "resid_post", "d": 8 + layer}
            for layer in range(2)
        ]
        model = Model(name="small", source={"kind": "hub"}, n_layers=2, hook_points=points, bytes=1)
        session.add(model)
        session.flush()
        model_id = model.id
    second = mistudio.register(sae, name="mine", data_dir=data)
    with studio.reading() as session:
        row = session.get_one(Sae, second)
        assert row.name == "mine 2"
        assert row.model_id == model_id
    sae.metadata["hook_name"] = "blocks.1.hook_resid_post"
    with pytest.raises(StudioError, match=r"width 8, but blocks\.1\.hook_resid_post of “small” has width 9"):
        mistudio.register(sae, data_dir=data, model="small")
    with pytest.raises(StudioError, match="no model"):
        mistudio.register(sae, data_dir=data, model="large")
    with pytest.raises(StudioError, match=r"no SAE “other”.*The newest are “mine 2”, “mine”"):
        mistudio.load_sae("other", data_dir=data)


def test_registering_makes_a_data_folder_where_there_is_none(tmp_path: Path) -> None:
    sae = some_sae()
    sae_id = mistudio.register(sae, data_dir=tmp_path / "new")
    assert sae_id.startswith("sa_")
    assert mistudio.load_sae("SAE", data_dir=tmp_path / "new").W_dec.equal(sae.W_dec)
