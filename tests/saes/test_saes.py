"""SAEs as things: registered, imported from folders and zip files, described, exported, changed, deleted."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistudio.errors import Conflict, NotFound, StudioError
from mistudio.sae import SAEFormatError, load_sae, save_sae
from mistudio.saes import archive, library, weights
from mistudio.saes.schemas import SaeChange, SaeImport
from mistudio.saes.tables import Sae
from mistudio.store import StoreError
from tests.features.make_sae import HOOK, add_sae, random_sae
from tests.models.job_runs import run_here

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An SAE's folder in SAELens' format."""
    save_sae(random_sae(), tmp_path / "an-sae")
    return tmp_path / "an-sae"


def bring(settings: Any, database: Any, path: Path, **fields: Any) -> Any:
    """Import and do the job; returns what the API shows."""
    with database.session() as session:
        sae, job = library.add_import(session, settings, SaeImport(path=str(path), **fields), any_folder=True)
    run_here(settings, database, job.id)
    return shown(database, sae.id)


def shown(database: Any, sae_id: str) -> Any:
    with database.reading() as session:
        return library.saes_out(session, [library.get_sae(session, sae_id)])[0]


def test_register(settings: Any, database: Any, tiny_model: Any) -> None:
    first = add_sae(settings, database, tiny_model.id, metrics={"fvu": 0.25, "l0": 4, "bad": float("nan")})
    second = add_sae(settings, database, tiny_model.id)
    out = shown(database, first)
    assert (out.architecture, out.d_in, out.d_sae, out.layer, out.hook) == ("topk", 32, 48, 1, HOOK)
    assert out.model_name == "tiny" and out.ready and out.bytes > 32 * 48 * 8
    assert out.metrics == {"fvu": 0.25, "l0": 4.0, "bad": None}
    assert out.config["architecture"]["k"] == 4
    assert shown(database, second).name == "random 2"
    x = torch.randn(50, 32)
    assert torch.equal(library.open_sae(settings, first).encode(x).dense(), random_sae().encode(x).dense())


