"""Harvesting activations against the model's own forward pass, stopped at the same layer.

Ours is `mistudio.lm.harvest` from plain token lists to masked activations in hand. The peer is Transformers
alone: the same loaded model cut to the layers that are needed, without its LM head, run on ready-made
batches. Runs are interleaved, and the medians compared.

    STUDIO_BENCH_MODEL=folder python bench/harvest.py [--quick]
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistudio.engine.activation_sums import HookSums
from mistudio.lm import LanguageModel, format_hook, harvest, load_language_model

GOAL = 1.10
LAYER = 9
SHAPE = (16, 128)


def bench_model() -> LanguageModel:
    """The real 135M model: the folder in STUDIO_BENCH_MODEL, or the demo's own copy of it."""
    named = os.environ.get("STUDIO_BENCH_MODEL")
    if named:
        return load_language_model(Path(named), device="cpu")
    from mistudio.demo.sources import fetch_model, source_cache

    return load_language_model(fetch_model(source_cache()), device="cpu")


def some_tokens(model: LanguageModel, n_batches: int, shape: tuple[int, int]) -> Tensor:
    """Random tokens `[n_batches * B, S]` without special ones."""
    draw = torch.Generator().manual_seed(0)
    rows = (n_batches * shape[0], shape[1])
    return torch.randint(max(model.special_ids, default=0) + 1, model.vocab_size, rows, generator=draw)


def cut_to(model: LanguageModel, layer: int) -> Any:
    """Transformers' decoder with the first `layer + 1` blocks of the same weights and nothing behind them."""
    from copy import copy

    decoder: Any = copy(model.decoder)
    decoder._modules = dict(decoder._modules)
    decoder.layers = model.blocks[: layer + 1]
    decoder.config = copy(model.config)
    decoder.config.num_hidden_layers = layer + 1
    decoder.norm = torch.nn.Identity()
    return decoder


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved(ours: Callable[[], None], peer: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Median seconds of both, run in turn and in changing order, after one unmeasured run of each."""
    ours(), peer()
    took: dict[Callable[[], None], list[float]] = {ours: [], peer: []}
    for i in range(rounds):
        for work in (ours, peer) if i % 2 else (peer, ours):
            took[work].append(timed(work))
    return statistics.median(took[ours]), statistics.median(took[peer])


def rows(quick: bool) -> list[dict[str, Any]]:
    """`harvest/overhead`: seconds for the same batches, ours over the bare forward pass; `harvest/statistics`: the same
    with everything counted that the statistics of a cache need."""
    model = bench_model()
    n_batches, rounds = 1, 5 if quick else 11
    tokens = some_tokens(model, n_batches, SHAPE)
    hook = format_hook(LAYER, "resid_post")
    decoder = cut_to(model, LAYER)

    def ours() -> None:
        for batch in harvest(model, tokens.tolist(), [hook], batch_size=SHAPE[0]):
            assert batch.rows(hook).shape[0] == SHAPE[0] * SHAPE[1]

    def peer() -> None:
        with torch.inference_mode():
            for part in tokens.split(SHAPE[0]):
                decoder(input_ids=part, use_cache=False)

    def counted() -> None:
        sums = HookSums(model.hook_point(hook).d)
        for batch in harvest(model, tokens.tolist(), [hook], batch_size=SHAPE[0]):
            where = torch.arange(SHAPE[0] * SHAPE[1])
            sums.add(batch.rows(hook), where // SHAPE[1], where % SHAPE[1], batch.tokens.flatten())
        sums.state()

    found: list[dict[str, Any]] = []
    for name, work in (("harvest/overhead", ours), ("harvest/statistics", counted)):
        ours_s, peer_s = interleaved(work, peer, rounds)
        ratio = ours_s / peer_s
        found.append(
            {
                "name": name,
                "ours": ours_s,
                "peer": peer_s,
                "unit": "s",
                "ratio": ratio,
                "goal": GOAL,
                "holds": ratio <= GOAL,
            }
        )
    return found


def tokens_per_second(model: LanguageModel, layer: int, shape: tuple[int, int], rounds: int = 3) -> float:
    """Median harvested tokens a second at `layer` for batches of `shape`."""
    tokens = some_tokens(model, 1, shape)
    hook = format_hook(layer, "resid_post")

    def work() -> None:
        for batch in harvest(model, tokens.tolist(), [hook], batch_size=shape[0]):
            batch.rows(hook)

    work()
    return tokens.numel() / statistics.median(timed(work) for _ in range(rounds))


if __name__ == "__main__":
    for row in rows("--quick" in sys.argv):
        print(row)
    if "--layers" in sys.argv:
        bench = bench_model()
        for size in ((16, 128), (32, 128), (16, 256), (64, 128)):
            rates = {layer: round(tokens_per_second(bench, layer, size)) for layer in (6, 9, 12, 15)}
            print(f"{size[0]} x {size[1]}: tokens/s by layer {rates}")
