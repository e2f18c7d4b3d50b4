"""The memory and disk that a training takes, counted by what needs them before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mistudio.lm.footprint import ModelFootprint
from mistudio.sae.config import TrainerConfig

PROCESS = 450_000_000
"""Measured: a process that has imported PyTorch and transformers and loaded nothing."""
FLOAT = 4
POOL_TOKENS = 65_536
"""Activations that are shuffled at a time while the model runs alongside: `engine.sources.POOL_TOKENS`."""
GROUP_TOKENS = 16_384
"""How many are read at a time: `engine.reading.GROUP_TOKENS`."""
_WINDOW_TOKENS = 65_536
_MOMENTS = {"adam": 2, "muon": 1, "signum": 1}
"""Numbers that an optimiser keeps for each weight."""


def parameters_of(config: TrainerConfig, d_in: int) -> int:
    """Numbers that one dictionary learns."""
    return 2 * config.d_sae * d_in + config.d_sae + d_in


@dataclass(frozen=True)
class Reading:
    """Where activations come from, as far as memory goes.

    widths: by hook point. held_out_tokens: kept for the measure. footprint: of the model that runs alongside, with the
    tokens of one of its forward passes; None where a cache is read. value: bytes of a number in the pool of shuffled
    activations, or in the cache.
    """

    widths: Mapping[str, int]
    held_out_tokens: int
    value: int
    footprint: ModelFootprint | None = None
    pass_tokens: int = 0
    context: int = 0


def memory_parts(runs: Sequence[tuple[TrainerConfig, int]], reading: Reading) -> dict[str, int]:
    """Bytes at the peak of a training of these SAEs (settings and width of the activations), by what needs them."""
    widest = sum(reading.widths.values())
    batch = max(config.batch_size for config, _ in runs)
    parts = {
        "process": PROCESS,
        "activations in flight": 6 * batch * widest * FLOAT,
        "held-out activations": reading.held_out_tokens * widest * FLOAT,
    }
    if reading.footprint is not None:
        parts["language model"] = reading.footprint.weight_bytes
        parts["forward pass"] = reading.pass_tokens * reading.footprint.forward_bytes_per_token
        parts["shuffled activations"] = (POOL_TOKENS + GROUP_TOKENS) * widest * reading.value
    else:
        parts["shuffled activations"] = 2 * _WINDOW_TOKENS * widest * reading.value
    for config, d_in in runs:
        for name, size in dictionary_bytes(config, d_in).items():
            parts[name] = parts.get(name, 0) + size
    # One dictionary steps after the other: what a step needs for itself is there once.
    for name in ("gradients", "pre-activations of a batch", "weights in float32"):
        parts[name] = max(step_bytes(config, d_in)[name] for config, d_in in runs)
    return {name: size for name, size in parts.items() if size}


def dictionary_bytes(config: TrainerConfig, d_in: int) -> dict[str, int]:
    """What one dictionary keeps in memory while it learns."""
    parameters = parameters_of(config, d_in)
    return {
        "SAE weights": parameters * FLOAT,
        "weights in bfloat16": 2 * parameters if config.precision == "bfloat16" else 0,
        "optimiser's moments": _MOMENTS[config.optimizer.kind] * parameters * FLOAT,
        "averaged weights": parameters * FLOAT if config.ema_decay else 0,
    }


def step_bytes(config: TrainerConfig, d_in: int) -> dict[str, int]:
    """What one step of a dictionary needs for itself, and gives back."""
    half = config.precision == "bfloat16"
    parameters = parameters_of(config, d_in)
    return {
        "gradients": parameters * FLOAT,
        # A batch may be worked through in parts; bfloat16 halves what a step computes with.
        "pre-activations of a batch": config.batch_size
        // config.accumulate
        * config.d_sae
        * (2 if half else FLOAT),
        "weights in float32": 0,
    }


def disk_bytes(config: TrainerConfig, d_in: int) -> int:
    """Its checkpoints, the finished weights, and the points of the curves."""
    parameters = parameters_of(config, d_in)
    kept = 1 + _MOMENTS[config.optimizer.kind] + bool(config.ema_decay)
    states = 1 + (config.keep_checkpoints - 1 + (config.best_checkpoint != "none")) * (
        0 < config.checkpoint_every < config.total_steps
    )
    return (states * kept + 1) * parameters * FLOAT + (config.total_steps // config.log_every) * 24 * 8
