"""Temporal dictionaries: SAELens' class, its folders, and the layout that the authors publish."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from sae_lens import SAE as TheirSAE
from sae_lens.loading import pretrained_sae_loaders as loaders
from safetensors.torch import save_file

from mistudio.sae import SAE, SAEError, SAEFormatError, load_sae, save_sae

D_IN, D_SAE = 12, 40


def of_theirs(**changes: Any) -> Any:
    config: dict[str, Any] = {
        "architecture": "temporal",
        "d_in": D_IN,
        "d_sae": D_SAE,
        "n_heads": 2,
        "n_attn_layers": 2,
        "bottleneck_factor": 5,
        "sae_diff_type": "topk",
        "kval_topk": 6,
        "tied_weights": True,
        "metadata": {"hook_name": "blocks.3.hook_resid_post"},
    }
    theirs: Any = TheirSAE.from_dict(config | changes)
    generator = torch.Generator().manual_seed(5)
    for parameter in theirs.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return theirs


def texts(n: int = 3, length: int = 11) -> torch.Tensor:
    return torch.randn(n, length, D_IN, generator=torch.Generator().manual_seed(1)) * 3


@torch.no_grad()
def assert_agree(ours: SAE, theirs: Any) -> None:
    x = texts()
    latents, reconstruction = theirs.encode(x), theirs(x)
    assert (latents != 0).any()
    for row, z, x_hat in zip(x, latents, reconstruction, strict=True):
        torch.testing.assert_close(ours.encode(row).dense(), z, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.encode_dense(row), z, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours(row), x_hat, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied_weights": False},
        {"sae_diff_type": "relu", "kval_topk": None},
        {"apply_b_dec_to_input": False},
        {"apply_b_dec_to_input": False, "tied_weights": False},
        {"normalize_activations": "constant_scalar_rescale", "activation_normalization_factor": 0.3},
    ],
)
def test_theirs_loads_here_and_goes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = of_theirs(**changes)
    theirs.save_model(str(tmp_path / "theirs"))
    ours = load_sae(tmp_path / "theirs")
    assert ours.architecture.kind == "temporal"
    assert ours.metadata["hook_name"] == "blocks.3.hook_resid_post"
    assert_agree(ours, theirs)
    for format in ("sae_lens", "mistudio"):
        save_sae(ours, tmp_path / format, format=format)  # type: ignore[arg-type]
        assert_agree(load_sae(tmp_path / format), theirs)
    back: Any = TheirSAE.load_from_disk(str(tmp_path / "sae_lens"))
    assert_agree(ours, back)


def test_as_their_authors_publish_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = of_theirs(tied_weights=False)
    state = source.state_dict()
    names = {"W_dec": "D", "W_enc": "E", "b_dec": "b"}
    folder = tmp_path / "layer_12" / "temporal"
    folder.mkdir(parents=True)
    save_file({names.get(k, k): v.contiguous() for k, v in state.items()}, folder / "latest_ckpt.safetensors")
    described = {
        "n_heads": 2,
        "n_attn_layers": 2,
        "bottleneck_factor": 5,
        "sae_diff_type": "topk",
        "kval_topk": 6,
        "tied_weights": False,
        "scaling_factor": 0.7,
        "exp_factor": D_SAE / D_IN,
    }
    config = {"llm": {"dimin": D_IN}, "sae": described, "data": {"dtype": "float32"}}
    (folder / "conf.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(loaders, "hf_hub_download", lambda filename, **_: str(tmp_path / filename))
    cfg, weights, _ = loaders.temporal_sae_huggingface_loader("some/repository", "layer_12/temporal")
    theirs: Any = TheirSAE.from_dict(loaders.handle_config_defaulting(cfg))
    theirs.load_state_dict(weights)
    ours = load_sae(folder)
    assert ours.metadata == {"hook_name": "blocks.12.hook_resid_post"}
    assert_agree(ours, theirs)
    save_sae(ours, tmp_path / "back", format="temporal")
    assert_agree(load_sae(tmp_path / "back"), theirs)
    for text, says in (
        ("llm: [", "not readable YAML"),
        ("a", "a YAML mapping was expected"),
        ("sae: {}\nllm: {dimin: many}", "the section sae has no n_heads, n_attn_layers"),
        ("a: &a [x, x]\nb: [*a, *a]", "has no section sae"),
        ("#" * 2**19, "larger than any configuration"),
        ("x: !!python/object/apply:os.system [ls]", "not readable YAML"),
    ):
        (folder / "conf.yaml").write_text(text)
        with pytest.raises(SAEFormatError, match=says):
            load_sae(folder)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    of_theirs().save_model(str(tmp_path / "theirs"))
    path = tmp_path / "theirs" / "cfg.json"
    config = json.loads(path.read_text())
    for changes, says in (
        ({"n_heads": 3}, "40 latents do not divide into 3 heads of a bottleneck of 5"),
        ({"n_attn_layers": 3}, "attn_layers.2"),
        ({"n_attn_layers": 10**9}, "n_layers: Input should be less"),
        ({"kval_topk": 41}, "k is 41"),
        ({"normalize_activations": "layer_norm"}, "= layer_norm in a temporal dictionary"),
    ):
        path.write_text(json.dumps(config | changes))
        with pytest.raises(SAEFormatError, match=says):
            load_sae(tmp_path / "theirs")


def test_what_a_temporal_dictionary_cannot_do_is_said(tmp_path: Path) -> None:
    of_theirs().save_model(str(tmp_path / "theirs"))
    ours = load_sae(tmp_path / "theirs")
    with pytest.raises(SAEError, match="no dense, differentiable form"):
        ours(texts()[0].requires_grad_())
    with pytest.raises(SAEError, match="cannot be rescaled"):
        ours.decoder_norm = "free"
        ours.fold_decoder_norms()
    with pytest.raises(SAEFormatError, match="cannot hold temporal dictionaries"):
        save_sae(ours, tmp_path / "x", format="gemma_scope")
