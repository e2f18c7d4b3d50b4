"""Every format, on every kind of dictionary: what goes in comes out, or is refused by name."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio.sae import SAE, SAEFormatError, load_sae, save_sae
from mistudio.sae.format_info import FORMATS as INFO
from mistudio.sae.formats import can_hold

from .dictionaries import ARCHITECTURES, D_IN, D_SAE, SHAPES, assert_same, random_sae, random_temporal

FORMATS = [format for format in INFO if format != "temporal"]
THRESHOLDED = {"standard", "batch_topk", "matryoshka", "jump_relu"}
CENTRING = {"plain", "uncentred"}
HOLDS: dict[str, tuple[set[str], set[str]]] = {
    "mistudio": (set(ARCHITECTURES), set(SHAPES)),
    "sae_lens": (
        set(ARCHITECTURES),
        {*CENTRING, "unit_norm", "layer_norm", "free_norms", "crosscoder"},
    ),
    "sparsify": ({"topk"}, {*CENTRING, "square_transcoder", "square_skip_transcoder"}),
    "llama_scope": (THRESHOLDED | {"topk"}, {*CENTRING, "transcoder", "square_transcoder"}),
    "dictionary_learning": (set(ARCHITECTURES) - {"abs_topk", "matching_pursuit"}, CENTRING),
    "gemma_scope": (THRESHOLDED, {*CENTRING, "free_norms", "transcoder", "square_transcoder"}),
    "gemma_scope_2": (
        THRESHOLDED,
        {*CENTRING, "free_norms"} | {name for name in SHAPES if "transcoder" in name},
    ),
    "crosscoder_learning": ({"standard", "batch_topk"}, {"crosscoder"}),
    "circuit_tracer": (
        THRESHOLDED,
        {*CENTRING, "free_norms"} | {name for name in SHAPES if "transcoder" in name},
    ),
    "openai": ({"standard"}, {*CENTRING, "free_norms"}),
    "goodfire": ({"standard"}, {*CENTRING, "free_norms"}),
    "qwen_scope": ({"topk"}, CENTRING),
    "nanda": ({"standard"}, {*CENTRING, "free_norms", "crosscoder"}),
}
ALSO = {
    ("openai", "topk", "layer_norm"),
    *(
        ("sae_lens", kind, shape)
        for kind in THRESHOLDED
        for shape in SHAPES
        if "transcoder" in shape
    ),
    # norms do not rank latents here
    *((f, k, "free_norms") for f in ("llama_scope", "dictionary_learning") for k in ("standard", "jump_relu")),
    ("dictionary_learning", "gated", "free_norms"),
}  # fmt: skip

EXCEPT = {
    ("sae_lens", kind, shape) for kind in ("topk", "abs_topk") for shape in ("free_norms", "crosscoder")
}
"""SAELens' latents would be in units of the decoder norms, ours are not."""


def possible(kind: str, shape: str) -> bool:
    """Signed and pursued latents come as plain autoencoders only."""
    return kind not in ("abs_topk", "matching_pursuit") or shape in ("plain", "unit_norm", "layer_norm")


