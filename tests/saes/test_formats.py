"""SAEs of every community format through the API: uploaded, imported, looked at, downloaded, refused by name."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.sae import SAE, BatchTopKConfig, SAEFormatError, StandardConfig, TopKConfig, load_sae, save_sae
from mistudio.sae.config import AbsTopKConfig, MatchingPursuitConfig
from mistudio.sae.format_info import FORMATS, Format
from mistudio.saes import archive, library
from tests.features.make_sae import HOOK
from tests.models.job_runs import run_here
from tests.sae.formats.dictionaries import random_temporal
from tests.training.conftest import tokens

__all__ = ["tokens"]
PLACE = {"hook_name": HOOK, "model_name": "tiny"}


def random_dictionary(architecture: Any = None, **shape: Any) -> SAE:
    """32 wide, as the tiny model is, with 48 random latents."""
    sae = SAE(architecture or TopKConfig(k=4), 32, 48, **{"metadata": PLACE} | shape)
    generator = torch.Generator().manual_seed(1)
    for parameter in sae.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    if sae.architecture.kind == "batch_topk":
        sae.get_buffer("threshold").fill_(4.0)
    return sae


def zipped(folder: Path, inside: str = "", **more: bytes) -> bytes:
    """A zip file of a folder, with more files by name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            out.write(path, f"{inside}{path.relative_to(folder)}")
        for name, content in more.items():
            out.writestr(name, content)
    return packed.getvalue()


def upload(api: Any, name: str, content: bytes, **fields: Any) -> Any:
    """Upload, do the job, and return the SAE as the API shows it."""
    added = api.ask("POST", "/saes/upload", 202, files={"file": (name, content)}, data=fields)
    api.work(added)
    return api.ask("GET", f"/saes/{added['id']}")


def same_latents(api: Any, shown: Any, sae: SAE) -> None:
    x = torch.randn(50, 32, generator=torch.Generator().manual_seed(2))
    stored = library.open_sae(api.settings, shown["id"])
    torch.testing.assert_close(stored.encode(x).dense(), sae.encode(x).dense(), rtol=1e-4, atol=1e-4)


CASES: dict[str, tuple[Format, Any, Callable[[Path], tuple[str, bytes]]]] = {
    "sparsify folder in a zip": (
        "sparsify",
        TopKConfig(k=4),
        lambda f: (
            "blocks.zip",
            zipped(f, "run/layers.1/", **{"run/optimizer.pt": b"a state", "run/notes.md": b"hello"}),
        ),
    ),
    "dictionary_learning folder in a zip, with earlier checkpoints": (
        "dictionary_learning",
        BatchTopKConfig(k=4),
        lambda f: (
            "t.zip",
            zipped(f, "trainer_0/", **{"trainer_0/checkpoints/ae_9.pt": (f / "ae.pt").read_bytes()}),
        ),
    ),
    "llama_scope folder in a zip, weights in a folder of their own": (
        "llama_scope",
        StandardConfig(),
        lambda f: ("l.zip", zipped(f)),
    ),
    "gemma_scope file": (
        "gemma_scope",
        StandardConfig(),
        lambda f: ("params.npz", (f / "params.npz").read_bytes()),
    ),
    "dictionary_learning file": (
        "dictionary_learning",
        StandardConfig(),
        lambda f: ("ae.pt", (f / "ae.pt").read_bytes()),
    ),
    "our own folder in a zip": ("mistudio", TopKConfig(k=4), lambda f: ("own.zip", zipped(f))),
}


@pytest.mark.parametrize("case", CASES)
def test_uploads_of_every_shape(api: Any, tiny_model: Any, tmp_path: Path, case: str) -> None:
    format, architecture, pack = CASES[case]
    sae = random_dictionary(architecture)
    save_sae(sae, tmp_path / "theirs", format=format)
    shown = upload(api, *pack(tmp_path / "theirs"), model_id=tiny_model.id, hook=HOOK)
    assert (shown["ready"], shown["d_in"], shown["d_sae"], shown["hook"]) == (True, 32, 48, HOOK)
    # without our record beside it, a ReLU dictionary in Gemma Scope's format has thresholds of 0
    alone = case == "gemma_scope file"
    assert shown["architecture"] == ("jump_relu" if alone else sae.architecture.kind)
    same_latents(api, shown, sae)
    assert not list((api.settings.data_dir / "sae_uploads").glob("*"))


