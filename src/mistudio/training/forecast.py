"""What a training will take before it starts: memory and disk counted byte by byte, time from measured rates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from mistudio.sae.config import TrainerConfig, active_per_token
from mistudio.settings import Settings
from mistudio.training.schemas import Forecast

# Measured: a process that has imported torch and transformers and loaded nothing.
_PROCESS_BYTES = 450_000_000
# Two windows of the shuffled reader, in stored precision (float16), and one decoded batch beside the step's own.
_WINDOW_TOKENS = 65_536
_ASSUMED_FLOPS = 60e9
_FLOAT = 4
_MOMENTS = {"adam": 2, "muon": 1, "signum": 1}
"""Numbers that an optimiser keeps for each weight."""


@dataclass(frozen=True)
class MeasuredRun:
    """A finished run of this machine, from which rates are taken."""

    name: str
    flops_per_token: float
    tokens_per_second: float


def step_flops_per_token(config: TrainerConfig, d_in: int) -> float:
    """FLOPs of one training step per token: the dense encode, then work proportional to the active latents.

    2·d·m for the encode, and five products of 2·d·k for decode, both weight gradients and the gradient of the values,
    k latents being active. Where the settings do not say how many will be, all five are counted dense.
    """
    dense = 2.0 * d_in * config.d_sae
    return dense + 5 * 2.0 * d_in * active_per_token(config.architecture, config.d_sae)


def model_flops_per_token(parameters: int, n_layers: int, vocabulary: int, d_model: int, depth: int) -> float:
    """FLOPs of the forward pass up to layer `depth`, per token: 2 per parameter of the layers that run."""
    per_layer = max(parameters - vocabulary * d_model, 0) / max(n_layers, 1)
    return 2.0 * per_layer * depth


def forecast(
    settings: Settings,
    runs: Sequence[tuple[TrainerConfig, int]],
    *,
    widths: Mapping[str, int],
    weight_bytes: int,
    model_flops: float,
    cached_tokens: int | None,
    available_tokens: int,
    held_out_tokens: int,
    measured: Sequence[MeasuredRun],
) -> Forecast:
    """Forecast a sweep of `runs` (settings and d_in of each SAE) on hook points of these widths.

    `weight_bytes` and `model_flops` count the language model; both are 0 when a cache is read. Seconds are
    total_tokens × FLOPs per token ÷ the rate of the measured run whose cost per token is nearest; without one, a
    stated assumption.
    """
    value = 2 if cached_tokens is not None else _FLOAT
    widest, tokens = sum(widths.values()), max(config.total_tokens for config, _ in runs)
    parts = {
        "process": _PROCESS_BYTES,
        "language model": weight_bytes,
        "activations in flight": 6 * max(c.batch_size for c, _ in runs) * widest * _FLOAT,
        "shuffling window": 2 * _WINDOW_TOKENS * widest * value,
        "held-out activations": held_out_tokens * widest * _FLOAT,
    }
    disk, flops = 0, model_flops
    for config, d_in in runs:
        for name, size in _dictionary_bytes(config, d_in).items():
            # One dictionary steps after the other: what a step needs for itself is there once.
            of_a_step = name == "pre-activations of a batch"
            parts[name] = max(parts.get(name, 0), size) if of_a_step else parts.get(name, 0) + size
        disk += _disk_bytes(config, d_in)
        flops += step_flops_per_token(config, d_in)
    if measured:
        nearest = min(measured, key=lambda run: abs(run.flops_per_token - flops))
        rate = nearest.tokens_per_second * nearest.flops_per_token / flops
        basis = f"the measured rate of “{nearest.name}” on this machine, scaled by the work per token"
    else:
        rate = _ASSUMED_FLOPS / flops
        basis = f"an assumed {_ASSUMED_FLOPS / 1e9:.0f} GFLOP/s: no run has been measured on this machine yet"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    memory = sum(parts.values())
    available_memory = int(psutil.virtual_memory().available)
    available_disk = shutil.disk_usage(settings.data_dir).free
    return Forecast(
        memory_bytes=memory,
        disk_bytes=disk,
        saes=len(runs),
        seconds=tokens / rate,
        tokens_per_second=rate,
        basis=basis,
        parts={name: size for name, size in parts.items() if size},
        available_memory_bytes=available_memory,
        available_disk_bytes=available_disk,
        warnings=[
            *_shortages(memory, available_memory, disk, available_disk),
            *dict.fromkeys(w for config, d_in in runs for w in _warnings(config, d_in, available_tokens)),
        ],
    )


def _dictionary_bytes(config: TrainerConfig, d_in: int) -> dict[str, int]:
    """What one dictionary takes in memory while it learns."""
    parameters = _parameters(config, d_in)
    # A batch may be worked through in parts; bfloat16 halves what a step computes with and adds a copy of the weights.
    half = config.precision == "bfloat16"
    return {
        "SAE weights": parameters * _FLOAT,
        "weights in bfloat16": 2 * parameters if half else 0,
        "gradients": parameters * _FLOAT,
        "optimiser's moments": _MOMENTS[config.optimizer.kind] * parameters * _FLOAT,
        "averaged weights": parameters * _FLOAT if config.ema_decay else 0,
        "pre-activations of a batch": config.batch_size
        // config.accumulate
        * config.d_sae
        * (2 if half else _FLOAT),
    }


def _disk_bytes(config: TrainerConfig, d_in: int) -> int:
    """Two checkpoints, the finished weights, and the points of the curves."""
    parameters = _parameters(config, d_in)
    kept = 1 + _MOMENTS[config.optimizer.kind] + bool(config.ema_decay)
    return (2 * kept + 1) * parameters * _FLOAT + (config.total_steps // config.log_every) * 16 * 8


def _parameters(config: TrainerConfig, d_in: int) -> int:
    return 2 * config.d_sae * d_in + config.d_sae + d_in


def _shortages(memory: int, available_memory: int, disk: int, available_disk: int) -> list[str]:
    found: list[str] = []
    if memory > available_memory:
        found.append(
            f"This needs about {memory / 1e9:.1f} GB of memory and {available_memory / 1e9:.1f} GB are free: "
            "lower the width or the batch size."
        )
    if disk > available_disk:
        found.append(
            f"This writes about {disk / 1e9:.1f} GB and the disk has {available_disk / 1e9:.1f} GB left."
        )
    return found


def _warnings(config: TrainerConfig, d_in: int, available_tokens: int) -> list[str]:
    found: list[str] = []
    if config.total_tokens > 10 * max(available_tokens, 1):
        found.append(
            f"{config.total_tokens:,} training tokens from {available_tokens:,} distinct ones repeat each more "
            "than ten times: the dictionary may learn the text by heart."
        )
    if config.total_tokens < 50 * config.d_sae:
        found.append(
            f"{config.total_tokens:,} tokens are few for {config.d_sae:,} latents (fewer than 50 a latent): "
            "many will stay untrained."
        )
    active = active_per_token(config.architecture, config.d_sae)
    if d_in // 2 < active < config.d_sae:
        found.append(f"{active:,} active latents are more than half the width of the activations ({d_in}).")
    if config.total_steps < config.warmup_steps:
        found.append(
            f"The run has {config.total_steps:,} steps, fewer than the warm-up of {config.warmup_steps:,}: the "
            "learning rate never reaches its full size."
        )
    return found