def test_a_name_taken_leaves_no_folder(settings: Any, database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    add_sae(settings, database, None)
    monkeypatch.setattr(library, "choose_name", lambda *_: "random")  # a race with another server
    with pytest.raises(Conflict):
        add_sae(settings, database, None)
    assert len(list((settings.data_dir / "saes").iterdir())) == 1


@pytest.mark.parametrize("kind", ["folder", "zip", "zip-in-folder"])
def test_import(
    settings: Any, database: Any, tiny_model: Any, folder: Path, kind: str, tmp_path: Path
) -> None:
    path = folder
    if kind != "folder":
        path = tmp_path / "packed.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in folder.iterdir():
                packed.write(file, ("a/b/" if kind == "zip-in-folder" else "") + file.name)
            packed.writestr("README.md", "hello")
    out = bring(settings, database, path)
    assert out.name == path.stem and out.ready
    assert (out.model_id, out.hook, out.layer, out.d_sae) == (tiny_model.id, HOOK, 1, 48)
    assert out.origin.kind == "imported"
    x = torch.randn(50, 32)
    assert torch.equal(
        library.open_sae(settings, out.id).encode(x).dense(), load_sae(folder).encode(x).dense()
    )
    assert [p.name for p in settings.data_dir.iterdir() if p.name.startswith(".import-")] == []


@pytest.mark.slow
def test_upload_and_download(
    settings: Any, database: Any, tiny_model: Any, folder: Path, tmp_path: Path
) -> None:
    packed = b"".join(archive.zip_folder(folder))
    stored = archive.receive_upload(settings, io.BytesIO(packed), "../../Näme.zip")
    assert stored.name == "Näme.zip" and stored.is_relative_to(settings.data_dir / "sae_uploads")
    with database.session() as session:
        sae, job = library.add_upload(session, settings, stored, name="mine", hook="blocks.0.hook_resid_post")
    run_here(settings, database, job.id)
    out = shown(database, sae.id)
    assert (out.name, out.hook) == ("mine", "blocks.0.hook_resid_post")
    assert not stored.exists()
    response = archive.download(library.sae_folder(settings, sae.id), "mi/ne ✓")
    assert "filename*=UTF-8''" in response.headers["content-disposition"]
    (tmp_path / "back.zip").write_bytes(b"".join(archive.zip_folder(library.sae_folder(settings, sae.id))))
    with zipfile.ZipFile(tmp_path / "back.zip") as back:
        assert back.testzip() is None
        back.extractall(tmp_path / "back")
    from sae_lens import SAE as TheirSAE

    theirs = TheirSAE.load_from_disk(str(tmp_path / "back"))
    x = torch.randn(50, 32)
    torch.testing.assert_close(theirs.encode(x), load_sae(folder).encode(x).dense(), rtol=1e-5, atol=1e-5)


def corrupt(folder: Path, how: str) -> Path:
    weights_file, config_file = folder / WEIGHTS, folder / CONFIG
    if how == "torn weights":
        weights_file.write_bytes(weights_file.read_bytes()[:-100])
    elif how == "no weights":
        weights_file.unlink()
    elif how == "no configuration":
        config_file.unlink()
    elif how == "not JSON":
        config_file.write_text("{")
    elif how == "unknown architecture":
        config_file.write_text(json.dumps(json.loads(config_file.read_text()) | {"architecture": "mystery"}))
    elif how == "unknown files":
        weights_file.rename(folder / "weights.pt")
        config_file.unlink()
    elif how == "not finite":
        sae = random_sae()
        sae.b_dec[0] = float("inf")
        save_sae(sae, folder)
    return folder


@pytest.mark.parametrize(
    "how",
    [
        "torn weights",
        "no weights",
        "no configuration",
        "not JSON",
        "unknown architecture",
        "unknown files",
        "not finite",
    ],
)
def test_bad_files_are_named_and_leave_nothing(settings: Any, database: Any, folder: Path, how: str) -> None:
    with pytest.raises(SAEFormatError) as caught:
        bring(settings, database, corrupt(folder, how))
    assert caught.value.message
    assert not list((settings.data_dir / "saes").glob("*"))
    with database.session() as session:
        sae = session.query(Sae).one()
        assert not sae.ready
        with pytest.raises(Conflict):
            library.ready_sae(session, sae.id)
        library.delete_sae(session, settings, sae.id)


@pytest.mark.parametrize("kind", ["text", "empty", "without", "several", "broken"])
def test_bad_zip_files(settings: Any, database: Any, folder: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("readme.txt", "x" * 100)
        if kind in ("several", "broken"):
            for place in ("a", "b")[: 2 if kind == "several" else 1]:
                for file in folder.iterdir():
                    packed.write(file, f"{place}/{file.name}")
    if kind == "text":
        path.write_text("this is no zip file")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "broken":
        data = bytearray(path.read_bytes())
        data[600:620] = b"\0" * 20
        path.write_bytes(data)
    codes = {
        "text": "not_a_zip",
        "empty": "file_empty",
        "without": "zip_without_sae",
        "several": "zip_with_several_saes",
        "broken": "zip_broken",
    }
    with pytest.raises(StudioError) as caught:
        bring(settings, database, path)
    assert caught.value.code == codes[kind]


def test_where_it_belongs(
    settings: Any, database: Any, tiny_model: Any, folder: Path, tmp_path: Path
) -> None:
    sae = random_sae(d_in=31)
    save_sae(sae, tmp_path / "wide")
    with pytest.raises(StudioError) as caught:
        bring(settings, database, tmp_path / "wide")
    assert caught.value.code == "sae_does_not_fit"
    with database.session() as session, pytest.raises(StudioError) as caught:
        library.add_import(
            session,
            settings,
            SaeImport(path=str(folder), model_id=tiny_model.id, hook="blocks.9.hook_resid_post"),
            any_folder=True,
        )
    assert caught.value.code == "hook_not_found"
    with database.session() as session, pytest.raises(StudioError) as caught:
        library.add_import(session, settings, SaeImport(path="/etc"))
    assert caught.value.code == "path_not_allowed"
    nameless = random_sae()
    nameless.metadata = {}
    save_sae(nameless, tmp_path / "nameless")
    out = bring(settings, database, tmp_path / "nameless")
    assert out.ready and out.hook is None and out.model_id is None and out.layer is None
    with database.session() as session:
        library.change_sae(session, out.id, SaeChange(model_id=tiny_model.id, hook=HOOK, name="Named"))
        with pytest.raises(StudioError):
            library.change_sae(session, out.id, SaeChange(hook="blocks.7.hook_resid_post"))
    assert shown(database, out.id).layer == 1


def test_weights(settings: Any, database: Any) -> None:
    sae_id = add_sae(settings, database, None)
    sae = random_sae()
    found = weights.describe(library.sae_folder(settings, sae_id))
    counts, edges = np.histogram(sae.W_dec.norm(dim=1).double(), 40)
    assert found.decoder_norms.counts == counts.tolist()
    np.testing.assert_allclose(found.decoder_norms.edges, edges, rtol=1e-5)
    cosines = torch.nn.functional.cosine_similarity(sae.W_enc, sae.W_dec)
    assert found.encoder_decoder_cosines.edges[-1] == pytest.approx(float(cosines.max()), rel=1e-4)
    assert sum(found.encoder_norms.counts) == sum(found.encoder_biases.counts) == 48
    same = weights.histogram([2.0] * 5)
    assert same.counts == [5] and same.edges[0] < 2 < same.edges[1]
    assert weights.histogram([]).counts == [0]
    (library.sae_folder(settings, sae_id) / WEIGHTS).write_bytes(b"torn")
    with pytest.raises((StudioError, StoreError)):
        weights.describe(library.sae_folder(settings, sae_id))


def test_delete(settings: Any, database: Any) -> None:
    sae_id = add_sae(settings, database, None)
    with database.session() as session:
        assert library.delete_sae(session, settings, sae_id) == [("saes", sae_id)]
    assert not library.sae_folder(settings, sae_id).exists()
    with database.session() as session, pytest.raises(NotFound):
        library.delete_sae(session, settings, sae_id)
