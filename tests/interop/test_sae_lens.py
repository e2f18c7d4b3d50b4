"""The real `sae-lens` package as referee: our folders load there, theirs load here, with equal latents."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE as TheirSAE
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKSAE,
    TopKSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)

from mistudio.sae import (
    SAEFormatError,
    StandardConfig,
    TopKConfig,
    Trainer,
    TrainerConfig,
    load_sae,
    save_sae,
)
from tests.sae.formats.dictionaries import activations as some_activations
from tests.sae.formats.dictionaries import random_sae

D_IN, D_SAE = 24, 160
METADATA = {
    "model_name": "some-model",
    "hook_name": "blocks.6.hook_resid_post",
    "hook_head_index": None,
    "context_size": 128,
    "prepend_bos": True,
    "dataset_path": "some/texts",
}


def activations(n: int = 200, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, D_IN, generator=generator) * 4 + torch.linspace(-3, 3, D_IN)


@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("architecture", [TopKConfig(k=7), StandardConfig(l1_coefficient=1.5)])
def test_ours_loads_there(architecture: Any, centred: bool, decoder_norm: str, tmp_path: Path) -> None:
    config = TrainerConfig(
        architecture=architecture,
        d_sae=D_SAE,
        learning_rate=1e-2,
        warmup_steps=0,
        apply_b_dec_to_input=centred,
        decoder_norm=decoder_norm,
    )
    trainer = Trainer(config, D_IN)
    for seed in range(20):
        trainer.step(activations(seed=seed))
    assert trainer.activation_scale is not None and abs(trainer.activation_scale - 1) > 0.1
    ours = trainer.finish(metadata=METADATA)
    save_sae(ours, tmp_path / "sae")
    theirs = TheirSAE.load_from_disk(str(tmp_path / "sae"))
    assert theirs.cfg.architecture() == architecture.kind
    x = activations(seed=99)
    latents = theirs.encode(x)
    assert (latents > 0).any()
    torch.testing.assert_close(ours.encode(x).dense(), latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    for name, value in METADATA.items():
        assert theirs.cfg.metadata[name] == value
    again = load_sae(tmp_path / "sae")
    assert again.architecture == architecture
    assert METADATA.items() <= again.metadata.items()
    assert torch.equal(again.encode(x).dense(), ours.encode(x).dense())


def their_inference_sae(kind: str, centred: bool, rescale: bool) -> Any:
    from sae_lens.saes.sae import SAEMetadata

    common: dict[str, Any] = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "apply_b_dec_to_input": centred,
        "metadata": SAEMetadata(**METADATA),
    }
    if kind == "topk":
        sae: Any = TopKSAE(TopKSAEConfig(k=9, rescale_acts_by_decoder_norm=rescale, **common))
    else:
        sae = StandardSAE(StandardSAEConfig(**common))
    generator = torch.Generator().manual_seed(5)
    for parameter in sae.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return sae


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("kind", "rescale"), [("topk", False), ("topk", True), ("standard", False)])
def test_theirs_loads_here_and_goes_back(kind: str, rescale: bool, centred: bool, tmp_path: Path) -> None:
    theirs = their_inference_sae(kind, centred, rescale)
    theirs.save_model(str(tmp_path / "theirs"))
    ours = load_sae(tmp_path / "theirs")
    x = activations()
    torch.testing.assert_close(ours.encode(x).dense(), theirs.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    assert METADATA.items() <= ours.metadata.items()
    save_sae(ours, tmp_path / "back")
    back = TheirSAE.load_from_disk(str(tmp_path / "back"))
    torch.testing.assert_close(back.encode(x), theirs.encode(x), rtol=1e-4, atol=1e-4)
    assert back.cfg.metadata.sae_lens_version == theirs.cfg.metadata.sae_lens_version


@pytest.mark.parametrize("kind", ["topk", "standard"])
def test_their_trained_dictionary_loads_here(kind: str, tmp_path: Path) -> None:
    """As their trainer saves it, with its own record of the training in the metadata."""
    if kind == "topk":
        theirs: Any = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=9))
    else:
        theirs = StandardTrainingSAE(StandardTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE))
    theirs.b_dec.data.copy_(torch.linspace(-3, 3, D_IN))
    theirs.save_inference_model(str(tmp_path / "trained"))
    x = activations()
    ours = load_sae(tmp_path / "trained")
    torch.testing.assert_close(ours.encode(x).dense(), theirs.encode(x), rtol=1e-4, atol=1e-4)
    assert ours.metadata["training_architecture"] == kind


def test_half_precision_of_theirs(tmp_path: Path) -> None:
    theirs = their_inference_sae("topk", True, False).to(torch.bfloat16)
    theirs.save_model(str(tmp_path / "half"))
    assert json.loads((tmp_path / "half" / "cfg.json").read_text())["dtype"] == "bfloat16"
    ours = load_sae(tmp_path / "half")
    assert ours.W_enc.dtype == torch.float32
    torch.testing.assert_close(ours.W_enc, theirs.W_enc.float().T)


KINDS = ["standard", "topk", "batch_topk", "matryoshka", "jump_relu", "gated", "abs_topk", "matching_pursuit"]


@pytest.mark.parametrize("token_norm", ["none", "unit_norm", "layer_norm"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_of_ours_loads_there(kind: str, token_norm: str, tmp_path: Path) -> None:
    ours = random_sae(kind, "plain", token_norm=token_norm)
    save_sae(ours, tmp_path / "sae", format="sae_lens")
    theirs: Any = TheirSAE.load_from_disk(str(tmp_path / "sae"))
    x = some_activations()
    torch.testing.assert_close(ours.encode(x).dense(), theirs.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", ["transcoder", "skip_transcoder"])
@pytest.mark.parametrize("kind", ["standard", "jump_relu", "batch_topk", "matryoshka"])
def test_transcoders_of_ours_load_there(kind: str, shape: str, tmp_path: Path) -> None:
    ours = random_sae(kind, shape)
    save_sae(ours, tmp_path / "sae", format="sae_lens")
    theirs: Any = TheirSAE.load_from_disk(str(tmp_path / "sae"))
    assert "transcoder" in theirs.cfg.architecture()
    assert theirs.cfg.metadata.hook_name_out == "blocks.3.hook_mlp_out"
    x = some_activations()
    torch.testing.assert_close(ours.encode(x).dense(), theirs.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def a_dictionary_of_theirs(architecture: str, normalisation: str) -> Any:
    """One of SAELens' own inference classes with random weights."""
    transcoder = "transcoder" in architecture
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": 12,
        "d_sae": 40,
        "normalize_activations": normalisation,
        "apply_b_dec_to_input": not transcoder,
        "metadata": dict(METADATA),
    }
    if transcoder:
        config["d_out"] = 8
    if "topk" in architecture:
        config["k"] = 5
    if architecture == "matching_pursuit":
        config |= {"max_iterations": 6, "residual_threshold": 0.3}
    theirs: Any = TheirSAE.from_dict(config)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in theirs.named_parameters():
        values = torch.randn(parameter.shape, generator=generator) * 0.6
        parameter.data.copy_(values.abs() if name == "threshold" else values)
    if architecture == "matching_pursuit":
        theirs.W_dec.data /= theirs.W_dec.norm(dim=1, keepdim=True)
    return theirs