@pytest.mark.parametrize("format", FORMATS)
def test_what_goes_in_comes_out_or_is_refused_by_name(format: Any, tmp_path: Path) -> None:
    kinds, shapes = HOLDS[format]
    for kind in ARCHITECTURES:
        for shape in SHAPES:
            if not possible(kind, shape):
                continue
            sae = random_sae(kind, shape)
            folder = tmp_path / f"{kind}-{shape}"
            case = (format, kind, shape)
            if ((kind in kinds and shape in shapes) or case in ALSO) and case not in EXCEPT:
                save_sae(sae, folder, format=format)
                again = load_sae(folder)
                assert_same(sae, again)
                assert again.architecture == sae.architecture, (kind, shape)
                assert again.metadata.items() >= sae.metadata.items()
                assert again.n_sites == sae.n_sites
                assert can_hold(format, sae)
            else:
                with pytest.raises(SAEFormatError, match=r"cannot hold|holds crosscoders only"):
                    save_sae(sae, folder, format=format)
                assert not folder.exists(), (kind, shape)
                assert not can_hold(format, sae)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_our_own_format_loses_nothing(kind: str, shape: str, tmp_path: Path) -> None:
    if not possible(kind, shape):
        shape = "plain"
    sae = random_sae(kind, shape)
    save_sae(sae, tmp_path / "sae", format="mistudio")
    again = load_sae(tmp_path / "sae")
    assert_same(sae, again, exactly=True)
    assert again.metadata == sae.metadata
    for attribute in ("architecture", "apply_b_dec_to_input", "decoder_norm", "token_norm", "n_sites"):
        assert getattr(again, attribute) == getattr(sae, attribute)
    ours = dict((*again.named_parameters(), *again.named_buffers()))
    for name, value in (*sae.named_parameters(), *sae.named_buffers()):
        assert torch.equal(ours[name], value)


@pytest.mark.parametrize("kind", ["standard", "topk", "batch_topk", "jump_relu", "gated"])
def test_sae_lens_folders_of_ours_lose_nothing(kind: str, tmp_path: Path) -> None:
    sae = random_sae(kind)
    save_sae(sae, tmp_path / "sae")
    assert_same(sae, load_sae(tmp_path / "sae"), exactly=True)


def test_a_dictionary_sae_lens_cannot_hold_is_saved_in_our_own_format(tmp_path: Path) -> None:
    sae = random_sae("topk", "skip_transcoder")
    save_sae(sae, tmp_path / "sae")
    assert (tmp_path / "sae" / "mistudio.json").exists()
    assert_same(sae, load_sae(tmp_path / "sae"), exactly=True)
    save_sae(random_sae("topk"), tmp_path / "sae")
    assert (tmp_path / "sae" / "cfg.json").exists()


def test_refusals_say_everything_that_would_be_lost() -> None:
    sae = random_sae("gated", "skip_transcoder")
    says = "The format Gemma Scope cannot hold gated dictionaries .*; nor a skip connection"
    with pytest.raises(SAEFormatError, match=says):
        save_sae(sae, "nowhere", format="gemma_scope")
    with pytest.raises(SAEFormatError, match=r"of tokens 'unit_norm' \(only with layer_norm\)"):
        save_sae(random_sae("topk", "unit_norm"), "nowhere", format="openai")
    with pytest.raises(SAEFormatError, match=r"ranked by value times decoder norm.*fold_decoder_norms"):
        save_sae(random_sae("topk", "free_norms"), "nowhere", format="sparsify")
    with pytest.raises(SAEFormatError, match=r"another width than its input \(8 instead of 12\)"):
        save_sae(random_sae("topk", "transcoder"), "nowhere", format="sparsify")
    with pytest.raises(SAEFormatError, match=r"Unknown format 'onnx'. Known: mistudio, sae_lens"):
        save_sae(sae, "nowhere", format="onnx")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "crosscoder_learning"])
def test_centring_is_converted_not_lost(format: Any, tmp_path: Path) -> None:
    """A format that always centres its input, or never does, holds the other kind by another encoder bias."""
    kind = next(k for k in ("standard", "topk") if k in HOLDS[format][0])
    for centred in (True, False):
        sae = random_sae(kind, apply_b_dec_to_input=centred)
        save_sae(sae, tmp_path / format, format=format)
        assert_same(sae, load_sae(tmp_path / format))


def test_gated_magnitudes_are_recentred_too(tmp_path: Path) -> None:
    sae = random_sae("gated", "uncentred", seed=3)
    save_sae(sae, tmp_path / "sae", format="dictionary_learning")
    again = load_sae(tmp_path / "sae")
    assert again.apply_b_dec_to_input and not sae.apply_b_dec_to_input
    assert_same(sae, again)


