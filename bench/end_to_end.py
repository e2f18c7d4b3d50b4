"""From tokens to a trained SAE: ours against SAELens' runner and dictionary_learning's trainer with its buffer.

The setting: layer 6 (residual post) of the real 135M model, TopK with k 32 and 9,216 latents, batches of 4,096 tokens,
contexts of 128, the same State of the Union text for all, fp32. Loading models and libraries is not timed. Ours runs
once with each peer's settings (learning rate, starting point, decoder norms, clipping), and the FVU of both on the
same held-out activations, by the same formula, must agree within 1 %.

    STUDIO_BENCH_MODEL=folder python -m bench.end_to_end [--quick]
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.contest import Contestant, compete
from bench.end_to_end_plots import plot_end_to_end
from bench.material import prepare

LAYER, D_IN, D_SAE, K, BATCH, LR = 6, 576, 9216, 32, 4096, 1e-3
TOKENS, QUICK_TOKENS = 32 * BATCH, 6 * BATCH
FVU_TOLERANCE = 0.01


def contestant(name: str, module: str, task: dict[str, Any], **more: Any) -> Contestant:
    return Contestant(name, f"bench.peers.{module}", {**task, **more})


def row(name: str, ours: Contestant, peer: Contestant, goal: float, note: str, tokens: int) -> dict[str, Any]:
    """One row: seconds of both, their ratio, and whether it holds at equal FVU (or a better one of ours)."""
    mine, theirs = ours.outcome["fvu"][0], peer.outcome["fvu"][0]
    ratio = peer.seconds / ours.seconds
    return {
        "name": f"end-to-end/{name}",
        "ours": ours.seconds,
        "peer": peer.seconds,
        "unit": "s",
        "ratio": ratio,
        "goal": goal,
        "holds": ratio >= goal and mine <= theirs * (1 + FVU_TOLERANCE),
        "note": f"{tokens:,} tokens; FVU {mine:.4f} against {theirs:.4f}; {note}",
        "tokens": tokens,
        "fvu": [mine, theirs],
        "tokens_per_second": [tokens / ours.seconds, tokens / peer.seconds],
        "cpu_seconds": [ours.cpu_seconds, peer.cpu_seconds],
        "peak_bytes": [ours.peak_bytes, peer.peak_bytes],
    }


def _seconds(*contestants: Contestant) -> dict[str, float]:
    return {one.name: one.seconds for one in contestants}


@contextmanager
def _task(tokens: int, **more: Any) -> Generator[dict[str, Any]]:
    """What all contestants are given, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-end-to-end-") as name:
        yield {
            **prepare(Path(name), tokens, [LAYER]),
            "tokens": tokens,
            "batch": BATCH,
            "d_in": D_IN,
            "d_sae": D_SAE,
            "lr": LR,
            "settings": [{"layer": LAYER, "k": K}],
            "kind": "on-the-fly",
            **more,
        }


def against_saelens(quick: bool) -> list[dict[str, Any]]:
    """The row `end-to-end/on-the-fly/vs-saelens`."""
    tokens = QUICK_TOKENS if quick else TOKENS
    with _task(tokens) as task:
        ours = contestant("ours set like SAELens", "ours", task, like="saelens")
        peer = contestant("SAELens", "saelens", task)
        harvest = contestant("our harvest alone", "ours", {**task, "kind": "harvest"})
        compete([ours, peer, harvest])
    if not quick:
        plot_end_to_end(_seconds(ours, peer), tokens, harvest.seconds)
    note = "LanguageModelSAETrainingRunner on AutoModelForCausalLM stopped at the layer"
    return [row("on-the-fly/vs-saelens", ours, peer, 2.5, note, tokens)]


def against_dictionary_learning(quick: bool) -> list[dict[str, Any]]:
    """The row `end-to-end/on-the-fly/vs-dictionary-learning`."""
    tokens = QUICK_TOKENS if quick else TOKENS
    with _task(tokens) as task:
        ours = contestant("ours set like dictionary_learning", "ours", task, like="dictionary-learning")
        peer = contestant("dictionary_learning", "dictionary_learning", task)
        compete([ours, peer])
    return [row("on-the-fly/vs-dictionary-learning", ours, peer, 1.5, "trainSAE on ActivationBuffer", tokens)]


def against_saelens_in_bfloat16(quick: bool) -> list[dict[str, Any]]:
    """The row `end-to-end/on-the-fly-bfloat16/vs-saelens`."""
    tokens = (QUICK_TOKENS if quick else TOKENS) // 2
    with _task(tokens, lm_dtype="bfloat16") as task:
        ours = contestant("ours, model in bfloat16", "ours", task, like="saelens")
        peer = contestant("SAELens, model in bfloat16", "saelens", task)
        compete([ours, peer])
    if not quick:
        plot_end_to_end(_seconds(ours, peer), tokens)
    note = (
        "both run the model in bfloat16 (theirs: autocast_lm), dictionaries in fp32; FVU on fp32 activations"
    )
    return [row("on-the-fly-bfloat16/vs-saelens", ours, peer, 2.5, note, tokens)]


def from_cache(quick: bool) -> list[dict[str, Any]]:
    """The row `end-to-end/from-cache/vs-saelens`."""
    tokens = QUICK_TOKENS if quick else TOKENS
    with _task(tokens, kind="from-cache") as task:
        ours = contestant("ours from the cache", "ours", task, like="saelens")
        peer = contestant("SAELens from its cache", "saelens", task)
        compete([ours, peer])
    if not quick:
        plot_end_to_end(_seconds(ours, peer), tokens)
    note = "second run; ours from float16, theirs from CacheActivationsRunner's float32"
    return [row("from-cache/vs-saelens", ours, peer, 6.0, note, tokens)]


if __name__ == "__main__":
    for measure in (against_saelens, against_dictionary_learning, against_saelens_in_bfloat16, from_cache):
        for one in measure("--quick" in sys.argv):
            print(json.dumps(one))