def test_names_of_folders_inside_a_zip_say_where_it_belongs(
    api: Any, tiny_model: Any, tmp_path: Path
) -> None:
    save_sae(random_dictionary(StandardConfig(), metadata={}), tmp_path / "theirs", format="gemma_scope")
    (tmp_path / "theirs" / "mistudio.json").unlink(missing_ok=True)
    packed = zipped(tmp_path / "theirs", "gemma-scope-2b-pt-res/layer_2/width_16k/average_l0_82/")
    assert upload(api, "g.zip", packed)["hook"] == "blocks.2.hook_resid_post"


def test_a_hook_point_of_another_name_is_left_open(api: Any, tiny_model: Any, tmp_path: Path) -> None:
    save_sae(random_dictionary(metadata={"hook_name": "blocks.1.ln2.hook_normalized"}), tmp_path / "sae")
    shown = upload(api, "sae.zip", zipped(tmp_path / "sae"), model_id=tiny_model.id)
    assert shown["ready"] and shown["hook"] is None
    assert shown["config"]["metadata"]["hook_name"] == "blocks.1.ln2.hook_normalized"


def test_folders_and_files_on_the_server(api: Any, tiny_model: Any, tmp_path: Path) -> None:
    sae = random_dictionary(StandardConfig())
    save_sae(sae, tmp_path / "theirs", format="gemma_scope")
    for path in (tmp_path / "theirs", tmp_path / "theirs" / "params.npz"):
        added = api.ask(
            "POST", "/saes/import", 202, json={"path": str(path), "model_id": tiny_model.id, "hook": HOOK}
        )
        api.work(added)
        same_latents(api, added, sae)


def refusal(api: Any, name: str, content: bytes) -> Any:
    added = api.ask("POST", "/saes/upload", 202, files={"file": (name, content)})
    with pytest.raises(Exception) as caught:
        run_here(api.settings, api.database, added["job"]["id"])
    assert not list((api.settings.data_dir / "saes").glob("*"))
    assert not list(api.settings.data_dir.glob(".import-*"))
    error: Any = caught.value
    return error


