"""One training step of a TopK dictionary: ours against SAELens' and dictionary_learning's.

All run in one process on the same batches, taking turns, so that whatever else the machine does hits all
alike: fp32, d_in 576, d_sae 9,216, k 32, batch 4,096, each peer with its own trainer as its users run it.
Run with `python -m bench.sae_step [--quick]` in an environment that has the peers.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

D_IN, D_SAE, K, BATCH = 576, 9216, 32, 4096
STEPS = 10_000  # what the schedules are told; only a few are taken
GOALS = {"saelens": 6.0, "dictionary-learning": 2.5}

Step = Callable[[Tensor], Any]


def ours() -> Step:
    """`mistudio.sae.Trainer.step`, with everything on that a training uses."""
    from mistudio.sae import TopKConfig, Trainer, TrainerConfig

    config = TrainerConfig(
        architecture=TopKConfig(k=K), d_sae=D_SAE, batch_size=BATCH, total_tokens=BATCH * STEPS
    )
    return Trainer(config, D_IN).step


def saelens() -> Step:
    """`SAETrainer._train_step` with TopK's defaults (dense activations: the sparse ones do not run on CPU)."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K))
    config = SAETrainerConfig(
        total_training_samples=BATCH * STEPS,
        train_batch_size_samples=BATCH,
        lr_end=3e-5,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer: Any = SAETrainer(config, sae, data_provider=iter(()))
    return lambda x: trainer._train_step(sae, x)


def dictionary_learning() -> Step:
    """`TopKTrainer.update` with its defaults."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(
        steps=STEPS, activation_dim=D_IN, dict_size=D_SAE, k=K, layer=0, lm_name="none", device="cpu", seed=0
    )
    count = iter(range(STEPS))
    return lambda x: trainer.update(next(count), x)


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, round by round, every contestant once per round on the same batch."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(BATCH, D_IN, generator=generator) for _ in range(4)]
    for step in steps.values():
        for x in batches[:2]:
            step(x)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step(batches[number % len(batches)])
            taken[name].append(time.perf_counter() - start)
    return taken


def rows(quick: bool) -> list[dict[str, Any]]:
    """Rows for the bench table: medians of several rounds, and the median of the rounds' ratios."""
    contestants = {"ours": ours(), "saelens": saelens(), "dictionary-learning": dictionary_learning()}
    taken = measure(contestants, rounds=3 if quick else 9)
    out: list[dict[str, Any]] = []
    for peer, goal in GOALS.items():
        ratio = statistics.median(p / o for p, o in zip(taken[peer], taken["ours"], strict=True))
        out.append(
            {
                "name": f"sae-step/topk/vs-{peer}",
                "ours": statistics.median(taken["ours"]),
                "peer": statistics.median(taken[peer]),
                "unit": "s/step",
                "ratio": ratio,
                "goal": goal,
                "holds": ratio >= goal,
            }
        )
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    for row in rows(parser.parse_args().quick):
        print(json.dumps(row))