THEIR_ARCHITECTURES = [
    "standard",
    "gated",
    "topk",
    "abstopk",
    "jumprelu",
    "matching_pursuit",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
]


@pytest.mark.parametrize("normalisation", ["none", "constant_norm_rescale", "layer_norm"])
@pytest.mark.parametrize("architecture", THEIR_ARCHITECTURES)
def test_every_architecture_of_theirs_loads_here_and_goes_back(
    architecture: str, normalisation: str, tmp_path: Path
) -> None:
    theirs = a_dictionary_of_theirs(architecture, normalisation)
    theirs.save_model(str(tmp_path / "theirs"))
    if "transcoder" in architecture and normalisation != "none":
        with pytest.raises(SAEFormatError, match="in a transcoder: only its input would be normalised"):
            load_sae(tmp_path / "theirs")
        return
    ours = load_sae(tmp_path / "theirs")
    x = some_activations()
    torch.testing.assert_close(ours.encode(x).dense(), theirs.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.encode_dense(x), theirs.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    save_sae(ours, tmp_path / "back", format="sae_lens")
    back: Any = TheirSAE.load_from_disk(str(tmp_path / "back"))
    assert back.cfg.architecture() == architecture
    assert back.cfg.normalize_activations == normalisation
    for name, parameter in theirs.named_parameters():
        assert torch.equal(dict(back.named_parameters())[name], parameter), name


@pytest.mark.parametrize("kind", ["batch_topk", "matryoshka", "jumprelu"])
def test_their_trained_thresholds_load_here(kind: str, tmp_path: Path) -> None:
    """BatchTopK and Matryoshka as their trainers save them for inference: JumpReLU with a fitted threshold."""
    config: dict[str, Any] = {"d_in": D_IN, "d_sae": D_SAE}
    if kind == "batch_topk":
        theirs: Any = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(k=9, **config))
    elif kind == "matryoshka":
        theirs = MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(k=9, matryoshka_widths=[20, D_SAE], **config)
        )
    else:
        theirs = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**config))
    if kind != "jumprelu":
        theirs.topk_threshold.fill_(0.7)
    theirs.save_inference_model(str(tmp_path / "trained"))
    inference: Any = TheirSAE.load_from_disk(str(tmp_path / "trained"))
    ours = load_sae(tmp_path / "trained")
    assert ours.architecture.kind == "jump_relu"
    x = activations()
    torch.testing.assert_close(ours.encode(x).dense(), inference.encode(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x), inference(x), rtol=1e-4, atol=1e-4)


def test_a_hook_z_dictionary_reads_heads_side_by_side(tmp_path: Path) -> None:
    theirs: Any = TheirSAE.from_dict(
        {
            "architecture": "standard",
            "d_in": 12,
            "d_sae": 40,
            "reshape_activations": "hook_z",
            "metadata": METADATA | {"hook_name": "blocks.6.attn.hook_z"},
        }
    )
    theirs.save_model(str(tmp_path / "theirs"))
    ours = load_sae(tmp_path / "theirs")
    heads = torch.randn(50, 3, 4)
    torch.testing.assert_close(ours(heads.flatten(1)), theirs(heads).flatten(1), rtol=1e-4, atol=1e-4)
    save_sae(ours, tmp_path / "back")
    back: Any = TheirSAE.load_from_disk(str(tmp_path / "back"))
    assert back.cfg.reshape_activations == "hook_z"