def packed(**files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return made.getvalue()


def test_what_is_not_an_sae_is_told_what_is(api: Any) -> None:
    for name, content in (
        ("notes.txt", b"hello"),
        ("notes.zip", packed(**{"a/readme.md": b"hello"})),
        ("state.zip", packed(**{"a/x.pt": b"torn", "b/y.pt": b"torn"})),
    ):
        error = refusal(api, name, content)
        assert error.code in ("not_a_zip", "zip_without_sae") and name in error.message
        assert all(info.title in error.hint for info in FORMATS.values())
    torn = refusal(api, "params.npz", b"PK\3\4 and no more")
    assert isinstance(torn, SAEFormatError) and "params.npz" in torn.message


def test_several_saes_are_named(api: Any, tmp_path: Path) -> None:
    save_sae(random_dictionary(), tmp_path / "s" / "run" / "layers.0", format="sparsify")
    save_sae(random_dictionary(), tmp_path / "s" / "run" / "layers.1", format="sparsify")
    error = refusal(api, "run.zip", zipped(tmp_path / "s"))
    assert error.code == "zip_with_several_saes"
    assert "run/layers.0" in error.message and "run/layers.1" in error.message
    save_sae(random_dictionary(StandardConfig()), tmp_path / "c", format="circuit_tracer")
    layer = next((tmp_path / "c").glob("*.safetensors")).read_bytes()
    error = refusal(api, "layers.zip", packed(**{"layer_0.safetensors": layer, "layer_1.safetensors": layer}))
    assert "layer_0.safetensors" in error.message and "layer_1.safetensors" in error.message
    assert ".import-" not in error.message


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../up.pt", "/abs/ae.pt", "a/../../ae.pt", "..\\up.pt", "C:\\ae.pt"])
def test_a_zip_file_stays_in_its_folder(api: Any, name: str) -> None:
    assert refusal(api, "slip.zip", packed(**{"ae.pt": b"x", name: b"y"})).code == "zip_unsafe"


def test_links_and_bombs_are_refused(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        link = zipfile.ZipInfo("ae.pt")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "/etc/passwd")
    assert refusal(api, "link.zip", made.getvalue()).code == "zip_unsafe"
    bomb = refusal(api, "bomb.zip", packed(**{"ae.pt": bytes(80 << 20)}))
    assert bomb.code == "zip_too_large" and "83,886,080" in bomb.message
    many = refusal(api, "many.zip", packed(**{f"{i}.pt": b"x" for i in range(archive._MOST_FILES + 1)}))
    assert many.code == "zip_too_large"
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    full = refusal(api, "full.zip", packed(**{"ae.pt": bytes(100)}))
    assert full.code == "zip_too_large" and full.status == 507


def test_one_layer_of_our_own_format_comes_back_as_it_was(api: Any, tiny_model: Any, tmp_path: Path) -> None:
    transcoder = random_dictionary(d_out=16, skip=True, apply_b_dec_to_input=False)
    save_sae(transcoder, tmp_path / "own", format="mistudio")
    shown = upload(api, "own.zip", zipped(tmp_path / "own"))
    config = shown["config"]
    assert (config["transcoder"], config["d_out"], config["n_sites"]) == (True, 16, 1)
    weights = api.ask("GET", f"/saes/{shown['id']}/weights")
    assert sum(weights["decoder_norms"]["counts"]) == sum(weights["encoder_norms"]["counts"]) == 48
    assert weights["encoder_decoder_cosines"] is None
    assert weights["encoder_norms"]["edges"][-1] == pytest.approx(
        float(transcoder.W_enc.norm(dim=1).max()), rel=1e-5
    )
    answer = api.client.get(f"/api/v1/saes/{shown['id']}/download")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as back:
        assert back.testzip() is None
        back.extractall(tmp_path / "back")
    again = load_sae(tmp_path / "back" / "own")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), transcoder.parameters(), strict=True))


@pytest.mark.parametrize("architecture", [MatchingPursuitConfig(max_iterations=5), AbsTopKConfig(k=4)])
def test_weights_of_whatever_has_no_biases(api: Any, tmp_path: Path, architecture: Any) -> None:
    sae = random_dictionary(architecture)
    tied = architecture.kind == "matching_pursuit"
    if tied:
        sae.W_enc.copy_(sae.W_dec)
        sae.b_enc.zero_()
    save_sae(sae, tmp_path / "sae", format="sae_lens")
    shown = upload(api, "sae.zip", zipped(tmp_path / "sae"))
    weights = api.ask("GET", f"/saes/{shown['id']}/weights")
    assert sum(weights["decoder_norms"]["counts"]) == 48
    assert (weights["encoder_biases"] is None) == tied == (weights["encoder_norms"] is None)


