"""What a training will take before it starts: memory and disk counted byte by byte, time from measured rates."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
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
    config: TrainerConfig,
    *,
    d_in: int,
    weight_bytes: int,
    model_flops: float,
    cached_tokens: int | None,
    available_tokens: int,
    held_out_tokens: int,
    measured: Sequence[MeasuredRun],
) -> Forecast:
    """Forecast a run. `weight_bytes` and `model_flops` count the language model; both are 0 when a cache is read.

    Seconds are total_tokens × FLOPs per token ÷ the rate of the measured run whose cost per token is nearest; without
    one, a stated assumption.
    """
    parameters = 2 * config.d_sae * d_in + config.d_sae + d_in
    moments = _MOMENTS[config.optimizer.kind]
    averaged = 1 if config.ema_decay else 0
    # A batch may be worked through in parts; bfloat16 halves what a step computes with and adds a copy of the weights.
    half = config.precision == "bfloat16"
    pre_activations = config.batch_size // config.accumulate * config.d_sae * (2 if half else _FLOAT)
    parts = {
        "process": _PROCESS_BYTES,
        "language model": weight_bytes,
        "SAE weights": parameters * _FLOAT,
        "weights in bfloat16": 2 * parameters if half else 0,
        "gradients": parameters * _FLOAT,
        "optimiser's moments": moments * parameters * _FLOAT,
        "averaged weights": averaged * parameters * _FLOAT,
        "pre-activations of a batch": pre_activations,
        "activations in flight": 6 * config.batch_size * d_in * _FLOAT,
        "shuffling window": 2 * _WINDOW_TOKENS * d_in * (2 if cached_tokens is not None else _FLOAT),
        "held-out activations": held_out_tokens * d_in * _FLOAT,
    }
    checkpoint = parameters * _FLOAT * (1 + moments + averaged)
    disk = 2 * checkpoint + parameters * _FLOAT + (config.total_steps // config.log_every) * 16 * 8
    flops = step_flops_per_token(config, d_in) + model_flops
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
        seconds=config.total_tokens / rate,
        tokens_per_second=rate,
        basis=basis,
        parts={name: size for name, size in parts.items() if size},
        available_memory_bytes=available_memory,
        available_disk_bytes=available_disk,
        warnings=_warnings(config, d_in, memory, available_memory, disk, available_disk, available_tokens),
    )


def _warnings(
    config: TrainerConfig,
    d_in: int,
    memory: int,
    available_memory: int,
    disk: int,
    available_disk: int,
    available_tokens: int,
) -> list[str]:
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
