"""What each rank of tests/sae/test_distributed.py runs: `torchrun … rank.py FOLDER SPLIT`.

Trains every configuration of CASES, one after the other, and lets the first rank write the curves and weights.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.sae.config import (
    AdamConfig,
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    MuonConfig,
    Resample,
    StandardConfig,
    TopKConfig,
    TrainerConfig,
)
from mistudio.sae.distributed import Ranks, joined
from mistudio.sae.trainer import Trainer

D_IN, D_OUT, BATCH, STEPS = 12, 10, 48, 16
AUX: dict[str, Any] = {"k": 4, "aux_k": 6, "aux_coefficient": 1.0}
CASES: dict[str, dict[str, Any]] = {
    "topk": {"architecture": TopKConfig(**AUX)},
    "batch_topk": {"architecture": BatchTopKConfig(**AUX)},
    "matryoshka": {"architecture": MatryoshkaConfig(**AUX)},
    "jump_relu": {
        "architecture": JumpReLUConfig(
            target_l0=5.0, threshold_init=0.1, bandwidth=0.4, pre_act_coefficient=0.01
        )
    },
    "sparse_jump_relu": {
        "architecture": JumpReLUConfig(target_l0=1.0, threshold_init=2.0, penalty="tanh"),
        "decoder_norm": "free",
    },
    "gated": {"architecture": GatedConfig(l1_coefficient=2.0)},
    "standard": {"architecture": StandardConfig(l1_coefficient=2.0), "decoder_norm": "free", "accumulate": 2},
    "ranked_by_norm": {"architecture": BatchTopKConfig(**AUX), "decoder_norm": "free"},
    "muon": {"architecture": TopKConfig(**AUX), "optimizer": MuonConfig(), "ema_decay": 0.9},
    "resampled": {
        "architecture": TopKConfig(k=2, aux_coefficient=0.0),
        "dead_latents": Resample(dead_neuron_threshold=100, resample_interval=4, resample_until=1.0),
        "decoder_init": "data",
        "grad_clip_norm": 0.1,
    },
    "skip_transcoder": {
        "architecture": BatchTopKConfig(**AUX),
        "skip_connection": True,
        "optimizer": AdamConfig(weight_decay=0.1),
    },
}


def config(case: str) -> TrainerConfig:
    base: dict[str, Any] = {
        "d_sae": 77,
        "total_tokens": BATCH * STEPS,
        "batch_size": BATCH,
        "learning_rate": 3e-3,
        "warmup_steps": 3,
        "dead_latent_window": 150,
    }
    return TrainerConfig(**(base | CASES[case]))


def trainer(case: str, **places: Any) -> Trainer:
    d_out = D_OUT if config(case).skip_connection else None
    return Trainer(config(case), D_IN, d_out=d_out, dtype=torch.float64, **places)


def batches(case: str) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    read, write = (torch.randn(30, d, generator=generator, dtype=torch.float64) for d in (D_IN, D_OUT))
    out: list[tuple[Tensor, ...]] = []
    for _ in range(STEPS):
        z = torch.rand(BATCH, 30, generator=generator).double() * (
            torch.rand(BATCH, 30, generator=generator) < 0.15
        )
        x, y = z @ read * 3 + 1, z @ write + 2
        out.append((x, y) if config(case).skip_connection else (x,))
    return out


def my_part(batch: tuple[Tensor, ...], ranks: Ranks, split: str) -> tuple[Tensor, ...]:
    """A rank's part of a batch: uneven on purpose where the batch is spread."""
    if split == "latents":
        return batch
    cut = BATCH // 3
    return tuple(t[:cut] if ranks.rank == 0 else t[cut:] for t in batch)


def run(case: str, ranks: Ranks, split: str, folder: Path) -> None:
    """Train half, write a checkpoint, go on from it, and write what came of it."""
    data = [my_part(batch, ranks, split) for batch in batches(case)]
    places: dict[str, Any] = {"ranks": ranks, "split": split}
    first = trainer(case, **places)
    rows = [first.step(*x).row() for x in data[: STEPS // 2]]
    first.save_checkpoint(folder / case / "checkpoint", extra={"position": 7})
    second = trainer(case, **places)
    assert second.load_checkpoint(folder / case / "checkpoint") == {"position": 7}
    rows += [second.step(*x).row() for x in data[STEPS // 2 :]]
    sae = second.finish()
    if ranks.rank == 0:
        (folder / case / "rows.json").write_text(json.dumps(rows))
        torch.save(dict(sae.state_dict()), folder / case / "weights.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as place:
        for case in CASES:
            run(case, place.ranks, sys.argv[2], Path(sys.argv[1]))
    left = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    assert not any("gloo" in thread for thread in left), f"threads of the group outlive it: {left}"