KINDS: dict[str, Callable[[], SAE]] = {
    "transcoder": lambda: random_dictionary(
        StandardConfig(), apply_b_dec_to_input=False, metadata=PLACE | {"hook_name_out": HOOK}
    ),
    "crosscoder": lambda: SAE(
        StandardConfig(), 64, 48, n_sites=2, apply_b_dec_to_input=False, metadata={"model_name": "tiny"}
    ),
    "temporal": random_temporal,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_done_with_a_kind_is_said(
    api: Any, tiny_model: Any, tmp_path: Path, kind: str
) -> None:
    save_sae(KINDS[kind](), tmp_path / "sae")
    shown = upload(api, "sae.zip", zipped(tmp_path / "sae"))
    assert shown["ready"]
    if kind != "transcoder":
        refused = api.ask("POST", f"/saes/{shown['id']}/extractions", 400, json={})
        assert refused["code"] == "sae_not_supported" and kind in refused["detail"]
    body = {"model_id": tiny_model.id, "sae_ids": [shown["id"]]}
    refused = api.ask("POST", "/steering/sessions", 400, json=body)
    assert refused["code"] == "sae_not_supported" and kind in refused["detail"]


def test_a_head_that_saelens_keeps_beside_the_name_is_a_part_of_the_hook_point(
    api: Any, tiny_model: Any, tokens: str, tmp_path: Path
) -> None:
    n_heads = 4
    place = {"model_name": "tiny", "hook_name": "blocks.1.attn.hook_z", "hook_head_index": 2}
    dictionary = SAE(TopKConfig(k=4), 32 // n_heads, 48, metadata=place)
    dictionary.W_enc.normal_()
    dictionary.W_dec.normal_()
    save_sae(dictionary, tmp_path / "sae", format="sae_lens")
    shown = upload(api, "sae.zip", zipped(tmp_path / "sae"))
    assert shown["hook"] == "blocks.1.attn.hook_z[2]" and shown["model_id"] == tiny_model.id
    metadata = shown["config"]["metadata"]
    assert (metadata["hook_name"], metadata["hook_head_index"]) == ("blocks.1.attn.hook_z", 2)
    body = {"hook": f"blocks.1.attn.hook_z[{n_heads}]"}
    refused = api.ask("PATCH", f"/saes/{shown['id']}", 400, json=body)
    assert f"{n_heads} heads" in refused["detail"]


@pytest.mark.parametrize("d_out", [32, 16])
def test_features_of_a_transcoder_are_found_by_what_it_reads(
    api: Any, tiny_model: Any, tokens: str, tmp_path: Path, d_out: int
) -> None:
    place = {
        "hook_name": "blocks.1.hook_mlp_in",
        "hook_name_out": "blocks.1.hook_mlp_out",
        "model_name": "tiny",
    }
    sae = random_dictionary(d_out=d_out, skip=True, apply_b_dec_to_input=False, metadata=place)
    save_sae(sae, tmp_path / "sae")
    shown = upload(api, "sae.zip", zipped(tmp_path / "sae"))
    assert (shown["hook"], shown["model_id"]) == (place["hook_name"], tiny_model.id)
    wanted = {"tokenization_id": tokens, "settings": {"n_tokens": 500}}
    made = api.ask("POST", f"/saes/{shown['id']}/extractions", 202, json=wanted)
    api.work(made)
    features = api.ask("GET", f"/extractions/{made['id']}/features?limit=5&sort=-max_activation")
    assert features["total"] == 48 and features["items"][0]["max_activation"] > 0
    page = api.ask("GET", f"/extractions/{made['id']}/features/{features['items'][0]['index']}")
    assert bool(page["top_logits"]) == (d_out == 32)


def test_the_web_process_takes_and_gives_saes_without_torch(
    api: Any, tiny_model: Any, tmp_path: Path, settings: Any
) -> None:
    save_sae(random_dictionary(), tmp_path / "theirs", format="sparsify")
    content = zipped(tmp_path / "theirs")
    shown = upload(api, "one.zip", content, hook=HOOK)
    (tmp_path / "two.zip").write_bytes(content)
    code = f"""
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from mistudio.app import create_app
from mistudio.settings import LoadedSettings, Settings
settings = Settings(data_dir=Path({str(settings.data_dir)!r}), port=0)
app = create_app(LoadedSettings(settings, {{}}), migrate=False, dispatcher=lambda *_: None)
with TestClient(app, base_url="http://127.0.0.1") as client:
    content = Path({str(tmp_path / "two.zip")!r}).read_bytes()
    answers = [
        client.post("/api/v1/saes/upload", files={{"file": ("two.zip", content)}}),
        client.get("/api/v1/saes/{shown["id"]}/weights"),
        client.get("/api/v1/saes/{shown["id"]}/download"),
    ]
print([a.status_code for a in answers], sorted({{"torch", "transformers", "safetensors.torch"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[202, 200, 200] []", done.stderr
