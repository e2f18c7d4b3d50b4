"""One training step of a dictionary: ours against SAELens', dictionary_learning's, and what no dense step can avoid.

All run in one process on the same batches, taking turns, so that whatever else the machine does hits all
alike: fp32, d_in 576, d_sae 9,216, batch 4,096, each peer with its own trainer as its users run it. TopK and
BatchTopK have k 32; JumpReLU and standard start where about 64 latents are active.
Run with `python -m bench.sae_step [--quick]` in an environment that has the peers.
"""

import argparse
import gc
import json
import statistics
import time
from typing import Any

from bench.steps import CONTESTANTS, Contestant, Setting

GOALS: dict[str, dict[str, float]] = {
    "topk": {"saelens": 8.0, "dictionary-learning": 3.5, "bound": 1.6},
    "batch_topk": {"saelens": 8.0, "dictionary-learning": 3.5, "bound": 1.6},
    "jump_relu": {"saelens": 2.0},
    "standard": {"saelens": 2.0},
}
L0 = {"topk": 32, "batch_topk": 32, "jump_relu": 64, "standard": 64}
BOUND_NOTE = "bound: float32 encoder product and torch.topk alone; below 1: the search in bfloat16 beats it"


def measure(contestants: dict[str, Contestant], setting: Setting, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, round by round, every contestant once per round on the same batch."""
    batches = setting.batches(4)
    for contestant in contestants.values():
        for x in batches[:2]:
            contestant.step(x)
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            contestant.step(batches[number % len(batches)])
            taken[name].append(time.perf_counter() - start)
    return taken


def rows_of(architecture: str, rounds: int) -> list[dict[str, Any]]:
    """Medians of several rounds, and the median of the rounds' ratios."""
    setting = Setting(architecture, L0[architecture])
    contestants = {name: CONTESTANTS[name](setting) for name in ("ours", *GOALS[architecture])}
    taken = measure(contestants, setting, rounds)
    x = setting.batches(1)[0]
    l0 = {name: contestant.l0(x) for name, contestant in contestants.items()}
    out: list[dict[str, Any]] = []
    for peer, goal in GOALS[architecture].items():
        pairs = zip(taken[peer], taken["ours"], strict=True)
        if peer == "bound":
            ratio = statistics.median(o / p for p, o in pairs)
            holds, note = ratio <= goal, BOUND_NOTE
        else:
            ratio = statistics.median(p / o for p, o in pairs)
            holds, note = ratio >= goal, f"L0 {l0['ours']:.0f}, theirs {l0[peer]:.0f}"
        out.append(
            {
                "name": f"sae-step/{architecture}/vs-{peer}",
                "ours": statistics.median(taken["ours"]),
                "peer": statistics.median(taken[peer]),
                "unit": "s/step",
                "ratio": ratio,
                "goal": goal,
                "holds": holds,
                "note": note,
            }
        )
    return out


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows `sae-step/…`, architecture by architecture."""
    out: list[dict[str, Any]] = []
    for architecture in GOALS:
        out += rows_of(architecture, rounds=3 if quick else 9)
        gc.collect()
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    for row in rows(parser.parse_args().quick):
        print(json.dumps(row))
