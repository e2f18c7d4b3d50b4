"""Torn, foreign and malicious folders are refused by name; a folder is written whole or not at all."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mistudio.sae import SAE, SAEFormatError, StandardConfig, TopKConfig, load_sae, save_sae

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"


def random_sae(architecture: Any = None) -> SAE:
    sae = SAE(
        architecture or TopKConfig(k=2, aux_k=5), 6, 10, metadata={"hook_name": "blocks.1.hook_mlp_out"}
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in sae.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return sae


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_sae(random_sae(), tmp_path / "sae")
    return tmp_path / "sae"


@pytest.mark.parametrize(
    "architecture", [TopKConfig(k=3), StandardConfig(l1_coefficient=2, l1_warmup_steps=9)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip(architecture: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    sae = random_sae(architecture).to(dtype)
    sae.metadata |= {"reshape_activations": "hook_z", "note": {"nested": [1, 2]}}
    save_sae(sae, tmp_path / "sae")
    again = load_sae(tmp_path / "sae", dtype=dtype)
    assert again.architecture == sae.architecture
    assert sae.metadata.items() <= again.metadata.items()
    assert again.apply_b_dec_to_input == sae.apply_b_dec_to_input
    for name, parameter in sae.named_parameters():
        assert torch.equal(parameter, dict(again.named_parameters())[name])
    assert json.loads((tmp_path / "sae" / CONFIG).read_text())["reshape_activations"] == "hook_z"


def change(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "resnet"}, r"'resnet', which is not supported. Supported: standard, gated, topk"),
        ({"architecture": "batchtopk"}, r"a checkpoint of a batchtopk training.*save_inference_model"),
        ({"architecture": ["topk"]}, r"names no architecture \(found \"\['topk'\]\"\)"),
        ({"architecture": "gated"}, r"holds W_dec, W_enc, b_dec, b_enc; expected .*b_gate"),
        ({"normalize_activations": "expected_average_only_in"}, "normalize_activations = expected_average"),
        ({"normalize_activations": "covariance_whitening"}, "normalize_activations = covariance_whitening"),
        ({"architecture": "transcoder"}, "d_out must be a whole number"),
        ({"d_in": 7}, r"W_dec is \[10, 6\].*\[10, 7\]|W_enc is \[6, 10\].*\[7, 10\]"),
        ({"d_sae": "ten"}, "d_sae must be a whole number of at least 1, not 'ten'"),
        ({"d_sae": 10**30}, r"d_sae makes|cfg.json makes it"),
        ({"k": 0}, "k: Input should be greater"),
        ({"k": None}, "k: Input should be a valid integer"),
        ({"k": 11}, "k is 11, but the dictionary has only 10 latents"),
        ({"metadata": []}, "not a SAELens configuration"),
    ],
)
def test_configurations_that_cannot_be_read(changes: dict[str, Any], says: str, folder: Path) -> None:
    change(folder, **changes)
    with pytest.raises(SAEFormatError, match=says):
        load_sae(folder)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"W_enc": None}, "holds W_dec, b_dec, b_enc; expected"),
        ({"b_gate": torch.zeros(10)}, "holds .*b_gate"),
        ({"b_enc": torch.zeros(11)}, r"b_enc is \[11\], but cfg.json makes it \[10\]"),
        ({"b_enc": torch.full((10,), float("nan"))}, "b_enc holds values that are not finite"),
        ({"b_dec": torch.zeros(6, dtype=torch.int64)}, "b_dec holds int64, not real numbers"),
        ({"scaling_factor": torch.full((10,), 2.0)}, r"scaling_factor \(a finetuning scale\)"),
    ],
)
def test_weights_that_cannot_be_used(tensors: dict[str, Any], says: str, folder: Path) -> None:
    weights = load_file(folder / WEIGHTS) | tensors
    save_file({k: v for k, v in weights.items() if v is not None}, folder / WEIGHTS)
    with pytest.raises(SAEFormatError, match=says):
        load_sae(folder)


def test_folders_that_are_no_dictionary(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SAEFormatError, match="There is no file or folder"):
        load_sae(tmp_path / "nowhere")
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.bin").write_bytes(b"?")
    with pytest.raises(SAEFormatError, match=r"found: model\.bin.*Known: .*SAELens"):
        load_sae(other)
    (folder / WEIGHTS).rename(tmp_path / "kept")
    with pytest.raises(SAEFormatError, match=f"has {CONFIG} but no {WEIGHTS}"):
        load_sae(folder)
    (tmp_path / "kept").rename(folder / WEIGHTS)
    (folder / CONFIG).unlink()
    with pytest.raises(SAEFormatError, match=f"has {WEIGHTS} but no {CONFIG}"):
        load_sae(folder)


def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (marker,))

    (folder / WEIGHTS).write_bytes(pickle.dumps(Payload()))
    with pytest.raises(SAEFormatError, match="not a safetensors file"):
        load_sae(folder)
    assert not marker.exists()


@given(cut=st.floats(0, 0.999), which=st.sampled_from([CONFIG, WEIGHTS]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused_by_name(cut: float, which: str, folder: Path) -> None:
    whole = (folder / which).read_bytes()
    (folder / which).write_bytes(whole[: int(len(whole) * cut)])
    try:
        with pytest.raises(SAEFormatError, match=which):
            load_sae(folder)
    finally:
        (folder / which).write_bytes(whole)


@given(junk=st.binary(max_size=400), which=st.sampled_from([CONFIG, WEIGHTS]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_junk_is_refused(junk: bytes, which: str, folder: Path) -> None:
    whole = (folder / which).read_bytes()
    (folder / which).write_bytes(junk)
    try:
        with pytest.raises(SAEFormatError):
            load_sae(folder)
    finally:
        (folder / which).write_bytes(whole)


def test_writing_replaces_whole_and_leaves_nothing_half_made(folder: Path, tmp_path: Path) -> None:
    (folder / "stale").write_text("old")
    save_sae(random_sae(StandardConfig()), folder)
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, WEIGHTS]
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    unwritable = random_sae()
    unwritable.metadata["object"] = object()
    with pytest.raises(SAEFormatError, match="metadata cannot be written as JSON"):
        save_sae(unwritable, folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["sae"]


def before_version_6(folder: Path, **changes: Any) -> None:
    """Rewrite cfg.json as SAELens 3 to 5 wrote it."""
    config = json.loads((folder / CONFIG).read_text())
    old = {key: config[key] for key in ("d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input")}
    old |= {"hook_name": "blocks.1.hook_mlp_out", "model_name": "gpt2", "hook_layer": 1, "context_size": 64}
    (folder / CONFIG).write_text(json.dumps(old | changes))


def test_layouts_older_than_6(folder: Path) -> None:
    x = torch.randn(20, 6)
    expected = load_sae(folder).encode(x).dense()
    arguments = {
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 2},
        "normalize_activations": False,
    }
    before_version_6(folder, **arguments)
    again = load_sae(folder)
    assert again.architecture.kind == "topk"
    assert torch.equal(again.encode(x).dense(), expected)
    assert again.metadata["hook_name"] == "blocks.1.hook_mlp_out"
    assert again.metadata["model_name"] == "gpt2" and again.metadata["prepend_bos"] is True
    before_version_6(folder, hook_point="blocks.1.attn.hook_z", hook_name="blocks.1.attn.hook_z")
    again = load_sae(folder)
    assert again.architecture.kind == "standard"
    assert again.metadata["reshape_activations"] == "hook_z"
    before_version_6(folder, activation_fn_str="tanh-relu")
    with pytest.raises(SAEFormatError, match="activation function 'tanh-relu'"):
        load_sae(folder)


def test_a_scale_of_activations_beside_the_folder_is_folded_in(folder: Path) -> None:
    """As their trainer's checkpoints have it, before the scale is part of the weights."""
    before = load_sae(folder)
    change(folder, normalize_activations="expected_average_only_in")
    (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.5}))
    x = torch.randn(20, 6)
    after = load_sae(folder)
    torch.testing.assert_close(after.encode(x).dense(), before.encode(x * 0.5).dense())
    torch.testing.assert_close(after(x), before(x * 0.5) / 0.5)
