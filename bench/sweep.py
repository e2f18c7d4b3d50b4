"""Eight SAEs at once: two layers times four sparsities over one pass of the model.

Against eight separate runs of ours (each harvesting for itself; all eight are run), and against SAELens'
`MultiSAETrainingRunner`, which shares the pass, too. The same model, text, batches and settings as in
`bench.end_to_end`, with fewer tokens, since every figure grows in proportion to them.

    STUDIO_BENCH_MODEL=folder python -m bench.sweep [--quick]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.contest import Contestant, compete
from bench.end_to_end import BATCH, D_IN, D_SAE, LR
from bench.end_to_end_plots import plot_sweep
from bench.material import prepare

LAYERS, SPARSITIES = (6, 9), (16, 32, 64, 128)
TOKENS, QUICK_TOKENS = 8 * BATCH, 2 * BATCH
SEPARATE_GOAL, PEER_GOAL = 0.35, 5.0


def rows(quick: bool) -> list[dict[str, Any]]:
    """The rows `sweep/…`."""
    tokens = QUICK_TOKENS if quick else TOKENS
    settings = [{"layer": layer, "k": k} for layer in LAYERS for k in SPARSITIES]
    with tempfile.TemporaryDirectory(prefix="bench-sweep-") as name:
        task = {
            **prepare(Path(name), tokens, list(LAYERS)),
            "tokens": tokens,
            "batch": BATCH,
            "d_in": D_IN,
            "d_sae": D_SAE,
            "lr": LR,
            "like": "saelens",
            "settings": settings,
        }
        together = Contestant("ours in one run", "bench.peers.ours", {**task, "kind": "sweep"})
        separate = Contestant("ours in eight runs", "bench.peers.ours", {**task, "kind": "separate"})
        multi = Contestant("SAELens' multi-SAE runner", "bench.peers.saelens", {**task, "kind": "sweep"})
        harvest = Contestant("our harvest alone", "bench.peers.ours", {**task, "kind": "harvest"})
        compete([together, separate, multi, harvest])
    if not quick:
        plot_sweep(together.seconds, separate.seconds, multi.seconds, harvest.seconds, len(settings), tokens)
    about = f"{tokens:,} tokens; layers {LAYERS[0]} and {LAYERS[1]}, k {', '.join(map(str, SPARSITIES))}"
    worst = max(
        mine / theirs for mine, theirs in zip(together.outcome["fvu"], multi.outcome["fvu"], strict=True)
    )
    return [
        _row("sweep/8-saes/vs-separate", together, separate, SEPARATE_GOAL, about),
        _row(
            "sweep/8-saes/vs-saelens-multi",
            together,
            multi,
            PEER_GOAL,
            f"{about}; worst FVU of ours over theirs {worst:.3f}",
        ),
    ]


def _row(name: str, ours: Contestant, other: Contestant, goal: float, note: str) -> dict[str, Any]:
    share = goal < 1  # a share of the other's time, not a multiple of ours
    ratio = ours.seconds / other.seconds if share else other.seconds / ours.seconds
    return {
        "name": name,
        "ours": ours.seconds,
        "peer": other.seconds,
        "unit": "s",
        "ratio": ratio,
        "goal": goal,
        "holds": ratio <= goal if share else ratio >= goal,
        "note": note,
        "fvu": [ours.outcome["fvu"], other.outcome["fvu"]],
        "cpu_seconds": [ours.cpu_seconds, other.cpu_seconds],
        "peak_bytes": [ours.peak_bytes, other.peak_bytes],
    }


if __name__ == "__main__":
    for one in rows("--quick" in sys.argv):
        print(json.dumps(one))
