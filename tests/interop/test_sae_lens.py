"""The real `sae-lens` package as referee: our folders load there, theirs load here, with equal latents."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE as TheirSAE
from sae_lens import (
    StandardSAE,
    StandardSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKSAE,
    TopKSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)

from mistudio.sae import StandardConfig, TopKConfig, Trainer, TrainerConfig, load_sae, save_sae

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
