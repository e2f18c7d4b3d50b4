"""Training curves on the residual stream of a real model, held against those of the day they were recorded.

`python -m tests.sae.test_real_curves` records them anew in real_curves.json: do that only for a change that is meant
to alter training, and say why in its commit.
"""

import json
from dataclasses import dataclass
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
BEFORE, MLP_IN, MLP_OUT = "blocks.5.hook_resid_post", "blocks.6.hook_mlp_in", "blocks.6.hook_mlp_out"
SEQUENCES, CONTEXT = 72, 128
ARCHITECTURES: dict[str, Any] = {
    "topk": TopKConfig(k=32),
    "batch_topk": BatchTopKConfig(k=32),
    "matryoshka": MatryoshkaConfig(k=32),
    "jump_relu": JumpReLUConfig(target_l0=32.0),
    "gated": GatedConfig(l1_coefficient=3.0),
    "standard": StandardConfig(l1_coefficient=2.0),
}
PENALTIES: dict[str, Any] = {
    "jump_relu tanh": JumpReLUConfig(target_l0=32.0, penalty="tanh"),
    "standard sqrt": StandardConfig(l1_coefficient=2.0, penalty="sqrt"),
    "standard tanh": StandardConfig(l1_coefficient=2.0, penalty="tanh"),
    "standard p_anneal": StandardConfig(l1_coefficient=2.0, penalty="p_anneal"),
}
TRANSCODING = ARCHITECTURES | {
    "gated": GatedConfig(l1_coefficient=0.5),
    "standard": StandardConfig(l1_coefficient=0.3),
}
"""With the coefficients of a residual stream, what writes an MLP's output falls silent."""
Activations = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One training. Its curve is looked at after the steps `at`: each time the mean of the ten steps before."""

    architecture: Any
    shape: str = "autoencoder"
    d_sae: int = 768
    batch: int = 256
    learning_rate: float = 1e-3
    at: tuple[int, ...] = (15, 30, 45)


CASES = {
    **{n: Case(a, d_sae=1536, batch=512, at=(20, 40, 60, 80)) for n, a in ARCHITECTURES.items()},
    **{n: Case(a) for n, a in PENALTIES.items()},
    **{f"{n} {s}": Case(a, s) for n, a in ARCHITECTURES.items() for s in ("skip transcoder", "crosscoder")},
    **{f"{n} transcoder": Case(a, "transcoder", learning_rate=3e-3) for n, a in TRANSCODING.items()},
}


def read_activations(model_folder: Path, text: str) -> Activations:
    """[tokens, 576] at each hook point, without first positions, in one fixed random order."""
    from mistudio.lm import harvest, load_language_model

    model = load_language_model(model_folder, device="cpu")
    ids = model.tokenizer(text)["input_ids"]
    rows = [ids[i : i + CONTEXT] for i in range(0, SEQUENCES * CONTEXT, CONTEXT)]
    hooks = [HOOK, BEFORE, MLP_IN, MLP_OUT]
    batches = list(harvest(model, rows, hooks))
    found = {hook: torch.cat([b.activations[hook][:, 1:].flatten(0, 1) for b in batches]) for hook in hooks}
    order = torch.randperm(len(found[HOOK]), generator=torch.Generator().manual_seed(0))
    return {hook: x[order] for hook, x in found.items()}


def curve(case: Case, activations: Activations) -> dict[str, list[float]]:
    """FVU and L0 around the steps `case.at`."""
    config = TrainerConfig(
        architecture=case.architecture,
        d_sae=case.d_sae,
        batch_size=case.batch,
        total_tokens=case.batch * case.at[-1],
        learning_rate=case.learning_rate,
        warmup_steps=10,
        dead_latent_window=10_000,
        skip_connection=case.shape == "skip transcoder",
        decoder_norm="free" if case.shape == "crosscoder" else "unit",
    )
    if case.shape == "autoencoder":
        given, trainer = [activations[HOOK]], Trainer(config, 576)
    elif case.shape == "crosscoder":
        layers = torch.cat([activations[BEFORE], activations[HOOK]], dim=1)
        given, trainer = [layers], Trainer(config, 2 * 576, n_sites=2)
    else:
        given = [activations[MLP_IN], activations[MLP_OUT]]
        trainer = Trainer(config, 576, d_out=576)
    whole = len(given[0]) // case.batch
    batches = [tuple(x[i * case.batch : (i + 1) * case.batch] for x in given) for i in range(whole)]
    rows = [trainer.step(*batches[step % whole]) for step in range(case.at[-1])]
    return {
        name: [sum(getattr(row, name) for row in rows[at - 10 : at]) / 10 for at in case.at]
        for name in ("fvu", "l0")
    }


@pytest.fixture(scope="module")
def activations(smollm2_folder: Path, sotu_addresses: list[Any]) -> Activations:
    return read_activations(smollm2_folder, "\n\n".join(address.text for address in sotu_addresses[:8]))


@pytest.mark.parametrize("name", CASES)
def test_training_goes_as_it_went(name: str, activations: Activations) -> None:
    recorded = json.loads(RECORDED.read_text("utf-8"))[name]
    now = curve(CASES[name], activations)
    assert now["fvu"] == pytest.approx(recorded["fvu"], rel=0.03), now
    assert now["l0"] == pytest.approx(recorded["l0"], rel=0.03), now
    assert now["fvu"][-1] < (0.6 if name in ARCHITECTURES else 0.9) * now["fvu"][0], "nothing was learned"


if __name__ == "__main__":
    from mistudio.demo.sources import fetch_addresses, source_cache

    addresses = fetch_addresses(source_cache())
    found = read_activations(
        source_cache() / "test-model", "\n\n".join(address.text for address in addresses[:8])
    )
    curves = {name: curve(case, found) for name, case in CASES.items()}
    rounded = {n: {k: [round(v, 5) for v in vs] for k, vs in c.items()} for n, c in curves.items()}
    RECORDED.write_text(json.dumps(rounded, indent=1) + "\n", "utf-8")
