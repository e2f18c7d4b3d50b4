"""Training curves on the residual stream of a real model, held against those of the day they were recorded.

`python -m tests.sae.test_real_curves` records them anew in real_curves.json: do that only for a change that is meant
to alter training, and say why in its commit.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mistudio.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    StandardConfig,
    TopKConfig,
    Trainer,
    TrainerConfig,
)

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).with_name("real_curves.json")
HOOK = "blocks.6.hook_resid_post"
SEQUENCES, CONTEXT, BATCH, D_SAE = 72, 128, 512, 1536
AT = (20, 40, 60, 80)
"""Steps at which a curve is held against the recorded one: each the mean of the ten steps before it."""
ARCHITECTURES: dict[str, Any] = {
    "topk": TopKConfig(k=32),
    "batch_topk": BatchTopKConfig(k=32),
    "matryoshka": MatryoshkaConfig(k=32),
    "jump_relu": JumpReLUConfig(target_l0=32.0),
    "gated": GatedConfig(l1_coefficient=3.0),
    "standard": StandardConfig(l1_coefficient=2.0),
}


def read_activations(model_folder: Path, text: str) -> Tensor:
    """[tokens, 576] at HOOK, without first positions, in a fixed random order."""
    from mistudio.lm import harvest, load_language_model

    model = load_language_model(model_folder, device="cpu")
    ids = model.tokenizer(text)["input_ids"]
    rows = [ids[i : i + CONTEXT] for i in range(0, SEQUENCES * CONTEXT, CONTEXT)]
    found = [b.activations[HOOK][:, 1:].flatten(0, 1) for b in harvest(model, rows, [HOOK])]
    x = torch.cat(found)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]


def curve(architecture: Any, x: Tensor) -> dict[str, list[float]]:
    """FVU and L0 around the steps AT."""
    config = TrainerConfig(
        architecture=architecture,
        d_sae=D_SAE,
        batch_size=BATCH,
        total_tokens=BATCH * AT[-1],
        learning_rate=1e-3,
        warmup_steps=10,
        dead_latent_window=10_000,
    )
    trainer = Trainer(config, x.shape[1])
    whole = x[: len(x) // BATCH * BATCH].split(BATCH)
    rows = [trainer.step(whole[step % len(whole)]) for step in range(AT[-1])]
    return {
        name: [sum(getattr(row, name) for row in rows[at - 10 : at]) / 10 for at in AT]
        for name in ("fvu", "l0")
    }


@pytest.fixture(scope="module")
def activations(smollm2_folder: Path, sotu_addresses: list[Any]) -> Tensor:
    return read_activations(smollm2_folder, "\n\n".join(address.text for address in sotu_addresses[:8]))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_goes_as_it_went(name: str, activations: Tensor) -> None:
    recorded = json.loads(RECORDED.read_text("utf-8"))[name]
    now = curve(ARCHITECTURES[name], activations)
    assert now["fvu"] == pytest.approx(recorded["fvu"], rel=0.03), now
    assert now["l0"] == pytest.approx(recorded["l0"], rel=0.03), now
    assert now["fvu"][-1] < 0.6 * now["fvu"][0], "nothing was learned"


if __name__ == "__main__":
    from mistudio.demo.sources import fetch_addresses, source_cache

    addresses = fetch_addresses(source_cache())
    x = read_activations(
        source_cache() / "test-model", "\n\n".join(address.text for address in addresses[:8])
    )
    curves = {name: curve(architecture, x) for name, architecture in ARCHITECTURES.items()}
    rounded = {n: {k: [round(v, 5) for v in vs] for k, vs in c.items()} for n, c in curves.items()}
    RECORDED.write_text(json.dumps(rounded, indent=1) + "\n", "utf-8")