@pytest.mark.parametrize("format", ["gemma_scope", "gemma_scope_2", "sae_lens", "llama_scope"])
def test_without_our_record_thresholds_are_a_jump_relu(format: Any, tmp_path: Path) -> None:
    """As anybody else would find the files: the same function, under the name that the files give it."""
    sae = random_sae("batch_topk")
    save_sae(sae, tmp_path / "sae", format=format)
    if format == "sae_lens":
        config = tmp_path / "sae" / "cfg.json"
        config.write_text(re.sub(r'"mistudio": \{', '"somebody": {', config.read_text()))
    else:
        (tmp_path / "sae" / "mistudio.json").unlink()
    again = load_sae(tmp_path / "sae")
    assert again.architecture.kind == "jump_relu"
    assert_same(sae, again)


def test_a_record_that_does_not_fit_is_not_believed(tmp_path: Path) -> None:
    """Somebody changed the thresholds behind our record's back: the files win."""
    sae = random_sae("batch_topk")
    save_sae(sae, tmp_path / "sae", format="gemma_scope")
    other = random_sae("jump_relu")
    save_sae(other, tmp_path / "other", format="gemma_scope")
    (tmp_path / "other" / "params.npz").replace(tmp_path / "sae" / "params.npz")
    again = load_sae(tmp_path / "sae")
    assert again.architecture.kind == "jump_relu"
    assert_same(other, again)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("format", FORMATS)
def test_any_precision_goes_through(format: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    kinds, shapes = HOLDS[format]
    kind = "standard" if "standard" in kinds else "topk"
    sae = random_sae(kind, "crosscoder" if shapes == {"crosscoder"} else "uncentred").to(dtype)
    save_sae(sae, tmp_path / "sae", format=format)
    again = load_sae(tmp_path / "sae", dtype=dtype)
    assert again.W_enc.dtype == dtype
    torch.testing.assert_close(again.W_dec.float(), sae.W_dec.float())


def test_a_file_inside_a_folder_stands_for_it(tmp_path: Path) -> None:
    for format in FORMATS:
        kinds, shapes = HOLDS[format]
        kind = "standard" if "standard" in kinds else "topk"
        sae = random_sae(kind, "crosscoder" if shapes == {"crosscoder"} else "uncentred")
        folder = tmp_path / format
        save_sae(sae, folder, format=format)
        for file in folder.rglob("*"):
            if file.suffix in (".safetensors", ".pt", ".pth", ".npz") and file.parent == folder:
                assert_same(sae, load_sae(file))


def test_wide_and_narrow_dictionaries(tmp_path: Path) -> None:
    """Square weights, one latent, one entry: shapes that could be mistaken for each other."""
    for d_in, d_sae in ((D_IN, D_IN), (D_SAE, D_IN), (1, 7), (7, 1), (1, 1)):
        sae = SAE(ARCHITECTURES["standard"], d_in, d_sae)
        for parameter in sae.parameters():
            parameter.data.copy_(torch.randn(parameter.shape))
        for format in ("sae_lens", "dictionary_learning", "goodfire", "openai", "nanda", "mistudio"):
            save_sae(sae, tmp_path / "sae", format=format)  # type: ignore[arg-type]
            again = load_sae(tmp_path / "sae", format=format)  # type: ignore[arg-type]
            x = torch.randn(20, d_in)
            torch.testing.assert_close(again(x), sae(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", ["mistudio", "sae_lens", "temporal"])
def test_temporal_dictionaries(format: Any, tmp_path: Path) -> None:
    sae = random_temporal()
    save_sae(sae, tmp_path / "sae", format=format)
    again = load_sae(tmp_path / "sae")
    assert_same(sae, again, exactly=True)
    assert again.metadata.items() >= sae.metadata.items()
    for other in INFO:
        if other not in ("mistudio", "sae_lens", "temporal"):
            assert not can_hold(other, sae)
    assert not can_hold("temporal", random_sae("topk"))
