"""Loading a saved dictionary and encoding 100,000 tokens with it: ours against SAELens, on the same files.

A TopK dictionary of 9,216 latents over 576 dimensions, k 32, saved by us in SAELens' layout. Both encode batches
of 4,096 tokens in float32 and take turns; ours gives sparse latents, SAELens a matrix. Run with
`python -m bench.encode [--quick]`.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.steps import Setting

GOAL = 2.0
TOKENS = 100_000
SETTING = Setting("topk")


def write(folder: Path) -> None:
    """A dictionary with random directions."""
    from mistudio.sae import SAE, TopKConfig, save_sae

    sae = SAE(TopKConfig(k=SETTING.l0), SETTING.d_in, SETTING.d_sae)
    sae.W_enc.copy_(SETTING.directions())
    sae.W_dec.copy_(SETTING.directions())
    save_sae(sae, folder, format="sae_lens")


def ours(folder: Path, batches: list[Tensor]) -> int:
    """Returns how many latents were active."""
    from mistudio.sae import load_sae

    sae = load_sae(folder)
    return sum(sae.encode(x).values.shape[0] for x in batches)


def saelens(folder: Path, batches: list[Tensor]) -> int:
    """Returns how many latents were active."""
    from sae_lens import SAE

    sae: Any = SAE.load_from_disk(str(folder))
    with torch.no_grad():
        return sum(int(sae.encode(x).count_nonzero()) for x in batches)


def rows(quick: bool) -> list[dict[str, Any]]:
    """The row `encode/100k/vs-saelens`."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(TOKENS // 5 if quick else TOKENS, SETTING.d_in, generator=generator)
    batches = list(tokens.split(SETTING.batch))
    contestants: dict[str, Callable[[Path, list[Tensor]], int]] = {"ours": ours, "saelens": saelens}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    active: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="bench-encode-") as name:
        folder = Path(name) / "sae"
        write(folder)
        for contestant in contestants.values():
            contestant(folder, batches[:1])
        for _ in range(1 if quick else 3):
            for who, contestant in contestants.items():
                start = time.perf_counter()
                active[who] = contestant(folder, batches)
                taken[who].append(time.perf_counter() - start)
    ratio = statistics.median(p / o for p, o in zip(taken["saelens"], taken["ours"], strict=True))
    same = abs(active["ours"] - active["saelens"]) <= 1e-4 * active["saelens"]
    return [
        {
            "name": "encode/100k/vs-saelens",
            "ours": statistics.median(taken["ours"]),
            "peer": statistics.median(taken["saelens"]),
            "unit": "s",
            "ratio": ratio,
            "goal": GOAL,
            "holds": ratio >= GOAL and same,
            "note": f"{tokens.shape[0]:,} tokens, loading included; active latents "
            f"{active['ours']:,} and {active['saelens']:,}",
        }
    ]


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(json.dumps(row))
