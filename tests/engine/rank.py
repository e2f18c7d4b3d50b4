"""What each rank of tests/engine/test_distributed.py runs: `torchrun … rank.py MODEL FOLDER`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch

from mistudio.engine import Run, harvest, settings, train_runs
from mistudio.engine.changes import Wanted
from mistudio.engine.distributed import SpreadSource, joined
from mistudio.lm import load_language_model
from tests.engine.conftest import some_tokens

HOOK = "blocks.1.hook_resid_post"
CONFIG = settings(
    d_sae=64,
    k=4,
    total_tokens=256 * 12,
    batch_size=256,
    learning_rate=3e-3,
    warmup_steps=3,
    log_every=1,
    checkpoint_every=5,
)
RUNS = [
    Run(HOOK, config=CONFIG, name="batch_topk"),
    Run(
        HOOK,
        config=settings(CONFIG, architecture="jump_relu", target_l0=8, threshold_init=0.5),
        name="jump_relu",
    ),
]
SOURCE = {"held_out_tokens": 200, "pool_tokens": 1024}


def asked() -> Callable[[], list[Wanted]]:
    """Asks once, after six batches, for another learning rate of all and another sparsity of the first."""
    calls = count()
    wanted = [Wanted("learning_rate", 1e-3), Wanted("k", 8, RUNS[0].name)]
    return lambda: wanted if next(calls) == 6 else []


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[2])
    with joined() as place:
        model = load_language_model(Path(sys.argv[1]), device=str(place.device))
        source = SpreadSource(model, some_tokens(300), [HOOK], ranks=place.ranks, **SOURCE)
        for split in ("batch", "latents"):
            folders = [folder / split / run.name for run in RUNS]
            trained = train_runs(
                source,
                RUNS,
                folders=folders,
                ranks=place.ranks,
                split=split,
                changes=asked() if place.ranks.rank == 0 else list,  # the first one's wishes count
            )
            if place.ranks.rank == 0:
                curves = [
                    {k: v for k, v in one.history.items() if k not in ("time", "tokens_per_second")}
                    for one in trained
                ]
                (folder / f"{split}.json").write_text(json.dumps(curves))
        cache = harvest(
            model,
            some_tokens(300),
            HOOK,
            folder / "caches",
            n_tokens=2_000,
            dtype="float32",
            ranks=place.ranks,
        )
        assert cache.n_tokens == 2_000
        held_out = source.held_out()
        assert held_out is not None
        assert len(held_out[HOOK]) == 200
